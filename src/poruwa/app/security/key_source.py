"""The session keys of one process: read at its start, and again whenever the ring may have changed.

Three things have it read again: a change of the log that says so (``KEY``, see ``poruwa keys``),
the log's word that anything may have changed, and a token under a key that is not known here (a
process that slept through the rotation), the last at most once a second.

Where a ring is, the policy says: ``file:PATH`` is read as it is then. ``env:NAME`` is what the
process was started with; ``poruwa up`` tells its instances in ``NAME_KEPT_IN`` in which file of
its state folder it keeps the ring, and there it is read.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Final

from poruwa.app.security.keys import CSRF, SESSIONS, KeyRing
from poruwa.config.model_security import Csrf
from poruwa.config.secrets import read_secret
from poruwa.errors import ConfigError
from poruwa.rules.change import Change
from poruwa.rules.csrf import CsrfTokens
from poruwa.rules.token import Sealer

KEY: Final = b"keys\n"
"""Before the name of a key that every process must know from now on."""

KEPT_IN: Final = "_KEPT_IN"
TOKEN_TYPE: Final = "session+jwe"  # noqa: S105
SETTING: Final = "session.keys"
_REREAD_SECONDS: Final = 1.0

_logger = logging.getLogger("poruwa.app")

ReadText = Callable[[], str]


class SessionKeys:
    """What seals and opens sessions, and makes tokens for forms.

    Args:
        read: returns the ring's text as it is now; may raise ConfigError.
        csrf: lengths and times of tokens; the policy's defaults where it is left out.

    Attributes:
        ring: as it was last read.
        sealer: of its keys.
        tokens: of its keys; None where the policy wants none.

    Raises:
        ConfigError: the ring cannot be read or used.
    """

    def __init__(self, read: ReadText, csrf: Csrf | None = None) -> None:
        self._read = read
        self._csrf = csrf or Csrf()
        self._text = ""
        self._reread_after = 0.0
        self.ring: KeyRing
        self.sealer: Sealer
        self.tokens: CsrfTokens | None = None
        self._take(read())

    def reread(self) -> bool:
        """Read the ring again; tell whether it is another one.

        One that cannot be read or used is logged, and the ring of before stays.
        """
        try:
            text = self._read()
            if text == self._text:
                return False
            self._take(text)
        except ConfigError as error:
            _logger.error("the session keys cannot be read again: %s", error.message)
            return False
        return True

    def reread_for(self, token: bytes) -> bool:
        """Read the ring again for a token that does not open; tell whether to try it once more."""
        if self.sealer.knows(token) or monotonic() < self._reread_after:
            return False
        self._reread_after = monotonic() + _REREAD_SECONDS
        return self.reread()

    def apply(self, change: Change) -> None:
        """Read the ring again if a change says so."""
        if change.everything:
            self.reread()
            return
        for key in change.keys:
            if key.startswith(KEY):
                self.reread()
                name = key.removeprefix(KEY).decode()
                if name and self.ring.named(name) is None:
                    _logger.error(
                        "the ring of %s lacks key %s: sessions under it would not be known here",
                        SETTING,
                        name,
                    )

    def _take(self, text: str) -> None:
        ring = KeyRing.parse(text, SETTING)
        self.sealer = Sealer(ring.derived(SESSIONS), TOKEN_TYPE)
        csrf = self._csrf
        if csrf.enabled:
            self.tokens = CsrfTokens(
                ring.derived(CSRF),
                length=csrf.token_length,
                rotation_seconds=int(csrf.rotation_seconds),
            )
        self.ring, self._text = ring, text


def key_reader(source: str, environ: Mapping[str, str], folder: Path) -> ReadText:
    """Return what reads the ring that a policy names, each time as it is then.

    Args:
        source: ``env:NAME`` or ``file:PATH``.
        folder: where a relative PATH starts.
    """

    def read() -> str:
        try:
            name = source.removeprefix("env:")
            kept_in = environ.get(name + KEPT_IN) if name != source else None
            if kept_in:
                return kept_secret(Path(kept_in), name)
            return read_secret(source, environ, folder).reveal()
        except ValueError as error:
            raise ConfigError(f"{SETTING}: {error}") from error

    return read


def kept_secret(path: Path, name: str) -> str:
    """Return a secret of a state folder's file, lines of NAME=VALUE.

    Raises:
        ValueError: it cannot be read, or holds none of this name.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the file {path} cannot be read: {error}") from None
    for line in lines:
        if line.startswith(name + "="):
            return line.partition("=")[2].strip()
    raise ValueError(f"the file {path} holds no {name}; start `poruwa up` once, it makes one")


def passing_ring() -> ReadText:
    """Return a ring that ends with the process: for an app that runs alone, e.g. in development."""
    text = secrets.token_urlsafe(32)
    return lambda: text
