"""What the benches beside this file ask `mica bench` for."""
import json
import subprocess


def mica_bench(mica, library, *flags):
    """Mica's entry of the report of `mica bench LIBRARY FLAGS...`, by its keys: "ms", "cold_start_ms" ..."""
    command = [mica, "bench", str(library), "--json", "-q", *map(str, flags)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)["contenders"][0]


def turn(mica, library, threads, seconds, *flags):
    """Lowest milliseconds of one short turn, among others that it is compared with."""
    return mica_bench(mica, library, "--rounds", 1, "--duration", seconds, "--warmup", 0.2, "--threads", threads, *flags)["ms"]["min"]
