"""One name, four places: a pass is defined in the file of its name, and passes and ops have a test of theirs."""
import re

from .source import ROOT, text

PASS = re.compile(r"constinit\s+const\s+Pass\s+(\w+)\s*=")
OP_SIGNATURE = re.compile(r'\.signature\s*=\s*"(\w+)\(')


def test_stems() -> set[str]:
    """Stems of every file below tests/, with and without a _test suffix."""
    stems = {p.stem for p in (ROOT / "tests").rglob("*") if p.is_file()}
    return stems | {s.removesuffix("_test") for s in stems}


def ops(content: str):
    """(name, line, whether samples are given) of each op declared in a header of include/mica/ops."""
    starts = [m for m in OP_SIGNATURE.finditer(content)]
    for match, following in zip(starts, [*starts[1:], None]):
        body = content[match.start():following.start() if following else len(content)]
        yield match.group(1), content.count("\n", 0, match.start()) + 1, ".samples" in body


def check(files) -> list[str]:
    problems, tested = [], test_stems()
    for path in files:
        if path.parts[0] == "passes":
            for match in PASS.finditer(text(path)):
                name = match.group(1)
                if name != path.stem:
                    problems.append(f"{path}: the pass '{name}' belongs into a file of its name")
                if name not in tested:
                    problems.append(f"{path}: the pass '{name}' has no test; add tests/passes/<group>/{name}.mica")
        elif path.parts[:3] == ("include", "mica", "ops"):
            # An op with samples has a generated numerics test of its name.
            for name, line, has_samples in ops(text(path)):
                if not has_samples and name not in tested:
                    problems.append(f"{path}:{line}: the op '{name}' has neither samples nor a test file of its name")
    return problems
