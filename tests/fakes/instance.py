"""An instance as a process of its own, to be killed: ``python instance.py NAME PORT``.

``/begun`` sends half of its answer and waits; ``/wait?0.2`` answers late; everything else at once,
with the process id.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]


class InstanceProcess:
    """Starts this file as a process; ``port`` 0 picks a free one, kept over restarts."""

    def __init__(self, name: str, port: int = 0) -> None:
        self.name = name
        self.port = port
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            (sys.executable, __file__, self.name, str(self.port)),
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(TESTS)},
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def main(name: str, port: int) -> None:
    from fakes.origin import Call, Origin

    def begun(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        time.sleep(60)

    def wait(call: Call) -> None:
        time.sleep(float(call.target.partition(b"?")[2]))
        answer(call)

    def answer(call: Call) -> None:
        _ = call.body
        call.reply(b"%d" % os.getpid())

    origin = Origin(name=name, port=port)
    origin.keeps_calls = False
    origin.default = answer
    origin.on("/begun", begun)
    origin.on("/wait", wait)
    sys.stdout.write(f"{origin.port}\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
