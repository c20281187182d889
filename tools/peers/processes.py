"""A contender's process: started, asked, and stopped (SIGSTOP) while it is not its turn, since spinning threads of one slow the others."""
import json
import os
import signal
import subprocess


class Lost(Exception):
    """Why a contender takes no further part."""


class Worker:
    def __init__(self, name: str, command: list[str], cpus: set[int], log):
        self.name = name
        to_read, self.to = os.pipe()
        back, from_write = os.pipe()

        def child():
            os.dup2(to_read, 203), os.dup2(from_write, 204)  # out of the way of what 3 and 4 are now
            os.dup2(203, 3), os.dup2(204, 4)
            os.sched_setaffinity(0, cpus)
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=child, close_fds=False,
                                        start_new_session=True)
        os.close(to_read), os.close(from_write)
        self.replies = os.fdopen(back)

    def signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def ask(self, line: str = "") -> dict:
        """Sends a line (none: only waits) and takes the reply. Raises Lost."""
        self.signal(signal.SIGCONT)
        try:
            if line:
                os.write(self.to, (line + "\n").encode())
            answer = json.loads(self.replies.readline())
        except (BrokenPipeError, ValueError):
            self.end()
            code = self.process.returncode
            raise Lost(f"its process ended by signal {-code}" if code < 0 else f"its process ended with code {code}") from None
        if "error" in answer:
            self.end()
            raise Lost(answer["error"].strip())
        if line != "quit":
            self.signal(signal.SIGSTOP)
        return answer

    def end(self) -> None:
        self.signal(signal.SIGCONT)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()
