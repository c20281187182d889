"""Runs the lints; the last line is 'lint: N passed, N failed'."""
import sys

from . import format, layers, sizes, stems
from .source import sources

CHECKS = {"layers": layers.check, "stems": stems.check, "sizes": sizes.check, "format": format.check}


def main() -> int:
    arguments = sys.argv[1:]
    fix = "--fix" in arguments
    wanted = [a for a in arguments if a != "--fix"] or list(CHECKS)
    unknown = [name for name in wanted if name not in CHECKS]
    if unknown:
        print(f"error: lint: no check named {', '.join(unknown)}; there are: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    files = sources()
    if fix:
        format.fix(files)
    failed = 0
    for name in wanted:
        problems = CHECKS[name](files)
        failed += bool(problems)
        for problem in problems:
            print(problem)
        print(f"lint {name}: {'ok' if not problems else f'{len(problems)} problem(s)'}")
    print(f"lint: {len(wanted) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
