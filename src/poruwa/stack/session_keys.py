"""Changing the session keys while instances seal and open with them.

The ring is kept in the state folder's ``secrets``, where instances read it again (``app.security.
key_source``). Rotating takes two steps, so that nobody is signed out by an instance that lags:

1. write the ring with the new key marked as coming; publish that it must be known; wait until every
   layer applied the change, which for an instance means that it read the ring again;
2. write it with the new key sealing; publish that, too, so that all begin to seal with it at once.

A step that is not acknowledged is not gone beyond, and rotating again goes on from there. A process
that slept through both reads the ring again at the first token whose key it does not know.

Nothing runs: the ring is written in one step; what starts later reads it. Rings that are kept
elsewhere (``file:``, or a variable that was set by hand) are somebody else's to write: ``poruwa
keys`` says what they are to be.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Final

from poruwa.app.security.key_source import KEY, SETTING, kept_secret
from poruwa.app.security.keys import KeyRing, RingKey
from poruwa.config.model import Coherence, Policy, ValkeyStore
from poruwa.errors import BusUnavailable, ConfigError, StackError
from poruwa.rules.change import Change
from poruwa.stack.generated import generated_secret_names
from poruwa.stack.state import StateFolder, running_pid, write_atomically
from poruwa.stack.valkey import BUS_PART, PASSWORD_VARIABLES
from poruwa.stores.change_leases import Acknowledgement
from poruwa.stores.change_log import ChangeLog
from poruwa.stores.store_url import BUS_URL, store_from_environment

SECRET_BYTES: Final = 32
ACKNOWLEDGED_SECONDS: Final = 15.0


class KeptRing:
    """The ring of a state folder.

    Args:
        folder: of ``poruwa up``.
        name: the variable that the policy names the ring by.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder.absolute()
        self._name = name
        self._path = self._folder / "secrets"

    @classmethod
    def of(cls, policy: Policy, folder: Path, environ: Mapping[str, str]) -> KeptRing:
        """Return the ring of a policy's sessions.

        Raises:
            ConfigError: the policy has none, or keeps it elsewhere.
        """
        keys = policy.session.keys
        if keys is None:
            raise ConfigError(f"the policy names no {SETTING}, so there are no sessions")
        name = keys.source.removeprefix("env:")
        if name == keys.source or name not in generated_secret_names(policy) or name in environ:
            raise ConfigError(
                f"{SETTING} is {keys.source}, which is not kept in the state folder; give the ring "
                "with --ring -, and put what is printed in its place"
            )
        return cls(folder, name)

    def read(self) -> KeyRing:
        """Return the ring.

        Raises:
            ConfigError: there is none yet, or it cannot be used.
        """
        try:
            text = kept_secret(self._path, self._name)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return KeyRing.parse(text, SETTING)

    def write(self, ring: KeyRing) -> None:
        """Put a ring in its place, whole.

        Raises:
            StackError: it cannot be written.
        """
        lines = [
            f"{self._name}={ring.text()}" if line.startswith(self._name + "=") else line
            for line in self._path.read_text().splitlines()
        ]
        write_atomically(self._path, ("\n".join(lines) + "\n").encode())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from changing it meanwhile.

        Raises:
            StackError: somebody does.
        """
        lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise StackError("Somebody else is changing the keys; look at them again.") from None
        finally:
            os.close(lock)


def new_secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


def next_step(ring: KeyRing, today: date) -> KeyRing:
    """Return the ring that the next step of a rotation writes."""
    return ring.introduced(new_secret()) if ring.coming is None else ring.promoted(today)


def shortened(
    ring: KeyRing, name: str, today: date, *, life_seconds: float, is_forced: bool
) -> KeyRing:
    """Return the ring without a key that nobody's session needs any more.

    Args:
        name: of the key, or how it begins.
        life_seconds: of a session without a visit: tokens under a key are gone so long after it
            sealed the last one.

    Raises:
        ConfigError: no such key, the one that seals, or one that sessions may still need and
            ``is_forced`` does not waive.
    """
    key = ring.named(name)
    if key is None:
        raise ConfigError(f"no single key begins with {name!r}; see poruwa keys list")
    shorter = ring.without(key)
    if key.is_coming or is_forced:
        return shorter
    days = ring.days_out_of_use(key, today)
    needed = life_seconds / 86_400
    if days is None:
        raise ConfigError(
            f"it is not known since when key {key.name} is out of use; --force removes it and ends "
            "the sessions under it"
        )
    if days < needed:
        raise ConfigError(
            f"key {key.name} is out of use since {days} days, and sessions live for {needed:g}; "
            "wait, or end those under it with --force"
        )
    return shorter


async def publish(bus: ValkeyStore, coherence: Coherence, key: RingKey | None) -> Acknowledgement:
    """Have every process read the ring again; return who has.

    Args:
        key: that each must know then; None where one was removed.

    Raises:
        BusUnavailable: nobody was told.
    """
    log = ChangeLog(
        bus,
        coherence,
        layer=f"keys/{socket.gethostname()}/{os.getpid()}",
        is_cache=False,
    )
    await log.start()
    try:
        name = b"" if key is None else key.name.encode()
        change = Change(keys=(KEY + name,), source="write")
        async with asyncio.timeout(ACKNOWLEDGED_SECONDS + 5):
            return await log.publish(change, timeout=ACKNOWLEDGED_SECONDS)
    except TimeoutError as error:
        raise BusUnavailable("the bus does not answer; the ring waits for the next try") from error
    finally:
        await log.close()


def running_bus(policy: Policy, folder: Path, environ: Mapping[str, str]) -> ValkeyStore | None:
    """Return the bus of the stack that runs in a state folder; None where none runs.

    Raises:
        StackError: the stack has no bus, so that its instances cannot be told.
        ConfigError: the environment names the bus by what is no URL.
    """
    folder = folder.absolute()
    if running_pid(folder) is None:
        return None
    state = StateFolder(folder, folder)
    port = state.recall(f"{BUS_PART}.port")
    found = dict(environ)
    if port is not None and (policy.stores.bus is None or not policy.stores.bus.nodes):
        password = kept_secret(state.secrets, PASSWORD_VARIABLES[BUS_PART])
        found[BUS_URL] = f"valkey://:{password}@127.0.0.1:{port}/0"
    store = store_from_environment(policy.stores.bus, BUS_URL, found)
    if store is None:
        raise StackError("the stack has no bus to tell its instances by; stop it, rotate, start it")
    return store
