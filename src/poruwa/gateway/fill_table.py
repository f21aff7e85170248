"""Who on this machine fetches what for the cache, and who had it last: the fill table.

Place on the path: beside it, on misses only. A worker that is to fetch a key claims it; a claim is
a POSIX write lock (fcntl(2), F_SETLK) of one byte of the shared memory's file, at the offset that
the key's hash is. Nothing is ever read or written there: the file ends long before. F_GETLK names
the process that has a claim, and the kernel drops the claims of a process that ends, however it
ends, so that none is ever left behind.

    offset   0 ............ end of file ............................. 2**62
             shared memory               one byte a key: locked = somebody fetches it

Such locks belong to a process and a file: closing *any* descriptor of the file drops all of them.
A worker therefore never closes the descriptor of its shared memory (nor its mapping, which holds
another), and claims are taken by one thread.

What was fetched is found by a word of the shared memory: the number of the key and the row of the
worker that stored it last. It is a hint: whoever follows it is told whether it is still so.

Workers of another policy may store the same key in another way, so the hash is of both.
Cost: 3 us a claim; the kernel's list of locks is walked in order, so that it grows with what is
claimed at the time (60 us at 1,000), which ``MOST_CLAIMS`` bounds.
"""

from __future__ import annotations

import fcntl
import struct
from hashlib import blake2b
from typing import Final

from poruwa.gateway.shared_state import FILL_WORDS, SharedState

OURS: Final = 0
UNKNOWN: Final = -1
MOST_CLAIMS: Final = 1_000
"""By one worker at a time. What goes beyond is fetched once by each worker."""

_VERSION: Final = b"poruwa fills 1"
_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, ...
_NUMBER_BITS: Final = 62
_SLOT_BITS: Final = FILL_WORDS.bit_length() - 1
_ROW_BITS: Final = 15


class FillTable:
    """The claims of this process, and everybody's hints.

    Args:
        policy: as it came; its hash keeps workers of different policies apart.
    """

    __slots__ = ("_base", "_fd", "_key", "_words")

    def __init__(self, shared: SharedState, policy: bytes) -> None:
        self._fd = shared.fd
        self._words = shared.words
        self._base = shared.fill_base
        self._key = blake2b(policy, key=shared.secret(), person=_VERSION, digest_size=32).digest()

    def number(self, key: bytes) -> int:
        """Return the number, of 62 bits, by which a key is known in the table."""
        digest = blake2b(key, key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "big") >> (64 - _NUMBER_BITS)

    def claim(self, number: int) -> int:
        """Claim a key; return ``OURS``, or the pid of who has it, or ``UNKNOWN``."""
        for _ in range(2):  # it may be given up between the two questions
            try:
                self._set(fcntl.F_WRLCK, number)
            except OSError:
                question = _FLOCK.pack(fcntl.F_WRLCK, 0, number, 1, 0)
                answer = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_GETLK, question))
                if answer[0] != fcntl.F_UNLCK:
                    pid: int = answer[4]
                    return pid
            else:
                return OURS
        return UNKNOWN

    def release(self, number: int) -> None:
        """Give a claim up."""
        self._set(fcntl.F_UNLCK, number)

    def _set(self, kind: int, number: int) -> None:
        fcntl.fcntl(self._fd, fcntl.F_SETLK, _FLOCK.pack(kind, 0, number, 1, 0))

    def note_holder(self, number: int, row: int) -> None:
        """Say that the worker in ``row`` has just stored it; another key's hint may go for it."""
        slot, rest = number & (FILL_WORDS - 1), number >> _SLOT_BITS
        self._words[self._base + slot] = rest << _ROW_BITS | row + 1

    def holder(self, number: int) -> int:
        """Return the row of the worker that stored it last, as far as is known; else -1."""
        word = self._words[self._base + (number & (FILL_WORDS - 1))]
        if word >> _ROW_BITS != number >> _SLOT_BITS:
            return -1
        return (word & ((1 << _ROW_BITS) - 1)) - 1
