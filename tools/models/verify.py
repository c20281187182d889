"""Exports models, compiles each with mica, verifies it against LibTorch and holds it to the limits.

The last line is 'models: N passed, N failed'."""
import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Seconds that compiling may take at full size, on two cores; the others have the last one.
COMPILE_SECONDS = {"resnet50": 30, "bert_base": 60, "bert_base_no_mask": 60, None: 120}
# Times of mica over frozen TorchScript that --bench accepts.
SPEED_RATIO = {"resnet50": 1.0, "vit_b_16": 1.0, "bert_base": 1.0, None: 1.5}
# What --form compiles for. The CPU that is not named is the one at hand: AVX-512 and matrix registers where it has them.
FORMS = {
    "f32": [],
    "bf16": ["--precision", "bf16"],
    "bf16-pairs": ["--precision", "bf16", "--cpu-features", "-amx-tile"],
    "f32-avx2": ["--cpu", "x86-64-v3"],
    "bf16-avx2": ["--precision", "bf16", "--cpu", "x86-64-v3"],
}


class Failed(Exception):
    pass


# Runs argv[2:] and writes its exit status and peak kilobytes to the file descriptor argv[1]. A small process of its own,
# because Linux counts the memory of the forking process, LibTorch's here, towards the child's peak.
MEASURE = """import os, sys
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
os.write(int(sys.argv[1]), f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}".encode())
"""


def run(command, log):
    """Runs a command; gives back (stdout, seconds, peak bytes). Raises Failed; what it wrote to stderr is in the log."""
    command = [str(word) for word in command]
    log.write("$ " + " ".join(command) + "\n")
    log.flush()
    start = time.time()
    read, write = os.pipe()
    done = subprocess.run([sys.executable, "-S", "-c", MEASURE, str(write), *command], stdout=subprocess.PIPE, stderr=log,
                          text=True, pass_fds=[write])
    seconds = time.time() - start
    os.close(write)
    with os.fdopen(read) as stream:
        status, peak = (int(word) for word in (stream.read() or "127 0").split())
    log.write(done.stdout)
    log.flush()
    if status != 0:
        raise Failed(f"{command[1]}: {f'signal {-status}' if status < 0 else f'exit {status}'}")
    return done.stdout, seconds, peak * 1024


def parse():
    parser = argparse.ArgumentParser(prog="tools/models/verify", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="*", help="models (default: all)")
    parser.add_argument("--small", action="store_true", help="small instances")
    parser.add_argument("--batch", type=int, action="append", metavar="N", help="batch size, may be repeated (default 1)")
    parser.add_argument("--mica", default=ROOT / "build/release/bin/mica", type=Path, metavar="PROGRAM")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="where NAME.pt are, or are exported to")
    parser.add_argument("--keep", action="store_true", help="keep exported and compiled models")
    parser.add_argument("--seed", type=int, default=0, help="seed of the inputs that mica verify draws")
    parser.add_argument("--bench", action="store_true", help="also time against frozen TorchScript and hold the ratio")
    parser.add_argument("--threads", type=int, default=2, help="threads for --bench (default 2)")
    parser.add_argument("--form", action="append", choices=[*FORMS, "all"], metavar="FORM",
                        help=f"precision and CPU to compile for, may be repeated: {', '.join(FORMS)}, or all of them with 'all' (default: f32)")
    parser.add_argument("--run-threads", type=int, action="append", metavar="N",
                        help="also run with so many threads, may be repeated: the bits of all outputs must be those of the first N")
    parser.add_argument("--compile-flag", action="append", default=[], metavar="FLAG", help="handed to mica compile")
    return parser, parser.parse_args()


def input_flags(built):
    """--input for archives that carry no traced inputs: '1x3x224x224:f32', by position."""
    import torch
    letters = {torch.float32: "f32", torch.int64: "i64"}
    return [f for t in built.inputs for f in ("--input", "x".join(map(str, t.shape)) + ":" + letters[t.dtype])]


def bench(name, so, pt, options, log):
    """The line to print, and the failure or None."""
    out, _, _ = run([options.mica, "bench", so, "--vs", pt, "--threads", options.threads, "--duration", 3, "--json"], log)
    medians = {c["name"]: c["ms"]["median"] for c in json.loads(out)["contenders"]}
    frozen = next((v for k, v in medians.items() if "frozen" in k or "torchscript" in k), None)
    if frozen is None:
        raise Failed(f"bench: no contender for frozen TorchScript among {', '.join(medians)}")
    ratio, limit = medians["mica"] / frozen, SPEED_RATIO.get(name, SPEED_RATIO[None])
    line = f"mica {medians['mica']:.2f} ms, frozen {frozen:.2f} ms, ratio {ratio:.2f}"
    return line, f"ratio {ratio:.2f} is above {limit}" if ratio > limit else None


def check_threads(so, options, log):
    """Runs `so` on the same inputs with each number of threads. Raises Failed where an output differs in a bit."""
    import numpy
    first = None
    for threads in options.run_threads:
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            run([options.mica, "run", so, "-q", "--seed", options.seed, "--threads", threads, "--output", "@" + file.name], log)
            outputs = {name: (a.dtype, a.shape, a.tobytes()) for name, a in numpy.load(file.name).items()}
        first = first or outputs
        different = [name for name in first if outputs[name] != first[name]]
        if different:
            raise Failed(f"{', '.join(different)}: {threads} threads give other bits than {options.run_threads[0]}")


def one(name, batch, form, options, folder, log_path):
    """Exports, compiles and verifies one model; gives back the line to print. Raises Failed."""
    from . import zoo
    stem = name if batch == 1 else f"{name}_b{batch}"
    pt, so = folder / f"{stem}.pt", folder / f"{stem}.so"
    flags = FORMS[form] + options.compile_flag
    exported = not pt.exists()
    with open(log_path, "w") as log:
        try:
            built = None
            if exported:
                built = zoo.export(name, str(pt), options.small, batch)
            if name.endswith(zoo.SCRIPTED):
                flags += input_flags(built or zoo.build(name, options.small, batch))
            del built
            _, seconds, peak = run([options.mica, "compile", pt, "-o", so, *flags], log)
            _, verify_seconds, _ = run([options.mica, "verify", pt, so, "--seed", options.seed], log)
            line = f"compile {seconds:.1f} s, {peak / 1e6:.0f} MB; {so.stat().st_size / 1e6:.1f} MB; verify {verify_seconds:.1f} s"
            if options.run_threads:
                check_threads(so, options, log)
            over = []
            if not options.small:
                if seconds > (limit := COMPILE_SECONDS.get(name, COMPILE_SECONDS[None])):
                    over.append(f"compiling took more than {limit} s")
                if peak > (limit := 700e6 + 4 * pt.stat().st_size):
                    over.append(f"compiling took more than {limit / 1e6:.0f} MB")
            if options.bench:
                speed, slow = bench(name, so, pt, options, log)
                line += "; " + speed
                over += [slow] if slow and batch == 1 else []
            if over:
                raise Failed(f"{'; '.join(over)} ({line})")
            return line
        finally:
            if not options.keep:
                so.unlink(missing_ok=True)
                if exported:
                    pt.unlink(missing_ok=True)


def main() -> int:
    parser, options = parse()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if not options.mica.exists():
        parser.error(f"{options.mica} is not built; run: cmake --build --preset release")
    from . import zoo
    wanted = options.name or zoo.names()
    unknown = [name for name in wanted if name not in zoo.names()]
    if unknown:
        parser.error(f"no model named {', '.join(unknown)}; there are: {', '.join(zoo.names())}")
    build = options.mica.resolve().parents[1]
    folder = options.models or build / "tests" / ("models" if options.small else "models-full")
    logs = build / "tests" / "logs" / "models"
    folder.mkdir(parents=True, exist_ok=True)
    logs.mkdir(parents=True, exist_ok=True)

    passed = failed = 0
    forms = options.form or ["f32"]
    if "all" in forms:
        forms = list(FORMS)
    for name, batch, form in itertools.product(wanted, options.batch or [1], forms):
        what = f"{name} batch {batch}" + (f" {form}" if options.form else "")
        log_path = logs / f"{name}{'_small' if options.small else ''}_b{batch}{'_' + form if options.form else ''}.log"
        try:
            line = one(name, batch, form, options, folder, log_path)
            passed += 1
            print(f"ok     {what}: {line}", flush=True)
        except Failed as failure:
            failed += 1
            print(f"FAILED {what}: {failure}\n       log: {log_path}", flush=True)
            for text in log_path.read_text(errors="replace").splitlines()[-12:]:
                print("       | " + text)
    print(f"models: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
