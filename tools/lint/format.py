"""clang-format 19 with .clang-format; other versions break lines elsewhere, so without it the check is skipped."""
import os
import shutil
import subprocess

from .source import ROOT


def program() -> str | None:
    return shutil.which("clang-format-19") or shutil.which("clang-format", path="/usr/lib/llvm-19/bin" + os.pathsep)


def fix(files) -> None:
    if program() and files:
        subprocess.run([program(), "-i", *map(str, files)], cwd=ROOT, check=True)


def check(files) -> list[str]:
    if not program():
        print("lint format: clang-format-19 is not installed; skipped")
        return []
    if not files:
        return []
    result = subprocess.run([program(), "--dry-run", "-Werror", *map(str, files)], cwd=ROOT, capture_output=True, text=True)
    names = sorted({line.split(":", 1)[0] for line in result.stderr.splitlines() if "clang-format-violations" in line})
    return [f"{name}: not formatted; run tools/lint/run --fix format" for name in names]
