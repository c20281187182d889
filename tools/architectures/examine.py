"""What becomes of one architecture: exported, checked, compiled, verified. The outcome is a dictionary of plain values."""
import json
import re
from dataclasses import dataclass
from pathlib import Path

from . import export, process
from .names import Architecture

UNSUPPORTED = re.compile(r"^error: (\S+) is not supported \(used (once|\d+ times)\)", re.M)


@dataclass
class Limits:
    seconds: float
    megabytes: float
    threads: int


def first_error(text: str) -> str:
    """The first line of the first diagnostic, without its colour; else the last line that says something."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    return next((line for line in lines if re.match(r"(error|unsupported|internal error|bug)\b", line)), lines[-1] if lines else "")


def json_of(text: str) -> dict:
    try:
        return json.loads(text)
    except ValueError:
        return {}


def ended(step: process.Finished, limits: Limits) -> str:
    """Why a command of mica did not succeed, in one line."""
    if step.killed:
        return step.why_killed(limits.seconds, limits.megabytes)
    if step.status < 0:
        return f"signal {-step.status}: {first_error(step.stderr)}".rstrip(": ")
    return first_error(step.stderr) or f"exit {step.status}"


def worst_ratio(report: dict) -> float:
    """The largest error of an output over what it may be: up to 1 passes. An output of whole numbers counts the wrong ones."""
    ratios = [0.0]
    for output in report.get("outputs", []):
        if output["verdict"] == "fail" and output.get("wrong"):
            ratios.append(1.0 + float(output["wrong"]))
        rmse, limit = output.get("rmse") or 0.0, output.get("limit") or 0.0
        ratios.append(rmse / limit if limit else (float("inf") if output["verdict"] == "fail" else 0.0))
    return max(ratios)


def examine(architecture: Architecture, mica: Path, folder: Path, stage: str, limits: Limits, keep: bool) -> dict:
    stem = f"{architecture.kind}-{architecture.name}"
    pt, so = folder / f"{stem}.pt", folder / f"{stem}.so"
    record = {"kind": architecture.kind, "name": architecture.name, "stage": stage, "status": "ok"}
    try:
        flags = export_step(architecture, pt, limits, record)
        if flags is None:
            return record
        record["pt_mb"] = round(pt.stat().st_size / 1e6, 1)
        if not check_step(mica, pt, flags, limits, record) and not record.get("killed"):
            return record
        if stage != "check" and compile_step(mica, pt, so, flags, limits, record) and stage == "verify":
            verify_step(mica, pt, so, limits, record)
        return record
    finally:
        so.unlink(missing_ok=True)
        if not keep or record["status"] == "ok":
            pt.unlink(missing_ok=True)
            (folder / f"{stem}.flags").unlink(missing_ok=True)


def export_step(architecture, pt, limits, record):
    kept = pt.with_suffix(".flags")  # an archive that --keep left there, and its flags
    if kept.exists() and pt.exists():
        return kept.read_text().split()
    step = process.call(lambda: export.export(architecture, str(pt)), limits.seconds, limits.megabytes)
    record["export"] = {"seconds": round(step.seconds, 2)}
    if step.status == 0 and not step.killed:
        kept.write_text(" ".join(step.value))
        return step.value
    said = step.why_killed(limits.seconds, limits.megabytes) if step.killed else str(step.value or f"exit {step.status}")
    record["status"] = "not available" if said.startswith("NotAvailable: ") else "export"
    record["error"] = " ".join(said.removeprefix("NotAvailable: ").split())[:400]
    return None


def check_step(mica, pt, flags, limits, record) -> bool:
    step = process.run([mica, "check", pt, *flags, "--json"], limits.seconds, limits.megabytes)
    report = json_of(step.stdout)
    # What reading the model met says more than the operators that its text holds, some of which never run.
    met = {op: 1 if used == "once" else int(used.split()[0]) for op, used in UNSUPPORTED.findall(step.stderr)}
    record["check"] = {"seconds": round(step.seconds, 2), "missing": met or {row["op"]: row["count"] for row in report.get("unsupported", [])}}
    if step.status != 0 or step.killed:
        record["status"], record["error"] = "check", ended(step, limits)
        record["said"] = step.stderr[:4000]
        return False
    return True


def compile_step(mica, pt, so, flags, limits, record) -> bool:
    step = process.run([mica, "compile", pt, "-o", so, *flags, "--json", "-q", "--jobs", limits.threads], limits.seconds, limits.megabytes)
    report = json_of(step.stdout)
    record["compile"] = {"seconds": round(step.seconds, 2), "cpu_seconds": round(step.cpu_seconds, 2), "peak_mb": round(step.peak_mb), "kernels": report.get("kernels"), "steps": report.get("steps")}
    if step.status != 0 or step.killed:
        record["status"], record["error"] = "compile", ended(step, limits)
        record["said"] = step.stderr[:4000]
        return False
    record["so_mb"] = round(so.stat().st_size / 1e6, 1)
    return True


def verify_step(mica, pt, so, limits, record) -> None:
    step = process.run([mica, "verify", pt, so, "--json", "--threads", limits.threads], limits.seconds, limits.megabytes)
    report = json_of(step.stdout)
    record["verify"] = {"seconds": round(step.seconds, 2), "ratio": worst_ratio(report), "verdict": report.get("verdict", "none")}
    if step.status == 0 and not step.killed:
        return
    failed = [o for o in report.get("outputs", []) if o["verdict"] == "fail"]
    record["status"] = "verify"
    record["error"] = f"{failed[0]['name']}: {failed[0]['reason']}" if failed else ended(step, limits)
    record["said"] = step.stderr[:4000]
