"""The C and C++ files of the tree, as git knows them (tracked, or new and not ignored)."""
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = (".h", ".cpp", ".c", ".inc")


def sources() -> list[Path]:
    """Paths relative to ROOT, sorted."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:  # an unpacked archive
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")
                 if not {".venv", "build", ".git"} & set(p.relative_to(ROOT).parts)]
    return sorted({Path(n) for n in names if n.endswith(SUFFIXES) and (ROOT / n).is_file()})


def text(path: Path) -> str:
    return (ROOT / path).read_text(errors="replace")
