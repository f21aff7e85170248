"""Passwords: hashed with argon2id, compared in equal time whether or not there is an account.

The parameters are the second of OWASP's choices (Password Storage Cheat Sheet): 19 MiB, two passes,
one lane, so that an instance can check two at once in 40 MB. Checking runs in a thread: argon2
leaves the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LEAST_CHARACTERS: Final = 12  # ASVS 5.0 6.2.1 asks for 8, and recommends more
MOST_CHARACTERS: Final = 128  # ASVS 5.0 6.2.9 asks for 64 at the least
_AT_ONCE: Final = 2

_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# Of a password that nobody has: 128 random bits were hashed, and forgotten.
_NOBODYS: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$"
    "NyNH84neHN6OFTJf5eMNGQ$IIcB9VKbIP178unhv67iZWdy+fGVdfKH+Cy7fiySEjs"
)


class Passwords:
    """Checks and hashes passwords, two at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def is_right(self, password: str, stored: str | None) -> bool:
        """Tell whether a password is the one that was stored.

        Args:
            stored: its hash; None where there is no such account, which takes as long to say.
        """
        async with self._turns:
            is_right = await asyncio.to_thread(_verify, password, stored or _NOBODYS)
        return is_right and stored is not None

    async def hashed(self, password: str) -> str:
        """Return what to store of a password."""
        async with self._turns:
            return await asyncio.to_thread(hash_password, password)


def hash_password(password: str) -> str:
    """Return what to store of a password; takes about 25 ms of one core."""
    return _HASHER.hash(_normal(password))


def is_outdated(stored: str) -> bool:
    """Whether a hash has other parameters than new ones get."""
    return _HASHER.check_needs_rehash(stored)


def _verify(password: str, stored: str) -> bool:
    try:
        return _HASHER.verify(stored, _normal(password))
    except (VerificationError, InvalidHashError):
        return False


def _normal(password: str) -> str:
    """Return one spelling of letters that keyboards write differently (RFC 8265 section 4.2.1)."""
    return unicodedata.normalize("NFC", password[:MOST_CHARACTERS])
