"""Exports every architecture of tools/coverage.list as TorchScript, and runs mica check, compile and verify on each.

One process an architecture, with limits; what was found is kept as JSON lines, so that a sweep that was interrupted
goes on where it was: an architecture is skipped while a result of the same mica, at the same stage, is there.
The last line is 'coverage: N passed, N failed'."""
import argparse
import fnmatch
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import names, report

ROOT = Path(__file__).resolve().parents[2]


def parse():
    parser = argparse.ArgumentParser(prog="tools/coverage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", action="append", default=[], metavar="PATTERN", help="only those whose 'KIND NAME' has it in it, or fits it as a glob")
    add("--list", type=Path, default=names.LIST, metavar="FILE", help="architectures (default: tools/coverage.list)")
    add("--mica", type=Path, default=ROOT / "build/release/bin/mica", metavar="PATH", help="the mica to examine (default: of the release build)")
    add("--stage", choices=("check", "compile", "verify"), default="verify", help="how far to go (default: verify)")
    add("--jobs", type=int, default=1, metavar="N", help="architectures at a time (default 1)")
    add("--threads", type=int, default=1, metavar="N", help="threads of each (default 1)")
    add("--out", type=Path, default=ROOT / "build/coverage", metavar="DIR", help="results, and models while they are examined")
    add("--limit-seconds", type=float, default=600, metavar="S", help="time for each step of one (default 600)")
    add("--limit-mb", type=float, default=12000, metavar="MB", help="memory for each step of one (default 12000)")
    add("--budget-seconds", type=float, metavar="S", help="start no more of them after this time")
    add("--json", type=Path, metavar="FILE", help="also write all results, as a list")
    add("--keep", action="store_true", help="keep the exported models that fail, for the next time")
    add("--shuffle", action="store_true", help="in an order that mixes the families (the same every time)")
    add("--again", action="store_true", help="also those that have a result")
    add("--retry", action="store_true", help="also those whose result is a failure")
    add("--failed", action="store_true", help="skip also what passed with another mica")
    add("--report", type=Path, metavar="FILE", help="only write the results that are there as a page, as docs/coverage.md")
    add("--missing", action="store_true", help="only print what is missing, by the results that are there")
    return parser, parser.parse_args()


def wanted(entries, patterns):
    def fits(entry):
        return any(pattern in str(entry) or fnmatch.fnmatch(str(entry), pattern) for pattern in patterns)
    return [entry for entry in entries if not patterns or fits(entry)]


def sweep(todo, options, key, results) -> None:
    """Examines `todo`, `options.jobs` at a time, each in a forked child that appends its line to the results."""
    from . import examine, export
    export.warm_up()
    said = subprocess.run([options.mica, "version"], capture_output=True, text=True).stdout.split()
    versions = {"mica": said[1] if len(said) > 1 else "unknown", **export.versions()}
    limits = examine.Limits(options.limit_seconds, options.limit_mb, options.threads)
    started, running, done = time.monotonic(), {}, 0
    waiting = list(todo)
    while waiting or running:
        over = options.budget_seconds and time.monotonic() - started > options.budget_seconds
        if waiting and not over and len(running) < options.jobs:
            entry = waiting.pop(0)
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                one(entry, options, limits, {"mica": key, "versions": versions}, results)
            running[pid] = entry
            continue
        if not running:
            break
        pid, _ = os.wait()
        entry = running.pop(pid, None)
        done += entry is not None
        found = report.read(results).get(str(entry))
        print(f"[{done}/{len(todo)}] {report.line(found) if found else f'{entry}: no result'}", flush=True)


def one(entry, options, limits, common, results) -> None:
    """In a child: examines one and leaves."""
    from . import examine
    try:
        record = examine.examine(entry, options.mica, options.out, options.stage, limits, options.keep)
        with open(results, "a") as file:  # one write, so that lines of several children do not mix
            file.write(json.dumps({**record, **common}) + "\n")
        os._exit(0)
    except BaseException as error:
        print(f"{entry}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def is_done(record, options, key) -> bool:
    if record is None or options.again or (options.retry and record["status"] != "ok"):
        return False
    stages = ("check", "compile", "verify")
    same_run = record["status"] not in ("ok",) or stages.index(record["stage"]) >= stages.index(options.stage)
    return (record["mica"] == key or (options.failed and record["status"] == "ok")) and same_run


def main() -> int:
    parser, options = parse()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.jsonl"
    try:
        entries, impossible = names.read(options.list)
    except (OSError, names.BadList) as error:
        parser.error(str(error))
    if options.report or options.missing:
        known = report.read(results)
        if options.missing:
            print(report.missing(known), end="")
        if options.report:
            options.report.write_text(report.page(entries, impossible, known))
        return 0
    options.mica = Path(shutil.which(options.mica) or options.mica).resolve()
    if not options.mica.exists():
        parser.error(f"{options.mica} is not built; run: cmake --build --preset release")
    chosen = wanted(entries, options.only)
    if not chosen:
        parser.error("no architecture fits --only")
    key = hashlib.sha256(options.mica.read_bytes()).hexdigest()[:16]
    known = report.read(results)
    todo = [entry for entry in chosen if not is_done(known.get(str(entry)), options, key)]
    if options.shuffle:
        random.Random(0).shuffle(todo)
    print(f"{len(chosen)} architectures, {len(todo)} to examine, {options.jobs} at a time", flush=True)
    if todo:
        sweep(todo, options, key, results)
    known = report.read(results)
    found = [known[str(entry)] for entry in chosen if str(entry) in known]
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(report.summary(found), end="")
    return 0 if all(record["status"] in ("ok", "not available") for record in found) and len(found) == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
