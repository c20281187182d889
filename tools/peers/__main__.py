"""Times a model compiled by Mica beside eager PyTorch, frozen TorchScript, torch.compile, AOTInductor, ONNX Runtime and OpenVINO.

Each contender runs in a process of its own, on the same inputs and CPUs; they take turns, round by round, and whoever is not running is
stopped. `distance` is the first output's relative root mean square to eager fp32: a contender that computes something else shows.

  MODEL   a name of tools/models/export --list, a line of tools/coverage.list ("timm convnext_tiny"), FILE.pt, or FILE.py:FUNCTION, where
          FUNCTION(batch) gives back (module, inputs)"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from . import report
from .processes import Lost, Worker

ROOT = Path(__file__).resolve().parents[2]
PEERS = ("eager", "frozen", "torch.compile", "aotinductor", "onnxruntime", "openvino")


def parse():
    parser = argparse.ArgumentParser(prog="tools/bench/peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", nargs="+", metavar="MODEL")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="threads of each contender (default: all CPUs)")
    add("--batch", type=int, default=1, metavar="B", help="batch size (default 1)")
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="default fp32")
    add("--only", action="append", metavar="NAME", choices=("mica", *PEERS), help="only these contenders; may be repeated")
    add("--rounds", type=int, default=5, metavar="N", help="turns of each contender (default 5)")
    add("--duration", type=float, default=5, metavar="S", help="seconds of timed runs, each contender (default 5)")
    add("--warmup", type=float, default=1, metavar="S", help="seconds of untimed runs, each contender (default 1)")
    add("--jobs", type=int, default=1, metavar="N", help="prepare N models at a time, each on CPUs of its own, and time all of them, one by one, when all "
        "are ready (default 1: prepare and time each in turn)")
    add("--exports", type=Path, metavar="FOLDER", help="keep the ONNX files there, and take those that are there: a further run with another precision or "
        "number of threads starts sooner (default: made anew)")
    add("--mica", type=Path, default=ROOT / "build/release/bin/mica", metavar="PATH")
    add("--compile-flag", action="append", default=[], metavar="FLAG", help="a further flag of mica compile; may be repeated")
    add("--json", type=Path, metavar="FILE", help="everything measured, raw samples included")
    add("--plot", type=Path, metavar="FILE.svg")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if options.threads < 1 or options.threads > len(cpus):
        parser.error(f"--threads {options.threads}: this process may use {len(cpus)} CPUs")
    if not 1 <= options.jobs <= len(cpus) // options.threads:
        parser.error(f"--jobs {options.jobs}: this process may use {len(cpus)} CPUs, which is enough for {len(cpus) // options.threads} at {options.threads} threads")
    options.cpu_sets = [set(cpus[at * options.threads:(at + 1) * options.threads]) for at in range(options.jobs)]
    return options


def run(command) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Lost(next((line for line in lines if line.startswith("error")), lines[-1] if lines else f"exit code {done.returncode}"))
    return done.stdout


# Run in a process of its own, so that this one holds no torch and starts small processes.
PREPARE = """
import sys, numpy, torch, warnings
from pathlib import Path
from peers import contenders, models
warnings.simplefilter("ignore")
torch.set_grad_enabled(False)
model, batch, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
try:
    source = models.load(model, batch)
except models.NoSuchModel as why:
    sys.exit(f"error: {why}")
numpy.save(folder / "reference.npy", contenders.first_tensor(source.module(*source.inputs)).numpy())
numpy.savez(folder / "inputs.npz", *[x.numpy() for x in source.inputs])
if source.archive is None:
    torch.jit.trace(source.module, source.inputs, check_trace=False, strict=False).save(str(folder / "model.pt"))
letters = {torch.float32: "f32", torch.float64: "f64", torch.float16: "f16", torch.bfloat16: "bf16", torch.int64: "i64", torch.int32: "i32", torch.bool: "bool"}
print(source.name, source.archive or folder / "model.pt", *[letters[x.dtype] for x in source.inputs])
"""


@dataclass
class Case:
    """A model on its CPUs, with those contenders that are ready to be timed."""
    model: str
    cpus: set[int]
    folder: Path
    name: str = ""
    why: str = ""  # not empty: no case at all
    contenders: list[dict] = field(default_factory=list)
    running: list[tuple[Worker, dict]] = field(default_factory=list)


def start_mica(options, case: Case, archive: str, dtypes: list[str], log) -> tuple[Worker, dict]:
    library = case.folder / "model.so"
    flags = [] if options.precision == "fp32" else ["--precision", options.precision]
    begin = os.times().elapsed
    run([options.mica, "compile", archive, "-o", library, "-q", *flags, *options.compile_flag])
    seconds = os.times().elapsed - begin
    request = {"kind": 0, "file": str(library), "inputs": str(case.folder / "inputs.npz"), "dtypes": dtypes, "specs": [], "method": "forward",
               "threads": options.threads, "copy_weights": False}
    return Worker("mica", [str(options.mica), "bench-worker", json.dumps(request)], case.cpus, log), {"compile_s": seconds}


def start_peer(options, case: Case, name: str, log) -> tuple[Worker, dict]:
    own = case.folder / name
    own.mkdir()
    exports = case.folder
    if options.exports:
        exports = options.exports.resolve() / f"{re.sub('[^A-Za-z0-9._-]', '_', case.model)}.b{options.batch}"
        exports.mkdir(parents=True, exist_ok=True)
    request = {"contender": name, "model": case.model, "batch": options.batch, "precision": options.precision, "threads": options.threads,
               "folder": str(own), "exports": str(exports), "reference": str(case.folder / "reference.npy"), "cpus": sorted(case.cpus)}
    return Worker(name, [sys.executable, "-m", "peers.worker", json.dumps(request)], case.cpus, log), {}


def say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def prepare(options, case: Case) -> Case:
    case.folder.mkdir()
    with open(case.folder / "log", "w") as log:
        try:
            case.name, archive, *dtypes = run([sys.executable, "-c", PREPARE, case.model, options.batch, case.folder]).split()
        except Lost as why:
            case.why = str(why)
            return case
        for contender in options.only or ("mica", *PEERS):
            say(f"{case.name}: preparing {contender}")
            facts = {"name": contender, "ms": []}
            case.contenders.append(facts)
            try:
                worker, more = start_mica(options, case, archive, dtypes, log) if contender == "mica" else start_peer(options, case, contender, log)
                facts.update(more)
                facts.update(worker.ask())
                case.running.append((worker, facts))
            except Lost as why:
                facts["why"] = str(why)
    return case


def measure(options, case: Case) -> dict:
    def turn(text: str, line: str, take) -> None:
        for worker, facts in list(case.running):
            say(f"{case.name}: {text}: {worker.name}")
            try:
                take(facts, worker.ask(line))
            except Lost as why:
                case.running.remove((worker, facts))
                facts.update(why=str(why), ms=[])
    turn("warming up", f"run {options.warmup} 3", lambda facts, answer: None)
    for at in range(options.rounds):
        turn(f"round {at + 1} of {options.rounds}", f"run {options.duration / options.rounds} 1", lambda facts, answer: facts["ms"].extend(answer["ms"]))
    turn("ending", "quit", lambda facts, answer: facts.update(answer))
    say("")
    return {"model": case.name, "precision": options.precision, "batch": options.batch, "threads": options.threads, "cpus": sorted(case.cpus),
            "contenders": case.contenders}


def prepared(options, folder: Path):
    """The cases, ready: as soon as each is, or, with several jobs, when all are."""
    cases = [Case(model, options.cpu_sets[at % options.jobs], folder / str(at)) for at, model in enumerate(options.model)]
    if options.jobs == 1:
        return (prepare(options, case) for case in cases)
    with ThreadPoolExecutor(options.jobs) as pool:  # a CPU set prepares one model at a time
        list(pool.map(lambda lane: [prepare(options, case) for case in cases[lane::options.jobs]], range(options.jobs)))
    return cases


def main() -> int:
    options = parse()
    results, failed = [], False
    with tempfile.TemporaryDirectory(prefix="mica-peers-") as folder:
        for case in prepared(options, Path(folder)):
            if case.why:
                failed = True
                print(case.why if case.why.startswith("error") else f"error: {case.model}: {case.why}", file=sys.stderr)
                continue
            results.append(measure(options, case))
            shutil.rmtree(case.folder)
            print(report.table(results[-1]) + "\n", flush=True)
            if options.json:
                options.json.write_text(json.dumps(results))
    if options.plot:
        report.plot(results, options.plot)
    return 1 if failed or any(report.ratios(result) is None for result in results if not options.only) else 0


if __name__ == "__main__":
    sys.exit(main())
