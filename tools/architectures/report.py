"""What the results say: a line for each, a summary, what is missing by frequency, and the page docs/coverage.md."""
import collections
import json
import re
from pathlib import Path

from . import names

FAMILY = {"torchvision": "torchvision, traced", "torchvision-scripted": "torchvision, scripted", "timm": "timm, traced",
          "transformers": "transformers, traced, two layers"}
FAILED_AT = {"export": "PyTorch could not export it", "check": "refused by `mica check`", "compile": "failed in `mica compile`",
             "verify": "failed in `mica verify`", "not available": "not in this version of the library"}


def read(path: Path) -> dict[str, dict]:
    """The latest result of each architecture by 'KIND NAME'."""
    found = {}
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # the last line of a sweep that was ended
            found[f"{record['kind']} {record['name']}"] = record
    return found


def line(record: dict) -> str:
    parts = [f"export {record['export']['seconds']:.1f} s"] if "export" in record else []
    if "compile" in record:
        parts.append(f"compile {record['compile']['cpu_seconds']:.1f} s of CPU, {record['compile']['peak_mb']} MB")
    if "verify" in record:
        parts.append(f"verify {record['verify']['seconds']:.1f} s, {record['verify']['ratio']:.2f} of the limit")
    outcome = "ok    " if record["status"] == "ok" else "FAILED"
    said = "" if record["status"] == "ok" else f": {record['status']}: {record.get('error', '')}"
    return f"{outcome} {record['kind']} {record['name']} ({'; '.join(parts)}){said}"


def missing_counts(records) -> list[tuple[str, int, int, list[str]]]:
    """(operator, architectures, uses, their names), most frequent first."""
    uses, where = collections.Counter(), collections.defaultdict(list)
    for name, record in records.items():
        for op, count in record.get("check", {}).get("missing", {}).items():
            uses[op] += count
            where[op].append(name)
    return sorted(((op, len(where[op]), uses[op], where[op]) for op in where), key=lambda row: (-row[1], -row[2], row[0]))


def reasons(records) -> list[tuple[str, list[str]]]:
    """Failures by what was said, most frequent first; operators that are missing are told apart."""
    groups = collections.defaultdict(list)
    for name, record in records.items():
        if record["status"] not in ("ok", "not available"):
            groups[f"{record['status']}: {record.get('error', '')}"].append(name)
    return sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))


def missing(records) -> str:
    lacking, said_of = missing_counts(records), reasons(records)
    text = "operators that are missing: architectures, uses, operator, first ones\n" if lacking else ""
    for op, models, uses, where in lacking:
        text += f"{models:5} {uses:6}  {op:44} {', '.join(where[:4])}\n"
    text += "failures by what was said\n" if said_of else ""
    for said, where in said_of:
        text += f"{len(where):5}  {said}\n       {', '.join(where[:6])}\n"
    return text


def summary(found: list[dict]) -> str:
    by_status = collections.Counter(record["status"] for record in found)
    text = missing({f"{record['kind']} {record['name']}": record for record in found})
    counts = ", ".join(f"{count} {status}" for status, count in by_status.most_common())
    failed = sum(count for status, count in by_status.items() if status not in ("ok", "not available"))
    return f"{text}{counts}\ncoverage: {by_status['ok']} passed, {failed} failed\n"


def cell(text: str) -> str:
    """For a cell of a table; of a model's file its name is enough."""
    return re.sub(r"/\S*/([^/\s]+\.pt)", r"\1", text).replace("|", "\\|").replace("\n", " ")


def family_table(entries, known) -> list[str]:
    rows = ["| family | examined | compile | verify | CPU time to compile, median | slowest | peak memory |", "|---|---|---|---|---|---|---|"]
    for kind in (*names.KINDS, None):
        part = [e for e in entries if kind in (None, e.kind)]
        records = [known[str(e)] for e in part if str(e) in known]
        compiled = [r for r in records if "so_mb" in r]
        verified = [r for r in compiled if r["status"] == "ok" and r["stage"] == "verify"]
        seconds = sorted(r["compile"]["cpu_seconds"] for r in compiled if "cpu_seconds" in r["compile"])
        times = [f"{seconds[len(seconds) // 2]:.1f} s", f"{seconds[-1]:.1f} s"] if seconds else ["", ""]
        peak = f"{max(r['compile']['peak_mb'] for r in compiled)} MB" if compiled else ""
        rows.append(f"| {FAMILY[kind] if kind else '**all**'} | {len(records)} of {len(part)} | {len(compiled)} | {len(verified)} | {times[0]} | {times[1]} | {peak} |")
    return rows


def page(entries, impossible, known) -> str:
    """docs/coverage.md: no date; the versions that the results were made with."""
    records = [known[str(e)] for e in entries if str(e) in known]
    versions = max((r["versions"] for r in records), key=len, default={})
    failures = [(e, known[str(e)]) for e in entries if str(e) in known and known[str(e)]["status"] != "ok"]
    unseen = [str(e) for e in entries if str(e) not in known]
    verified = len(records) - len(failures)
    out = ["# Which architectures compile", "",
           "Generated by `tools/coverage --report docs/coverage.md` from the results of `tools/coverage`; do not edit by hand.", "",
           f"Of {len(entries)} architectures in `tools/coverage.list`"
           + (f" these results have {len(records)}, of which" if unseen else ",")
           + f" {verified} compile and agree with PyTorch ({100 * verified / max(1, len(records)):.1f} %).",
           f"Made with {', '.join(f'{name} {version}' for name, version in versions.items())}.",
           "Weights are random, from a fixed seed and scaled so that activations stay sane. Agreement is what `mica verify` calls so:",
           "LibTorch in fp64 is the judge, LibTorch in fp32 the yardstick.", "", "## By family", "", *family_table(entries, known), ""]
    if failures:
        out += ["## What does not", "", "| architecture | | what is said |", "|---|---|---|"]
        out += [f"| {e} | {FAILED_AT[r['status']]} | {cell(r.get('error', ''))} |" for e, r in failures] + [""]
    lacking = missing_counts({str(e): known[str(e)] for e in entries if str(e) in known})
    if lacking:
        out += ["## Operators that are missing", "", "| operator | architectures | uses |", "|---|---|---|"]
        out += [f"| `{op}` | {models} | {uses} |" for op, models, uses, _ in lacking] + [""]
    if unseen:
        out += ["## Not examined", "", ", ".join(unseen) + ".", ""]
    if impossible:
        out += ["## Not exportable", "", "PyTorch itself refuses these, with the words beside them.", "",
                "| architecture | PyTorch's error |", "|---|---|"]
        out += [f"| {e} | {cell(e.error)} |" for e in impossible] + [""]
    good = [str(e) for e in entries if str(e) in known and known[str(e)]["status"] == "ok"]
    out += ["## What does", ""]
    for kind in names.KINDS:
        own = [name.removeprefix(kind + " ") for name in good if name.startswith(kind + " ")]
        if own:
            out += [f"{FAMILY[kind]}: {', '.join(own)}.", ""]
    return "\n".join(out)
