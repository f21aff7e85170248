"""One child process: started so that it cannot outlive us, its lines read, its end awaited.

Below the supervisor, which decides when to start and stop. A child runs in a process group of its
own, so that a terminal's Ctrl-C reaches only us, and asks the kernel to be killed when we die
(``prctl(2)``, PR_SET_PDEATHSIG), so that even ``kill -9`` of the supervisor leaves nothing behind.

Waits by ``pidfd_open(2)`` instead of asyncio's child watchers: those of Python 3.11 start a thread
per child, and code between fork and exec is safe only while there are no other threads holding
locks. Linux only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from poruwa.errors import StackError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_READ_BYTES = 64 * 1024
_LINE_LIMIT = 16 * 1024  # characters; longer lines are cut, not joined
_LAST_LINES = 20
_PIPE_GRACE_SECONDS = 0.5  # for the last lines after the end; a grandchild may hold the pipe open
KILL_SECONDS = 5.0  # a process in uninterruptible sleep can outlast SIGKILL; do not wait for ever

_libc = ctypes.CDLL(None, use_errno=True)


class Output(Enum):
    """Where a child's standard output goes; its standard error always becomes log lines."""

    LOG = "log"
    INHERIT = "inherit"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """How to start and stop one process.

    Attributes:
        name: of the part in lines and status, e.g. ``app.1``.
        argv: program and arguments; found on PATH unless it holds a slash.
        env: the whole environment; None for ours.
        pass_fds: descriptors the child inherits under the same numbers.
        stop_signal: asks for an orderly end.
        stop_grace_seconds: from that signal to SIGKILL.
        output: of standard output.
        close_fds_after: of ``pass_fds``, those that we close once the child has them.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    pass_fds: tuple[int, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_seconds: float = 10.0
    output: Output = Output.LOG
    close_fds_after: tuple[int, ...] = ()


class Child:
    """A running process; made by `start_child`."""

    def __init__(
        self, spec: ProcessSpec, process: subprocess.Popen[bytes], on_line: Callable[[str], None]
    ) -> None:
        self.spec = spec
        self.pid = process.pid
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._process = process
        self._on_line = on_line
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read_lines(), name=f"lines of {spec.name}")
        self._pidfd = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    @property
    def exit_code(self) -> int | None:
        """As of `subprocess.Popen.returncode`: negative for a signal, None while it runs."""
        return self._exited.result() if self._exited.done() else None

    async def wait(self) -> int:
        """Return the exit code once the process has ended and its last lines are read.

        Cancelling stops the waiting, not the process.
        """
        code = await asyncio.shield(self._exited)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PIPE_GRACE_SECONDS):
                await asyncio.shield(self._reader)
        self._reader.cancel()
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; without effect once the process has been reaped."""
        if not self._exited.done():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def stop(
        self, ask: Callable[[], bool] | None = None, *, grace_seconds: float | None = None
    ) -> int:
        """Ask for an orderly end, kill after the grace period, return the exit code.

        Cancelling kills at once; the process is then reaped without being waited for.

        Args:
            ask: asks by another way than the stop signal; False when it could not.
            grace_seconds: instead of the specification's.
        """
        if ask is None or not ask():
            self.signal(self.spec.stop_signal)
        # A stopped (SIGSTOP) process would sleep through the signal and be killed as frozen.
        self.signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(
                self.spec.stop_grace_seconds if grace_seconds is None else grace_seconds
            ):
                return await self.wait()
        except TimeoutError:
            self.kill()
        except asyncio.CancelledError:
            self.kill()
            raise
        try:
            async with asyncio.timeout(KILL_SECONDS):
                return await self.wait()
        except TimeoutError:
            raise StackError(
                f"{self.spec.name} (pid {self.pid}) did not end {KILL_SECONDS:g} s after SIGKILL."
            ) from None

    def kill(self) -> None:
        """Kill the process and whatever is left of its group."""
        if not self._exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _reap(self) -> None:
        code = self._process.poll()
        if code is None:
            return
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        if not self._exited.done():
            self._exited.set_result(code)

    async def _read_lines(self) -> None:
        pipe = self._process.stderr if self._process.stdout is None else self._process.stdout
        assert pipe is not None
        reader = asyncio.StreamReader(limit=_READ_BYTES)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        rest = b""
        try:
            while data := await reader.read(_READ_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._emit(line)
                if len(rest) > _LINE_LIMIT:
                    self._emit(rest)
                    rest = b""
            if rest:
                self._emit(rest)
        finally:
            transport.close()

    def _emit(self, line: bytes) -> None:
        text = line[:_LINE_LIMIT].decode("utf-8", "replace").rstrip()
        if text:
            self.last_lines.append(text)
            self._on_line(text)


def start_child(spec: ProcessSpec, on_line: Callable[[str], None]) -> Child:
    """Start the process of ``spec``; call ``on_line`` for each line it writes.

    Must be called in the main thread: the death signal is tied to the thread that forks.

    Raises:
        StackError: the program is not there or cannot be run, with what to do.
    """
    merged = spec.output is Output.LOG
    try:
        process = subprocess.Popen(
            spec.argv,
            env=None if spec.env is None else dict(spec.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if merged else None,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            pass_fds=spec.pass_fds,
            process_group=0,
            preexec_fn=_death_signal_setter(),
        )
    except FileNotFoundError as error:
        raise StackError(f"{spec.name}: there is no program {spec.argv[0]!r} on PATH.") from error
    except OSError as error:
        remedy = " Free memory or raise the limit." if error.errno == errno.EAGAIN else ""
        raise StackError(
            f"{spec.name}: cannot run {spec.argv[0]!r}: {error.strerror}.{remedy}"
        ) from error
    except subprocess.SubprocessError as error:
        raise StackError(f"{spec.name}: cannot run {spec.argv[0]!r}: {error}.") from error
    finally:
        for fd in spec.close_fds_after:
            os.close(fd)
    return Child(spec, process, on_line)


def _death_signal_setter() -> Callable[[], None]:
    parent = os.getpid()
    prctl, getppid, exit_now = _libc.prctl, os.getppid, os._exit

    def die_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if getppid() != parent:  # it died before the request: no signal will come
            exit_now(1)

    return die_with_parent
