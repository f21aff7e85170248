"""Key rings: one secret of the policy, and from it a key of its own for each purpose.

A ring is text, its keys separated by commas, oldest first::

    oldest,older@2026-08-01,next:coming

The last one that is not marked by ``next:`` seals; all open. A key's date says since when it has
been sealing. ``next:`` marks a key that is being introduced: every process must be able to open
with it before any seals with it, or somebody would be signed out by the first process that lags
behind. So ``poruwa keys rotate`` writes a ring twice (``introduced``, ``promoted``), and waits in
between. No secret in base64, base64url or hex has a colon, so none can be taken for a marked one.

What signs a form never opens a session: each purpose has keys derived from the ring's (HKDF, RFC
5869), so that the same ring serves all. No clock, no file: ``app.security.key_source`` reads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from poruwa.errors import ConfigError
from poruwa.rules.token import KEY_BYTES, key_name

LEAST_CHARACTERS: Final = 22  # 128 bits of base64
SESSIONS: Final = b"sessions"
CSRF: Final = b"csrf"
_COMING: Final = "next:"


@dataclass(frozen=True, slots=True, kw_only=True)
class RingKey:
    """One key of a ring.

    Attributes:
        secret: as it stands in the ring.
        sealing_since: None where nobody wrote it down.
        is_coming: opens already, seals not yet.
    """

    secret: bytes
    sealing_since: date | None = None
    is_coming: bool = False

    @property
    def name(self) -> str:
        """What the header of its tokens calls it; tells nothing of it."""
        return key_name(derived(self.secret, SESSIONS))

    def text(self) -> str:
        since = "" if self.sealing_since is None else f"@{self.sealing_since.isoformat()}"
        return (_COMING if self.is_coming else "") + self.secret.decode() + since


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys of a ring, oldest first; ``parse`` reads one."""

    keys: tuple[RingKey, ...]

    @classmethod
    def parse(cls, text: str, setting: str) -> KeyRing:
        """Return the ring that ``text`` states.

        Args:
            setting: the policy's name of it, for messages.

        Raises:
            ConfigError: no key that seals, one that is too short to be secret, or is there twice,
                or a mark that is none. Keys are not repeated in the message.
        """
        parts = [part.strip() for part in text.split(",") if part.strip()]
        keys = tuple(_key(part, f"{setting}: key {n}") for n, part in enumerate(parts, 1))
        if all(key.is_coming for key in keys):
            raise ConfigError(f"{setting} has no key that seals; give it 32 random bytes in base64")
        if any(key.is_coming for key in keys[:-1]):
            raise ConfigError(f"{setting}: only the last key of a ring may be coming ({_COMING})")
        if len({key.secret for key in keys}) != len(keys):
            raise ConfigError(f"{setting}: a key is twice in the ring; drop one")
        return cls(keys)

    def text(self) -> str:
        return ",".join(key.text() for key in self.keys)

    @property
    def sealing(self) -> RingKey:
        return next(key for key in reversed(self.keys) if not key.is_coming)

    @property
    def coming(self) -> RingKey | None:
        return self.keys[-1] if self.keys[-1].is_coming else None

    def named(self, name: str) -> RingKey | None:
        """Return the key whose name begins with ``name``; None where there is not just one."""
        found = [key for key in self.keys if key.name.startswith(name)]
        return found[0] if len(found) == 1 else None

    def derived(self, purpose: bytes) -> tuple[bytes, ...]:
        """Return the keys of a purpose, 32 bytes each; the one that seals stands last."""
        sealing = self.sealing
        others = [key for key in self.keys if key is not sealing]
        return tuple(derived(key.secret, purpose) for key in (*others, sealing))

    def introduced(self, secret: str) -> KeyRing:
        """Return the ring with a key that opens, and does not seal yet.

        Raises:
            ConfigError: there is one already, or the secret is none.
        """
        if self.coming is not None:
            raise ConfigError("a key is coming already; let it seal, or remove it, first")
        return KeyRing.parse(f"{self.text()},{_COMING}{secret}", "the new ring")

    def promoted(self, today: date) -> KeyRing:
        """Return the ring in which the coming key seals; the ring itself where there is none."""
        coming = self.coming
        if coming is None:
            return self
        return KeyRing((*self.keys[:-1], replace(coming, is_coming=False, sealing_since=today)))

    def days_out_of_use(self, key: RingKey, today: date) -> int | None:
        """Return for how long a key has not sealed; None where that is not known, or it does."""
        after = self.keys[self.keys.index(key) + 1 :]
        since = next((each.sealing_since for each in after if not each.is_coming), None)
        return None if since is None else (today - since).days

    def without(self, key: RingKey) -> KeyRing:
        """Return the ring without a key.

        Raises:
            ConfigError: it is the one that seals.
        """
        if key is self.sealing:
            raise ConfigError(f"key {key.name} seals now; rotate first, then remove it")
        return KeyRing(tuple(each for each in self.keys if each is not key))


def derived(secret: bytes, purpose: bytes) -> bytes:
    """Return a secret's key for a purpose, 32 bytes."""
    kdf = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=b"poruwa " + purpose)
    return kdf.derive(secret)


def _key(text: str, place: str) -> RingKey:
    is_coming = text.startswith(_COMING)
    secret, at, since = text.removeprefix(_COMING).partition("@")
    if ":" in secret:
        raise ConfigError(
            f"{place} has a colon, which only the mark {_COMING} has; write {_COMING} before a key "
            "that is to seal after the next rotation, and keys in base64"
        )
    if len(secret) < LEAST_CHARACTERS:
        raise ConfigError(
            f"{place} has {len(secret)} characters, too few to be secret; give it 32 random bytes "
            "in base64"
        )
    try:
        day = date.fromisoformat(since) if at else None
    except ValueError:
        raise ConfigError(
            f"{place} is followed by no date; write @YYYY-MM-DD, or nothing"
        ) from None
    return RingKey(secret=secret.encode(), sealing_since=day, is_coming=is_coming)
