"""Times a model compiled by Mica beside eager PyTorch, frozen TorchScript, torch.compile, AOTInductor, ONNX Runtime and OpenVINO.

Each contender runs in a process of its own, on the same inputs and CPUs; they take turns, round by round, and whoever is not running is
stopped. `distance` is the first output's relative root mean square to eager fp32: a contender that computes something else shows.

  MODEL   a name of tools/models/export --list, a line of tools/coverage.list ("timm convnext_tiny"), FILE.pt, or FILE.py:FUNCTION, where
          FUNCTION(batch) gives back (module, inputs)"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
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
    add("--mica", type=Path, default=ROOT / "build/release/bin/mica", metavar="PATH")
    add("--compile-flag", action="append", default=[], metavar="FLAG", help="a further flag of mica compile; may be repeated")
    add("--json", type=Path, metavar="FILE", help="everything measured, raw samples included")
    add("--plot", type=Path, metavar="FILE.svg")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if options.threads < 1 or options.threads > len(cpus):
        parser.error(f"--threads {options.threads}: this process may use {len(cpus)} CPUs")
    options.cpus = set(cpus[:options.threads])
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


def start_mica(options, archive: str, dtypes: list[str], folder: Path, log) -> tuple[Worker, dict]:
    library = folder / "model.so"
    flags = [] if options.precision == "fp32" else ["--precision", options.precision]
    begin = os.times().elapsed
    run([options.mica, "compile", archive, "-o", library, "-q", *flags, *options.compile_flag])
    seconds = os.times().elapsed - begin
    request = {"kind": 0, "file": str(library), "inputs": str(folder / "inputs.npz"), "dtypes": dtypes, "specs": [], "method": "forward",
               "threads": options.threads, "copy_weights": False}
    return Worker("mica", [str(options.mica), "bench-worker", json.dumps(request)], options.cpus, log), {"compile_s": seconds}


def start_peer(options, model: str, name: str, folder: Path, log) -> tuple[Worker, dict]:
    own = folder / name
    own.mkdir()
    request = {"contender": name, "model": model, "batch": options.batch, "precision": options.precision, "threads": options.threads,
               "folder": str(own), "reference": str(folder / "reference.npy"), "cpus": sorted(options.cpus)}
    return Worker(name, [sys.executable, "-m", "peers.worker", json.dumps(request)], options.cpus, log), {}


def measure(options, model: str, folder: Path, log) -> dict:
    name, archive, *dtypes = run([sys.executable, "-c", PREPARE, model, options.batch, folder]).split()
    say = (lambda text: print(f"\r\033[K{name}: {text}", end="", file=sys.stderr, flush=True)) if sys.stderr.isatty() else lambda text: None
    contenders, running = [], []
    for contender in options.only or ("mica", *PEERS):
        say(f"preparing {contender}")
        facts = {"name": contender, "ms": []}
        contenders.append(facts)
        try:
            worker, more = start_mica(options, archive, dtypes, folder, log) if contender == "mica" else start_peer(options, model, contender, folder, log)
            facts.update(more)
            facts.update(worker.ask())
            running.append((worker, facts))
        except Lost as why:
            facts["why"] = str(why)

    def turn(text: str, line: str, take) -> None:
        for worker, facts in list(running):
            say(f"{text}: {worker.name}")
            try:
                take(facts, worker.ask(line))
            except Lost as why:
                running.remove((worker, facts))
                facts.update(why=str(why), ms=[])
    turn("warming up", f"run {options.warmup} 3", lambda facts, answer: None)
    for at in range(options.rounds):
        turn(f"round {at + 1} of {options.rounds}", f"run {options.duration / options.rounds} 1", lambda facts, answer: facts["ms"].extend(answer["ms"]))
    turn("ending", "quit", lambda facts, answer: facts.update(answer))
    say("")
    return {"model": name, "precision": options.precision, "batch": options.batch, "threads": options.threads, "cpus": sorted(options.cpus),
            "contenders": contenders}


def main() -> int:
    options = parse()
    results, failed = [], False
    for model in options.model:
        with tempfile.TemporaryDirectory(prefix="mica-peers-") as folder, open(Path(folder) / "log", "w") as log:
            try:
                results.append(measure(options, model, Path(folder), log))
            except Lost as why:
                failed = True
                print(str(why) if str(why).startswith("error") else f"error: {model}: {why}", file=sys.stderr)
                continue
        print(report.table(results[-1]) + "\n", flush=True)
        if options.json:
            options.json.write_text(json.dumps(results))
    if options.plot:
        report.plot(results, options.plot)
    return 1 if failed or any(report.ratios(result) is None for result in results if not options.only) else 0


if __name__ == "__main__":
    sys.exit(main())
