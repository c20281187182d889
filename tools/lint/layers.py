"""Which layer may include which, and where third parties may be seen. The picture is in docs/tour.md; this is the table."""
import re

from .source import text

EVERYTHING = {"support", "ir", "ops", "kernel", "target", "pass", "passes", "frontend", "codegen", "artifact", "runtime", "driver"}
GRAPH_PASS = {"support", "ir", "ops", "pass", "passes", "target"}
CODEGEN = {"support", "ir", "kernel", "target", "codegen", "runtime", "artifact"}

# layer -> the folders of include/mica/ that its files may include
ALLOWED = {
    "support": {"support"},
    "ir": {"support", "ir", "ops", "kernel"},  # parser, verifier and interpreter know the op table; the graph's own headers do not
    "ops": {"support", "ir", "ops", "kernel"},  # kernel: the loop nests that some ops are
    "kernel": {"support", "ir", "kernel"},
    "target": {"support", "target", "runtime"},  # runtime: cpu_features.h, one list for compiler and .so
    "pass": {"support", "ir", "ops", "pass", "target", "kernel"},  # lower.h: from a graph to kernels
    "passes": GRAPH_PASS | {"kernel"},
    "passes/graph": GRAPH_PASS,
    "passes/quant": GRAPH_PASS,
    "passes/layout": GRAPH_PASS,
    "passes/lower": GRAPH_PASS | {"kernel"},
    "passes/kernel": {"support", "ir", "kernel", "target", "pass", "passes"},
    "frontend": {"support", "ir", "ops", "frontend"},
    "artifact": {"support", "ir", "kernel", "artifact", "runtime"},
    "codegen": CODEGEN,
    "codegen/llvm": CODEGEN,
    "codegen/cuda": CODEGEN,
    "codegen/link": CODEGEN,
    "runtime": {"runtime"},
    "driver": EVERYTHING,
    "tools/mica": EVERYTHING,
}
# Codegen sees expressions and types, never a graph.
FORBIDDEN_HEADERS = {
    "codegen/llvm": {"mica/ir/graph.h", "mica/ir/text.h", "mica/ir/verify.h", "mica/ir/interpret.h"},
    "codegen/cuda": {"mica/ir/graph.h", "mica/ir/text.h", "mica/ir/verify.h", "mica/ir/interpret.h"},
}
# first part of a third party's include -> the layers that may see it
THIRD_PARTIES = {
    "torch": {"frontend"}, "ATen": {"frontend"}, "c10": {"frontend"},
    "llvm": {"codegen/llvm", "codegen/link"}, "llvm-c": {"codegen/llvm"}, "lld": {"codegen/link"},
    "CLI": {"tools/mica"}, "cuda": {"codegen/cuda"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.M)


def layer(path) -> str | None:
    """The layer a file belongs to; None where no rule holds (tests, examples)."""
    parts = path.parts
    if parts[:2] == ("include", "mica"):
        return parts[2] if len(parts) > 3 else "support"
    if parts[0] == "src":
        return parts[1]
    if parts[0] in ("passes", "codegen"):
        return "/".join(parts[:2]) if len(parts) > 2 else parts[0]
    if parts[:2] == ("tools", "mica"):
        return "tools/mica"
    return None


def check(files) -> list[str]:
    problems = []
    for path in files:
        where = layer(path)
        if where is None:
            continue
        if where not in ALLOWED:
            problems.append(f"{path}: no layer rule for '{where}'; add it to tools/lint/layers.py")
            continue
        content = text(path)
        for match in INCLUDE.finditer(content):
            header = match.group(1)
            line = content.count("\n", 0, match.start(1)) + 1
            parts = header.split("/")
            if parts[0] == "mica" and len(parts) > 2:
                if parts[1] not in ALLOWED[where] or header in FORBIDDEN_HEADERS.get(where, ()):
                    problems.append(f"{path}:{line}: {where} must not include {header}")
            elif parts[0] in THIRD_PARTIES and where not in THIRD_PARTIES[parts[0]]:
                problems.append(f"{path}:{line}: only {', '.join(sorted(THIRD_PARTIES[parts[0]]))} may include {header}")
    return problems
