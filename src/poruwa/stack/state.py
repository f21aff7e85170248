"""The state folder of a stack: who uses it, its keys, its sockets, where its parts are found.

    lock          held (flock) by the running stack, holds its pid
    stack.json    addresses and pids of the running stack, for ``poruwa status``
    runtime.json  what operators changed while it ran (``stack.kept_changes``)
    secrets       keys made on the first run, NAME=VALUE, mode 0600
    operator-token  made on the first run, mode 0600: who shows it may edit the site's data
    seed-password  alike: of the accounts that the seed makes, to try the site with
    database/     the embedded database's files
    cache/, bus/  configuration (with its password, mode 0600) and files of the embedded Valkeys
    logs/         access log
    reports/      what browsers reported (``observe.report_store``)
    run/          Unix sockets; elsewhere where the path would be too long for a socket

The folder is for its owner only (0700): who can write a socket in it can answer for an instance.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from poruwa.errors import StackError
from poruwa.units import format_size

OPERATOR_TOKEN = "operator-token"  # noqa: S105 -- the name of a file
SEED_PASSWORD = "seed-password"  # noqa: S105 -- alike
LEAST_FREE_BYTES = 200 * 1024 * 1024  # the first seeding writes about half of it
# sun_path holds 108 bytes (unix(7)); the longest name below the folder takes about ten.
_SOCKET_FOLDER_BYTES = 88
_SECRET_BYTES = 32
_PASSWORD_BYTES = 12  # 16 characters, which somebody types
_ACCESS_LOG_BYTES = 64 * 1024 * 1024


class StateFolder:
    """An open state folder; made by `open_state`."""

    def __init__(self, path: Path, sockets: Path) -> None:
        self.path = path
        self.sockets = sockets
        self.secrets = path.absolute() / "secrets"
        self.database = path / "database"
        self.access_log = path / "logs" / "access.log"
        self.report_path = path / "stack.json"

    def make_secrets(self, names: Iterable[str]) -> dict[str, str]:
        """Return a value for each name: the one made in an earlier run, else a new one.

        Raises:
            StackError: the file cannot be read or written.
        """
        path = self.secrets
        known: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_text().splitlines():
                name, equals, value = line.partition("=")
                if equals:
                    known[name.strip()] = value.strip()
        wanted = list(names)
        missing = [name for name in wanted if not known.get(name)]
        known |= {name: secrets.token_urlsafe(_SECRET_BYTES) for name in missing}
        if missing:
            text = "".join(f"{name}={value}\n" for name, value in known.items())
            write_atomically(path, text.encode())
        return {name: known[name] for name in wanted}

    def operator_token(self) -> str:
        """Return the token of ``operator-token``, made on the first run.

        Raises:
            StackError: the file cannot be written.
        """
        return self._made_once(OPERATOR_TOKEN, _SECRET_BYTES)

    def seed_password(self) -> str:
        """Return the password of ``seed-password``, made on the first run; raises alike."""
        return self._made_once(SEED_PASSWORD, _PASSWORD_BYTES)

    def _made_once(self, name: str, size: int) -> str:
        value = self.recall(name)
        if value is None:
            value = secrets.token_urlsafe(size)
            self.remember(name, value)
        return value

    def remember(self, name: str, value: object) -> None:
        """Keep a small value over runs."""
        write_atomically(self.path / name, str(value).encode())

    def recall(self, name: str) -> str | None:
        """Return what `remember` kept, None when there is nothing."""
        try:
            return (self.path / name).read_text().strip() or None
        except OSError:
            return None

    def write_report(self, report: dict[str, Any]) -> None:
        """Say in ``stack.json`` what runs and where.

        Raises:
            StackError: the disk is full, or the folder went away.
        """
        write_atomically(
            self.report_path, msgspec.json.format(msgspec.json.encode(report), indent=2)
        )

    def rotate_access_log(self) -> None:
        """Keep one older access log, once the present one has become large."""
        self.access_log.parent.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self.access_log.stat().st_size > _ACCESS_LOG_BYTES:
                self.access_log.replace(self.access_log.with_suffix(".log.1"))


@contextmanager
def open_state(path: Path, *, least_free_bytes: int = LEAST_FREE_BYTES) -> Iterator[StateFolder]:
    """Make and lock the state folder at ``path`` for the length of the block.

    Raises:
        StackError: in use, not writable, or on a disk with too little space.
    """
    path = path.absolute()
    with plain_words(path):
        path.mkdir(parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
        require_space(path, least_free_bytes)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(lock, path)
        with plain_words(path):
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        with _socket_folder(path) as sockets:
            state = StateFolder(path, sockets)
            state.report_path.unlink(missing_ok=True)  # of a stack that was killed
            try:
                yield state
            finally:
                with contextlib.suppress(OSError):
                    state.report_path.unlink(missing_ok=True)
    finally:
        os.close(lock)  # releases the lock


def require_space(path: Path, least_free_bytes: int) -> None:
    """Raise a `StackError` when the disk of ``path`` has fewer bytes free than it needs."""
    free = shutil.disk_usage(path).free
    if free < least_free_bytes:
        raise StackError(
            f"The disk of {path} has {free // 2**20} MiB free; the stack needs "
            f"{format_size(least_free_bytes)}. Free some, or choose another place with --state."
        )


def running_pid(path: Path) -> int | None:
    """Return the pid of the stack that uses the state folder at ``path``, None when none does."""
    try:
        lock = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _locked_by(lock)
    finally:
        os.close(lock)
    return None


def disk_full(path: Path) -> StackError:
    """Return the error that says the disk of ``path`` is full."""
    return StackError(f"The disk of {path} is full. Free some space and start again.")


def _lock(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StackError(
            f"The state directory {path} is in use by pid {_locked_by(lock) or 'unknown'}. "
            "Stop that stack, or choose another with --state."
        ) from None


def _locked_by(lock: int) -> int | None:
    text = os.pread(lock, 32, 0).strip()
    return int(text) if text.isdigit() else None


@contextmanager
def _socket_folder(path: Path) -> Iterator[Path]:
    inside = path / "run"
    if len(os.fsencode(inside)) <= _SOCKET_FOLDER_BYTES:
        with plain_words(path):
            shutil.rmtree(inside, ignore_errors=True)  # sockets of a run that was killed
            inside.mkdir(mode=0o700)
        try:
            yield inside
        finally:
            shutil.rmtree(inside, ignore_errors=True)
    else:
        with tempfile.TemporaryDirectory(prefix="poruwa-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)


@contextmanager
def plain_words(path: Path) -> Iterator[None]:
    """Turn errors of the file system, in the state folder ``path``, into clear words.

    Raises:
        StackError: instead of an OSError within the block.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path) from error
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise StackError(f"{path} is not a directory. Choose another with --state.") from error
        raise StackError(
            f"The state directory {path} cannot be written: {(error.strerror or str(error))}. "
            "Choose another with --state."
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is for its owner only, so that a reader sees the old or the new whole.

    Raises:
        StackError: the disk is full, or the folder went away.
    """
    beside = path.with_name(f"{path.name}.new")
    with plain_words(path.parent):
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as written:
            written.write(data)
            written.flush()
            os.fsync(file)
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # the rename, too, outlives a loss of power
        finally:
            os.close(folder)
