"""The gateway's store in memory: S3-FIFO, bounded in bytes.

Source: Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023.

    put, unknown key --> small --(unread)--> out, key remembered as a ghost
                           |
                         (read)
                           v
    put, ghost's key -->  main --(unread)--> out
                          ^  |
                          +--+ (read: once more round, one read forgotten)

Most objects of a cache are asked for once. The small queue lets them through fast, so that a scan
takes a tenth of the bytes and not what is hot. A hit moves nothing: one look-up, one counter.

Where this departs from the paper, and why:

- *Queues are linked through the entries*, not rings of slots: entries are purged and replaced in
  any order. A tombstone in a ring would keep its key until its turn, and in a store that never
  fills, its turn never comes; removing from a list costs the same at once and leaves nothing.
- *While there is room, what the small queue cannot hold goes to main* (as in the authors'
  libCacheSim), and what leaves it unread too: the first objects after a start are not all judged
  as newcomers, and what the small queue yields is not left empty.
- *A ghost is let in where main is read less often than it.* Its age says how many objects passed
  through since it left. In such a time the old end of main moves on by ``TURN_SHARE`` of main, no
  further: by one place for each entry that had been read, and by one for each ghost let in. What is
  read once a turn is therefore never found unread, so that a loop larger than the store keeps what
  it has (the paper lets every ghost in, and each pushes out what is needed before it), while what
  main holds of yesterday makes place within a turn. This is the comparison of LIRS (Jiang, Zhang,
  SIGMETRICS 2002), made with a clock hand.
- *Ghosts are remembered for three times as many objects as the store holds*, as frequencies are in
  W-TinyLFU: a loop twice the store must be seen to return. Eight bytes each (``stores.ghosts``).
- *The small queue starts at ``SMALL_LEAST``*, grows to the paper's tenth with each promotion, and
  with each ghost that a tenth would have kept if it is let in, and shrinks where nothing in it is
  read: loops leave it a hundredth, bursts and changes of what is popular a tenth.
- *One put spares at most ``REPRIEVES`` entries*: were all of 200,000 read since their last turn,
  the first eviction would walk them all, three times, and forget all that it knew.
- *A purge forgets the object, not that it is popular*: what was read comes back to main.

Hit ratios on generated traces: ``tests/spec/test_hit_ratio.py``, beside LRU and W-TinyLFU.

It decides and never waits; nothing here knows a clock, HTTP or sockets. Not for several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Generic

from poruwa.stores.entry import NOWHERE, Entry, EntryT
from poruwa.stores.ghosts import Ghosts

SMALL_MOST: Final = 0.1  # of the bytes; the paper's fixed share, section 4.1
SMALL_LEAST: Final = 0.01  # W-TinyLFU's window at its start
UNREAD_PER_PROMOTION: Final = 32
"""Unread leavers that shrink the small queue by as much as one promotion lets it grow. With 16, a
store that served a steady Zipf takes longer to see that its popular objects have changed."""
PROMOTION_THRESHOLD: Final = 1  # reads in the small queue that lead to main, 1 to MAX_FREQUENCY
MAX_FREQUENCY: Final = 3  # two bits in the paper
GHOSTS_PER_ENTRY: Final = 3  # with 2, a loop of twice the store is forgotten before it returns
TURN_SHARE: Final = 0.9
"""How much of main its old end may pass while a ghost was away. From 0.6 to 0.9 no trace of the
test loses a point; above 1, an entry would have to be read more often than the ghost to stay."""
ASKS: Final = 8  # places the old end moves for one ghost, at most; 64 measured the same
REPRIEVES: Final = 64  # some 10 us; fewer than 16 are felt in the hit ratio
SMALL: Final = 1
MAIN: Final = 2


class S3Fifo(Generic[EntryT]):
    """Entries by key, of at most ``capacity`` bytes.

    Args:
        capacity: bytes, by the entries' own ``size``; positive.
        largest: bytes of the largest entry that is taken; never more than main holds.
        promotion_threshold: reads in the small queue that lead to main, 1 to ``MAX_FREQUENCY``.
        on_evict: told of every entry that leaves, whatever the reason, after it left. It must not
            call the store.

    Attributes:
        bytes: of all entries held, dead ones included until they are dropped.
        evictions, evicted_bytes: of live entries that had to make room.
    """

    __slots__ = (
        "_asks",
        "_ghosts",
        "_index",
        "_main",
        "_promotion_threshold",
        "_small",
        "_small_capacity",
        "_small_least",
        "_small_most",
        "bytes",
        "capacity",
        "evicted_bytes",
        "evictions",
        "largest",
        "on_evict",
    )

    def __init__(
        self,
        capacity: int,
        *,
        largest: int | None = None,
        promotion_threshold: int = PROMOTION_THRESHOLD,
        on_evict: Callable[[Entry], None] | None = None,
    ) -> None:
        self.capacity = capacity
        self._small_most = int(capacity * SMALL_MOST)
        self._small_least = int(capacity * SMALL_LEAST)
        self._small_capacity = self._small_least
        main_capacity = capacity - self._small_most
        self.largest = main_capacity if largest is None else min(largest, main_capacity)
        self._promotion_threshold = promotion_threshold
        self.on_evict = on_evict
        self.bytes = 0
        self.evictions = 0
        self.evicted_bytes = 0
        self._index: dict[bytes, EntryT] = {}
        self._small = EntryQueue(SMALL)
        self._main = EntryQueue(MAIN)
        self._ghosts = Ghosts()
        self._asks = 0.0  # places that the old end of main may move for ghosts

    def __len__(self) -> int:
        return len(self._index)

    def get(self, key: bytes) -> EntryT | None:
        """Return the live entry of a key and count the read, or None."""
        entry = self._index.get(key)
        if entry is None:
            return None
        if not entry.alive:
            self.drop(entry)
            return None
        if entry.frequency < MAX_FREQUENCY:
            entry.frequency += 1
        return entry

    def peek(self, key: bytes) -> EntryT | None:
        """Return the live entry of a key without counting a read, or None."""
        entry = self._index.get(key)
        return entry if entry is not None and entry.alive else None

    def put(self, entry: EntryT) -> bool:
        """Store an entry in place of its key's last one, which passes its popularity on.

        Returns:
            Whether it was taken. Not where it is larger than ``largest``, or was killed while it
            was being made; then nothing is left under the key, for what was there is out of date.
        """
        size = entry.size
        goes_to_main = False
        frequency = 0
        old = self._index.get(entry.key)
        if old is not None:
            goes_to_main = old.queue == MAIN
            frequency = old.frequency
            self._remove(old)
        if size > self.largest or not entry.alive:
            return False
        if not goes_to_main:
            age = self._ghosts.take(entry.key)
            if age > 0 and self._admits_ghost(age, size):
                goes_to_main = True
                # Would a tenth have kept it? Where main has no use for the room, that is.
                room = self._small_most - self._small_capacity
                if age * self.bytes < room * len(self._index):
                    self._resize_small(size)
        if not goes_to_main and self._small.bytes + size > self._small_capacity:
            goes_to_main = self.bytes + size <= self.capacity  # while there is room
        if self.bytes + size > self.capacity:
            self._make_room(size, 0 if goes_to_main else size)
        entry.frequency = frequency
        self._index[entry.key] = entry
        self.bytes += size
        if goes_to_main:
            self._main.append(entry)
        else:
            self._small.append(entry)
        return True

    def remove(self, key: bytes) -> bool:
        """Drop the entry of a key; tell whether there was a live one."""
        entry = self._index.get(key)
        if entry is None:
            return False
        was_alive = entry.alive
        self.drop(entry)
        return was_alive

    def drop(self, entry: Entry) -> bool:
        """Drop this very entry; tell whether it was here (its key may have a new one by now)."""
        if self._index.get(entry.key) is not entry:
            return False
        if entry.queue == MAIN or entry.frequency >= self._promotion_threshold:
            self._remember(entry.key)
        self._remove(entry)
        return True

    def clear(self) -> None:
        """Drop everything, ghosts too, at once: for tests and the end. See ``kill_all``."""
        for entry in list(self._index.values()):
            self._remove(entry)
        self._ghosts = Ghosts()

    def kill_all(self) -> int:
        """Let nothing be served that is here now; return how many that were.

        The memory is freed as entries are looked up or evicted, or by ``reclaim``.
        """
        killed = 0
        for entry in self._index.values():
            if entry.alive:
                entry.alive = False
                killed += 1
        return killed

    def reclaim(self, limit: int) -> int:
        """Drop up to ``limit`` entries of those that ``kill_all`` killed; return how many.

        0 means there are none left: what was stored later stands behind them in its queue.
        """
        dropped = 0
        for queue in (self._small, self._main):
            while dropped < limit:
                entry = queue.oldest
                if entry is None or entry.alive:
                    break
                self.drop(entry)
                dropped += 1
        return dropped

    def entries(self) -> Iterator[EntryT]:
        """Return the live entries that are stored now, each unless it left before its turn.

        The store may change in between, so that a walk can be cut into slices
        (``itertools.islice``). Holds keys meanwhile, no entries.
        """
        return self._live_of(list(self._index))

    def _live_of(self, keys: list[bytes]) -> Iterator[EntryT]:
        for key in keys:
            entry = self.peek(key)
            if entry is not None:
                yield entry

    def _admits_ghost(self, age: int, size: int) -> bool:
        """Tell whether main has room in its share, or is read less often than a ghost was.

        Args:
            age: objects that left after the ghost did. What has passed since it was stored is
                that and the length of the small queue, which is about how long it was here.
        """
        small, main = self._small, self._main
        if main.bytes + size <= self.capacity - self._small_capacity:
            return True
        earned = TURN_SHARE * main.count / (age + small.count)
        self._asks = min(self._asks, 1.0) + min(earned, ASKS)
        while self._asks >= 1.0:
            self._asks -= 1.0
            oldest = main.oldest
            if oldest is None or oldest.frequency == 0:
                return True
            main.remove(oldest)
            oldest.frequency -= 1
            main.append(oldest)
        return False

    def _make_room(self, size: int, small_size: int) -> None:
        """Evict until ``size`` bytes are free, of which ``small_size`` are for the small queue.

        Every turn of the loop evicts or spares. An entry is spared once for being read in the
        small queue, and in main once a read: constant work per read and put in the long run.
        """
        small, main = self._small, self._main
        reprieves = REPRIEVES
        while self.bytes + size > self.capacity:
            is_small = main.oldest is None or small.bytes + small_size > self._small_capacity
            entry = small.oldest if is_small else None
            if entry is None:
                entry = main.oldest
                assert entry is not None  # size is at most largest, so that something is here
            if not entry.alive:
                self.drop(entry)
            elif reprieves > 0 and self._spares(entry):
                reprieves -= 1
            else:
                if entry.queue == SMALL:
                    self._remember(entry.key)
                self.evictions += 1
                self.evicted_bytes += entry.size
                self._remove(entry)

    def _spares(self, entry: Entry) -> bool:
        """Move the oldest of a queue to the new end of main, if it was read or main has room."""
        small, main = self._small, self._main
        if entry.queue == MAIN:
            if entry.frequency == 0:
                return False
            entry.frequency -= 1
            main.remove(entry)
        else:
            if entry.frequency >= self._promotion_threshold:
                entry.frequency = 0
                self._resize_small(entry.size)
            else:
                self._resize_small(-(entry.size // UNREAD_PER_PROMOTION))
                if main.bytes + entry.size > self.capacity - self._small_capacity:
                    return False
            small.remove(entry)
        main.append(entry)
        return True

    def _remember(self, key: bytes) -> None:
        self._ghosts.add(key, GHOSTS_PER_ENTRY * len(self._index))

    def _resize_small(self, change: int) -> None:
        capacity = self._small_capacity + change
        self._small_capacity = min(max(capacity, self._small_least), self._small_most)

    def _remove(self, entry: Entry) -> None:
        del self._index[entry.key]
        self.bytes -= entry.size
        if entry.queue == SMALL:
            self._small.remove(entry)
        else:
            self._main.remove(entry)
        if self.on_evict is not None:
            self.on_evict(entry)


class EntryQueue:
    """A queue linked through its entries: the oldest leaves first, any may leave at once."""

    __slots__ = ("bytes", "count", "newest", "number", "oldest")

    def __init__(self, number: int) -> None:
        self.number = number
        self.bytes = 0
        self.count = 0
        self.oldest: Entry | None = None
        self.newest: Entry | None = None

    def append(self, entry: Entry) -> None:
        """Put an entry that is in no queue at the new end."""
        newest = self.newest
        if newest is None:
            self.oldest = entry
        else:
            newest.newer = entry
        entry.older = newest
        entry.queue = self.number
        self.newest = entry
        self.bytes += entry.size
        self.count += 1

    def remove(self, entry: Entry) -> None:
        """Take an entry of this queue out, leaving no reference behind in either direction."""
        older, newer = entry.older, entry.newer
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self.newest = older
        else:
            newer.older = older
        entry.older = None
        entry.newer = None
        entry.queue = NOWHERE
        self.bytes -= entry.size
        self.count -= 1
