"""The process of one contender: python -m peers.worker REQUEST, started by peers. It speaks the protocol of `mica bench`'s workers: requests are
lines on descriptor 3, replies lines of JSON on descriptor 4, so that whatever libraries print does not disturb them.

  "run SECONDS RUNS"  that long and at least that often, after one run that brings the caches back: {"ms": [...]}
  "quit"              {"peak_bytes": ...}, and the process ends"""
import json
import os
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    request = json.loads(sys.argv[1])
    os.sched_setaffinity(0, request["cpus"])
    os.environ["OMP_NUM_THREADS"] = str(request["threads"])  # before torch makes its pool
    replies = os.fdopen(4, "w")

    def reply(**what) -> None:
        replies.write(json.dumps(what) + "\n")
        replies.flush()

    from . import contenders, models
    source = models.load(request["model"], request["batch"])
    task = contenders.Task(source.module, source.inputs, request["threads"], request["precision"], Path(request["folder"]),
                           Path(request["exports"]))
    begin = time.perf_counter()
    try:
        run = contenders.prepare(request["contender"], task)
        loaded = time.perf_counter()
        result = contenders.first_tensor(run())
        first = time.perf_counter()
    except contenders.Unable as why:
        return reply(error=str(why))
    except Exception as error:  # whatever a compiler raises at its first run
        return reply(error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    reply(load_ms=(loaded - begin) * 1e3, first_run_ms=(first - loaded) * 1e3, threads=request["threads"], distance=distance(result, request["reference"]))

    with os.fdopen(3) as requests:
        for line in requests:
            words = line.split()
            if words[0] == "quit":
                break
            run()
            end, runs, times = time.perf_counter() + float(words[1]), int(words[2]), []
            while len(times) < runs or time.perf_counter() < end:
                start = time.perf_counter()
                run()
                times.append((time.perf_counter() - start) * 1e3)
            reply(ms=times)
    reply(peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    os._exit(0)  # libraries' own threads are not waited for


def distance(result, reference: str) -> float:
    """Root mean square of the difference to the first output of eager fp32, over that output's own."""
    import numpy
    expected = numpy.load(reference).astype("float64").ravel()
    got = result.numpy().ravel()
    if got.shape != expected.shape:
        return float("inf")
    return float(numpy.sqrt(numpy.mean((got - expected) ** 2)) / max(numpy.sqrt(numpy.mean(expected ** 2)), 1e-30))


if __name__ == "__main__":
    main()
