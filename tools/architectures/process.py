"""Runs one command, or one function in a forked child, with a limit on time and memory, and tells what it took."""
import os
import pickle
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Finished:
    status: int  # exit code; negative: the signal
    seconds: float  # of the clock
    cpu_seconds: float
    peak_mb: float
    killed: str | None = None  # 'time' or 'memory', where a limit ended it
    stdout: str = ""
    stderr: str = ""
    value: object = None  # of a function

    def why_killed(self, seconds: float, megabytes: float) -> str:
        return f"took more than {seconds:.0f} s" if self.killed == "time" else f"took more than {megabytes:.0f} MB of memory"


def resident_mb(pid: int) -> float:
    """The high-water mark of a process' resident memory since its exec; 0 once it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def watch(pid: int, seconds: float, megabytes: float) -> Finished:
    """Waits for a child that leads a process group of its own; ends it when it passes a limit."""
    start, peak, killed, pause = time.monotonic(), 0.0, None, 0.005
    while True:
        peak = max(peak, resident_mb(pid))
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return Finished(os.waitstatus_to_exitcode(status), time.monotonic() - start, usage.ru_utime + usage.ru_stime, peak, killed)
        if killed is None and (peak > megabytes or time.monotonic() - start > seconds):
            killed = "memory" if peak > megabytes else "time"
            os.killpg(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)


def run(command: list, seconds: float, megabytes: float) -> Finished:
    words = [str(word) for word in command]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        actions = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, err.fileno(), 2)]
        pid = os.posix_spawn(words[0], words, os.environ, file_actions=actions, setpgroup=0)
        finished = watch(pid, seconds, megabytes)
        for stream, name in ((out, "stdout"), (err, "stderr")):
            stream.seek(0)
            setattr(finished, name, stream.read())
    return finished


def call(function, seconds: float, megabytes: float) -> Finished:
    """Runs `function()` in a forked child. Its value, or the exception that it raised, comes back as `value`."""
    with tempfile.TemporaryFile() as result:
        pid = os.fork()
        if pid == 0:
            code = 0
            try:
                os.setpgid(0, 0)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                try:
                    value = function()
                except BaseException as error:
                    value, code = f"{type(error).__name__}: {error}", 1
                pickle.dump(value, result)
                result.flush()
            finally:
                os._exit(code)
        try:
            os.setpgid(pid, pid)  # also here: whoever is first
        except OSError:
            pass
        finished = watch(pid, seconds, megabytes)
        result.seek(0)
        data = result.read()
        finished.value = pickle.loads(data) if data else None
    return finished
