"""What operators changed while the gateway ran, kept over restarts: ``runtime.json``.

    {"version": 1, "pools": {"app": {"app.1": {"weight": 5}}}}

Read at the start and at each reload, written before a change takes effect, so that what a command
reports is what the next start finds. A file that cannot be understood stops the start, or refuses
the reload: passing it over would bring back an instance that somebody took away for a reason.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from poruwa.config.forms import FORMS
from poruwa.errors import StackError
from poruwa.rules.topology import Change, Changes
from poruwa.stack.state import plain_words, write_atomically

FILE_NAME = "runtime.json"
_LOCK_NAME = "gateway.lock"
_VERSION = 1


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    pools: dict[str, dict[str, Change]]


class KeptChanges:
    """Reads and writes the file in ``folder``; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder.absolute() / FILE_NAME
        self._lock = -1

    def open(self) -> None:
        """Make the folder and keep other gateways off it.

        Raises:
            StackError: it cannot be written, or another gateway has it.
        """
        if self.path is None:
            return
        folder = self.path.parent
        with plain_words(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"Another gateway keeps its changes in {folder}. Stop it, or choose another "
                    "folder with --state."
                ) from None

    def close(self) -> None:
        """Let others use the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def read(self) -> Changes:
        """Return what the file holds; nothing where there is none.

        Raises:
            StackError: it cannot be read or understood; the message says where.
        """
        if self.path is None:
            return {}
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StackError(f"{self.path} cannot be read: {error.strerror}.") from error
        try:
            stored = msgspec.json.decode(data, type=_Stored)
            _require_usable(stored)
        except (msgspec.DecodeError, ValueError) as error:
            raise StackError(
                f"{self.path} cannot be used: {error}. It holds what was changed at run time: "
                "correct it, or delete it to go by the policy alone."
            ) from error
        return stored.pools

    def write(self, changes: Changes) -> None:
        """Keep ``changes``; without effect where nothing is kept.

        Raises:
            StackError: the disk is full or the folder went away; the file is as before.
        """
        if self.path is None:
            return
        stored = _Stored(_VERSION, {pool: dict(each) for pool, each in changes.items()})
        write_atomically(self.path, msgspec.json.format(msgspec.json.encode(stored), indent=2))


def _require_usable(stored: _Stored) -> None:
    if stored.version != _VERSION:
        raise ValueError(f"it is of version {stored.version}, and this poruwa reads {_VERSION}")
    for pool, changes in stored.pools.items():
        FORMS["name"].check(pool)
        for name, change in changes.items():
            check_instance_name(name)
            if change.address is not None:
                FORMS["upstream"].check(change.address)


def check_instance_name(name: str) -> None:
    """Raise ValueError for what can be neither a name of the policy nor an address."""
    try:
        FORMS["name"].check(name)
    except ValueError:
        FORMS["upstream"].check(name)  # the name of an instance listed without one
