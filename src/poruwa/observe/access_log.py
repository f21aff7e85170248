"""The access log: one JSON line per request, written without making a request wait.

A worker builds a line (``access_line``) and hands it to its ``AccessLog``, which gathers lines and
passes them on when 64 KiB or half a second have come together. A thread does the writing: a full
pipe or a slow disk delays the log, never a client. Where it cannot keep up, whole blocks are
dropped and counted.

Never in a line: cookies, Authorization, values of query parameters whose names speak of secrets
(``token``, ``password``, ``code`` and so on, in the target and in the Referer). Does not rotate:
``reopen`` follows a file that was moved (SIGHUP), and every block written looks by itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections import deque
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from urllib.parse import unquote_to_bytes

from poruwa.errors import PoruwaError

FLUSH_BYTES = 64 * 1024
FLUSH_SECONDS = 0.5
MAX_PENDING_BYTES = 8 * 1024 * 1024  # what a stalled disk may cost in memory
MASK = b"***"
MAX_FIELD_BYTES = 2048  # of target, user agent and referer each; what follows is cut

# Names that give secrets away, on bytes in lower case. The first expression has no word boundaries,
# so that the engine can skip by first letters: it clears nearly every query in a third of the time.
_PERHAPS_SECRET = re.compile(
    rb"token|passw|passphrase|passcode|pwd|secret|api[-_.]?key|access[-_.]?key|auth|sessi?on|"
    rb"sid|jwt|credential|signature|sig|code|state|nonce|otp|pin|csrf|ticket|assertion|key"
)
_SECRET_NAME = re.compile(
    rb"token|passw|passphrase|passcode|pwd|secret|api[-_.]?key|access[-_.]?key|auth|sessi?on|"
    rb"jwt|credential|signature|nonce|csrf|ticket|assertion|"
    rb"\b(?:sid|sig|code|state|otp|pin|key)\b"
)


class AccessLog:
    """Where a worker's lines go. Open it before use, close it at the end; not thread-safe.

    Args:
        path: file to append to, ``"-"`` for standard output.
    """

    __slots__ = (
        "_buffer",
        "_file",
        "_first_at",
        "_is_closing",
        "_path",
        "_pending",
        "_queued_bytes",
        "_size",
        "_thread",
        "_wake",
        "_written_bytes",
        "dropped_lines",
        "failure",
    )

    def __init__(self, path: str) -> None:
        self._path = path
        self._buffer: list[bytes] = []
        self._size = 0
        self._first_at = 0.0
        self._file = -1
        # Blocks and their numbers of lines, for the thread. It takes all there are at once: the
        # less often it gets to run, the more it writes in one go.
        self._pending: deque[tuple[bytes, int]] = deque()
        self._queued_bytes = 0  # changed by the worker only
        self._written_bytes = 0  # changed by the thread only
        self._wake = threading.Event()
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self.dropped_lines = 0
        self.failure: OSError | None = None  # of the last write; None once one succeeds

    def open(self) -> None:
        """Open the file and start the writing thread.

        Raises:
            PoruwaError: the file cannot be opened for appending.
        """
        self._file = self._opened()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, line: bytes, now: float) -> None:
        """Add one line (ending in a newline). ``now`` is monotonic seconds."""
        if not self._buffer:
            self._first_at = now
        self._buffer.append(line)
        self._size += len(line)
        if self._size >= FLUSH_BYTES:
            self.flush()

    def tick(self, now: float) -> None:
        """Flush what waited for ``FLUSH_SECONDS``; to be called about twice a second."""
        if self._buffer and now - self._first_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand what was gathered to the writing thread; does not wait."""
        if not self._buffer:
            return
        block, lines = b"".join(self._buffer), len(self._buffer)
        self._buffer.clear()
        self._size = 0
        if self._queued_bytes - self._written_bytes + len(block) > MAX_PENDING_BYTES:
            self.dropped_lines += lines
            return
        self._queued_bytes += len(block)
        self._pending.append((block, lines))
        self._wake.set()

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Write what is left, for at most ``timeout_seconds``, and close the file."""
        if self._thread is None:
            return
        self.flush()
        self._is_closing = True
        self._wake.set()
        self._thread.join(timeout_seconds)
        if not self._thread.is_alive() and self._path != "-":
            os.close(self._file)
        self._thread = None

    def reopen(self) -> None:
        """Begin a new file if the old one was moved or removed: what SIGHUP asks for.

        Raises:
            PoruwaError: the new file cannot be opened; the old one stays in use.
        """
        self.flush()
        self._follow()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait()
            self._wake.clear()
            is_last = self._is_closing  # read before the blocks: none comes after it is set
            self._write_pending()

    def _write_pending(self) -> None:
        blocks = []
        while self._pending:
            blocks.append(self._pending.popleft())
        if not blocks:
            return
        data = b"".join([block for block, _ in blocks])
        try:
            # In the thread and before each write: a stat may hang just as a write may.
            with contextlib.suppress(PoruwaError):
                self._follow()
            _write_all(self._file, data)
            self.failure = None
        except OSError as error:  # full disk, closed pipe: the gateway goes on without
            self.failure = error
            self.dropped_lines += sum(lines for _, lines in blocks)
        self._written_bytes += len(data)

    def _follow(self) -> None:
        if self._path == "-" or self._is_current():
            return
        fresh = self._opened()
        # dup2 swaps the file under the same number, also while the thread is writing to it.
        os.dup2(fresh, self._file, inheritable=False)
        os.close(fresh)

    def _is_current(self) -> bool:
        try:
            there, ours = os.stat(self._path), os.fstat(self._file)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _opened(self) -> int:
        if self._path == "-":
            return sys.stdout.fileno()
        try:
            return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise PoruwaError(
                f"The access log {self._path} cannot be opened: {error.strerror}. "
                "Create its folder, or make it writable for this user."
            ) from error


class LineClock:
    """Wall time as text, the second's part kept: formatting a date for each line is 1 us."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def text(self, at: float) -> str:
        """Return ``at`` (wall seconds) as ``2026-11-23T08:30:00.123Z``."""
        second = int(at)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{int((at - second) * 1000):03d}Z"


def access_line(
    *,
    time_text: str,
    client: str,
    method: bytes,
    target: bytes,
    status: int,
    bytes_in: int,
    bytes_out: int,
    seconds: float,
    instance: str | None,
    route: str,
    request_id: bytes,
    tries: int,
    user_agent: bytes = b"",
    referer: bytes = b"",
    note: str | None = None,
) -> bytes:
    """Return one line of the log, newline included.

    Args:
        time_text: when the request began, from ``LineClock``.
        status: final status sent; 499 where the client left first, 0 where nothing was sent.
        bytes_in, bytes_out: body received; head and body sent.
        seconds: from the request's first byte to the response's last.
        instance: who answered, None for the gateway itself.
        tries: sends to instances, 0 for the gateway's own answers.
        note: the reason code of a refusal or failure.
    """
    if b"?" in target:
        target = masked_query(target)
    if b"?" in referer or b"@" in referer or b"#" in referer:
        referer = _masked_referer(referer)
    ending = "}\n" if note is None else f',"note":{_quoted(note)}}}\n'
    return (
        f'{{"time":"{time_text}","client":{_quoted(client)},"method":{_json(method)},'
        f'"target":{_json(target)},"status":{status},"bytes_in":{bytes_in},'
        f'"bytes_out":{bytes_out},"seconds":{seconds:.6f},'
        f'"instance":{"null" if instance is None else _quoted(instance)},'
        f'"route":{_quoted(route)},"request_id":{_json(request_id)},"tries":{tries},'
        f'"user_agent":{_json_of_agent(user_agent)},"referer":{_json(referer)}{ending}'
    ).encode("ascii")


def masked_query(target: bytes) -> bytes:
    """Return a target or URL with the values of secret-sounding query parameters masked."""
    path, _, query = target.partition(b"?")
    if not _PERHAPS_SECRET.search(_readable(query)):
        return target
    # Parameters end at & and, for old programs, at ";": a name behind either must be seen.
    parts = re.split(rb"([&;])", query)
    parts[::2] = [_masked_parameter(part) for part in parts[::2]]
    return path + b"?" + b"".join(parts)


def _masked_parameter(parameter: bytes) -> bytes:
    name, equals, value = parameter.partition(b"=")
    if not equals or not value:
        return parameter
    return name + b"=" + MASK if _SECRET_NAME.search(_readable(name)) else parameter


def _readable(query: bytes) -> bytes:
    """Return a query as its names are understood: decoded, in lower case."""
    if b"%" in query:
        query = unquote_to_bytes(query)
    return query.lower()


def _masked_referer(referer: bytes) -> bytes:
    without_fragment = referer.partition(b"#")[0]
    scheme, separator, rest = without_fragment.partition(b"://")
    if separator:
        authority, slash, path = rest.partition(b"/")
        rest = authority.rpartition(b"@")[2] + slash + path
    return masked_query(scheme + separator + rest)


@lru_cache(maxsize=1024)
def _json_of_agent(user_agent: bytes) -> str:
    """As ``_json``, remembered: browsers of one version all send the same."""
    return _json(user_agent)


def _json(value: bytes) -> str:
    if len(value) > MAX_FIELD_BYTES:
        value = value[:MAX_FIELD_BYTES] + b"..."
    return _quoted(value.decode("utf-8", "backslashreplace"))


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
