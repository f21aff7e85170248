"""Who has used how much of a limit, for all workers of the machine: the rate table.

Place on the path: below the rate limit, in the shared memory. One slot a client and limit, found by
a keyed hash (the key is the machine's secret, so that nobody can aim at another's slot), by open
addressing over ``PROBES`` neighbours. Nothing is locked and no worker waits for another:

    number | since | used by worker 0 | used by worker 1 | ...        words of 64 bits, nanoseconds

The client's theoretical arrival time (``rules.rate_limit``) is ``since`` plus what all workers let
it use. Each adds to its own word alone, so no update is ever lost. ``since`` moves on while the
client is away, for anybody to write: it only ever becomes what the clock says.

Stated error: a worker that decides does not see what others decide in the same microsecond, so one
client may get ``workers - 1`` requests too many, once, not each time: all of them count. A worker
that loses the processor between its look and its write may set ``since`` back by as long as it was
away, to the client's good. Where all slots that a client could have are in use, the one that is
free soonest is given up (``evicted``). Workers beyond ``CELLS`` share words: between two of them an
update may be lost. Counts outlive reloads and upgrades, not a restart.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from poruwa.gateway.shared_state import RATE_SLOT_WORDS, RATE_SLOTS, SharedState
from poruwa.rules.rate_limit import Decision, Quota, decide

PROBES: Final = 8
CELLS: Final = RATE_SLOT_WORDS - 2

_NANOS: Final = 1_000_000_000
_PERSON: Final = b"poruwa rates 1"
_SINCE: Final = 1
_USED: Final = 2


class RateTable:
    """The table, for the worker in ``row``. Times are monotonic nanoseconds.

    Attributes:
        evicted: clients that were forgotten before their time.
    """

    __slots__ = ("_base", "_cell", "_key", "_words", "evicted")

    def __init__(self, shared: SharedState, row: int) -> None:
        self.evicted = 0
        self._words = shared.words
        self._base = shared.rate_base
        self._cell = _USED + row % CELLS
        self._key = shared.secret()

    def number(self, key: bytes) -> int:
        """Return the number by which a client and limit are known, never 0."""
        digest = blake2b(key, key=self._key, person=_PERSON, digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1 | 1

    def take(self, number: int, quota: Quota, now: int) -> Decision:
        """Count a request, if there is room for it."""
        words = self._words
        slot = self._slot(number, now)
        since = words[slot + _SINCE]
        arrival = since + self._used(slot)
        decision = decide(quota, arrival / _NANOS, now / _NANOS)
        if decision.is_allowed:
            if arrival < now:
                self._move(slot, since + now - arrival)
            words[slot + self._cell] += round(quota.interval_seconds * _NANOS)
        return decision

    def prepay(self, number: int, quota: Quota, count: int, now: int) -> bool:
        """Count ``count`` requests before they come, if there is room for all of them."""
        words = self._words
        slot = self._slot(number, now)
        since = words[slot + _SINCE]
        arrival = since + self._used(slot)
        interval = round(quota.interval_seconds * _NANOS)
        if max(arrival, now) + interval * (count - quota.burst) > now:
            return False
        if arrival < now:
            self._move(slot, since + now - arrival)
        words[slot + self._cell] += interval * count
        return True

    def holds(self, number: int) -> bool:
        """Whether a client was seen and not forgotten since."""
        return number in self._numbers(number)

    def learn(self, number: int, seconds: float, now: int) -> None:
        """Take what others know of a client: that all of its burst is there in ``seconds``."""
        slot = self._slot(number, now)
        since = self._words[slot + _SINCE]
        missing = now + round(seconds * _NANOS) - since - self._used(slot)
        if missing > 0:
            self._move(slot, since + missing)

    def _slot(self, number: int, now: int) -> int:
        """Return where the slot of a client begins, which is made its own if it had none."""
        numbers = self._numbers(number)
        first = self._first(number)
        if number in numbers:
            return first + numbers.index(number) * RATE_SLOT_WORDS
        words = self._words
        best, soonest = first, -1
        for slot in range(first, first + PROBES * RATE_SLOT_WORDS, RATE_SLOT_WORDS):
            arrival = words[slot + _SINCE] + self._used(slot)
            if arrival <= now:  # all of its burst is there: the same as nobody's
                best, soonest = slot, arrival
                break
            if soonest < 0 or arrival < soonest:
                best, soonest = slot, arrival
        if soonest > now:
            self.evicted += 1
            words[best + _SINCE] -= soonest - now
        words[best] = number
        return best

    def _first(self, number: int) -> int:
        return self._base + number % (RATE_SLOTS - PROBES + 1) * RATE_SLOT_WORDS

    def _numbers(self, number: int) -> list[int]:
        first = self._first(number)
        numbers: list[int] = self._words[
            first : first + PROBES * RATE_SLOT_WORDS : RATE_SLOT_WORDS
        ].tolist()
        return numbers

    def _used(self, slot: int) -> int:
        return sum(self._words[slot + _USED : slot + RATE_SLOT_WORDS].tolist())

    def _move(self, slot: int, since: int) -> None:
        if since > self._words[slot + _SINCE]:
            self._words[slot + _SINCE] = since
