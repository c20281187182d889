"""Files of at most 800 lines, functions of at most 80."""
import re

from .source import text

MAX_FILE, MAX_FUNCTION = 800, 80
NOT_A_FUNCTION = re.compile(r"^(namespace|struct|class|enum|union|extern|template\b(?!.*\()|using|typedef|}|#|//|/\*)")


def functions(lines):
    """(first line, number of lines) of what opens at column 0 and closes there; formatted code needs no parser.
    Members are indented in formatted code and so counted with an indent of two as well."""
    for indent in ("", "  "):
        start = None
        for number, line in enumerate(lines):
            if not line.startswith(indent) or line[len(indent):len(indent) + 1] in ("", " "):
                continue
            rest = line[len(indent):]
            if start is None:
                if rest.rstrip().endswith("{") and "(" in rest and not NOT_A_FUNCTION.match(rest):
                    start = number
            elif rest.startswith("}"):
                yield start + 1, number - start + 1
                start = None


def check(files) -> list[str]:
    problems = []
    for path in files:
        lines = text(path).splitlines()
        if len(lines) > MAX_FILE:
            problems.append(f"{path}: {len(lines)} lines, more than {MAX_FILE}")
        for line, length in functions(lines):
            if length > MAX_FUNCTION:
                problems.append(f"{path}:{line}: a function of {length} lines, more than {MAX_FUNCTION}")
    return problems
