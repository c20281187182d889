"""The list of architectures, tools/coverage.list: one a line, and those that PyTorch itself cannot export.

    torchvision alexnet size=128              traced
    torchvision-scripted alexnet size=128     scripted
    timm convnext_atto size=224
    transformers Bert

    [not exportable]
    torchvision maskrcnn_resnet50_fpn | RuntimeError: what PyTorch says
"""
from dataclasses import dataclass, field
from pathlib import Path

LIST = Path(__file__).resolve().parents[1] / "coverage.list"
KINDS = ("torchvision", "torchvision-scripted", "timm", "transformers")
NOT_EXPORTABLE = "[not exportable]"


@dataclass(frozen=True)
class Architecture:
    kind: str
    name: str
    options: dict = field(default_factory=dict, compare=False)  # whole numbers by name
    error: str | None = None  # PyTorch's own, where it cannot export this one

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def scripted(self) -> bool:
        return self.kind.endswith("-scripted")


class BadList(Exception):
    pass


def parse_line(line: str, exportable: bool) -> Architecture:
    entry, bar, error = line.partition(" | ")
    if exportable == bool(bar):
        raise BadList("needs ' | ' and PyTorch's own error" if not exportable else f"an error stands only below {NOT_EXPORTABLE}")
    words = entry.split()
    if len(words) < 2 or words[0] not in KINDS:
        raise BadList(f"is not 'KIND NAME [OPTION=NUMBER]...' with KIND one of {', '.join(KINDS)}")
    options = {}
    for word in words[2:]:
        key, equals, value = word.partition("=")
        if not equals or not value.isdigit():
            raise BadList(f"'{word}' is not OPTION=NUMBER")
        options[key] = int(value)
    return Architecture(words[0], words[1], options, error.strip() or None)


def read(path: Path = LIST) -> tuple[list[Architecture], list[Architecture]]:
    """(those to export, those that PyTorch cannot export). Raises BadList, with the line's number."""
    found: tuple[list, list] = ([], [])
    seen, exportable = set(), True
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line == NOT_EXPORTABLE:
            exportable = False
            continue
        try:
            entry = parse_line(line, exportable)
            if str(entry) in seen:
                raise BadList(f"{entry} is there twice")
        except BadList as bad:
            raise BadList(f"{path}:{number}: {bad}") from None
        seen.add(str(entry))
        found[0 if exportable else 1].append(entry)
    for part in found:
        order = [(KINDS.index(e.kind), e.name) for e in part]
        if order != sorted(order):
            first = next(part[i + 1] for i in range(len(order) - 1) if order[i] > order[i + 1])
            raise BadList(f"{path}: not sorted by kind and name at {first}")
    return found
