"""Keys that left a store not long ago, and how many left after each.

One table of words, eight bytes a key, whatever the keys' lengths: half a fingerprint, half the
number of the addition. Of the ``WAYS`` words in a key's bucket, a new one takes the place of the
oldest, so that nothing is ever swept, rehashed, or walked by the collector. What is forgotten early
is the oldest: about 1 % of half the limit's age, a quarter of all its age.

Two keys are taken for one another about once in 10^8, and then a newcomer gets a place in main.
Hashes are Python's, of another seed in each process, so that nobody can choose keys that collide.
"""

from __future__ import annotations

from typing import Final

WAYS: Final = 8
LOAD: Final = 0.75  # ghosts a word, where the store has as many entries as when the table was made
_WORD: Final = 0xFFFF_FFFF
_PRINT: Final = 0x3FFF_FFFF  # with the number 62 bits: still a plain integer to the compiler


class Ghosts:
    """The last keys added, up to a limit given with each addition."""

    __slots__ = ("_added", "_buckets", "_limit", "_table")

    def __init__(self) -> None:
        self._table = _empty(WAYS)
        self._buckets = 1
        self._added = 0
        self._limit = 0

    def add(self, key: bytes, limit: int) -> None:
        """Remember a key, and none beyond the last ``limit`` additions.

        Where the limit has outgrown the table, which happens once as a store gets full and then
        only if its objects become much smaller, there is a new, empty one.
        """
        self._limit = limit
        if limit > len(self._table):
            self._buckets = int(limit / LOAD) // WAYS + 1
            self._table = _empty(self._buckets * WAYS)
        table = self._table
        hashed = hash(key)
        first = (hashed & _WORD) % self._buckets * WAYS
        print_ = hashed >> 32 & _PRINT
        self._added = added = self._added % _WORD + 1
        chosen, greatest = first, -1
        for place in range(first, first + WAYS):
            word = table[place]
            if word >> 32 == print_ and word:
                chosen = place
                break
            age = (added - (word & _WORD)) % _WORD if word else _WORD
            if age > greatest:
                chosen, greatest = place, age
        table[chosen] = print_ << 32 | added

    def take(self, key: bytes) -> int:
        """Forget a key; return how many additions ago it was added (1 is the last), or -1."""
        table = self._table
        hashed = hash(key)
        first = (hashed & _WORD) % self._buckets * WAYS
        print_ = hashed >> 32 & _PRINT
        for place in range(first, first + WAYS):
            word = table[place]
            if word >> 32 == print_ and word:
                table[place] = 0
                age = (self._added - (word & _WORD)) % _WORD + 1
                return age if age <= self._limit else -1
        return -1


def _empty(words: int) -> memoryview[int]:
    """Return zeroed words, of which the kernel gives the memory as they are written."""
    return memoryview(bytearray(8 * words)).cast("Q")
