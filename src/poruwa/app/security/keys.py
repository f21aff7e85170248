"""Key rings: one secret of the policy, and from it a key of its own for each purpose.

A ring is text, keys separated by commas, oldest first. What signs a form never opens a session:
each purpose has keys derived from the ring's (HKDF, RFC 5869), so that the same ring serves all.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from poruwa.errors import ConfigError
from poruwa.rules.token import KEY_BYTES

LEAST_CHARACTERS: Final = 22  # 128 bits of base64
SESSIONS: Final = b"sessions"
CSRF: Final = b"csrf"


def ring_of(text: str, setting: str) -> tuple[bytes, ...]:
    """Return the keys of a ring, oldest first.

    Args:
        setting: the policy's name of it, for messages.

    Raises:
        ConfigError: none, one that is too short to be secret, or one that is there twice.
    """
    keys = tuple(part.strip().encode() for part in text.split(",") if part.strip())
    if not keys:
        raise ConfigError(f"{setting} has no key; give it 32 random bytes in base64")
    for number, key in enumerate(keys, 1):
        if len(key) < LEAST_CHARACTERS:
            raise ConfigError(
                f"{setting}: key {number} has {len(key)} characters, too few to be secret; give it "
                "32 random bytes in base64"
            )
    if len(set(keys)) != len(keys):
        raise ConfigError(f"{setting}: a key is twice in the ring; drop one")
    return keys


def derived(ring: tuple[bytes, ...], purpose: bytes) -> tuple[bytes, ...]:
    """Return the keys of a purpose, 32 bytes each, in the order of the ring."""
    return tuple(
        HKDF(
            algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=b"poruwa " + purpose
        ).derive(key)
        for key in ring
    )
