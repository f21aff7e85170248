"""The store in memory: its bound, its order of eviction (S3-FIFO), and that the dead stay dead."""

from __future__ import annotations

import tracemalloc
from itertools import islice
from weakref import WeakSet, ref

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from poruwa.stores import s3fifo
from poruwa.stores.entry import OVERHEAD_BYTES, Entry
from poruwa.stores.s3fifo import S3Fifo
from poruwa.stores.tag_index import TagIndex

SIZE = 100  # of every entry unless a test is about sizes


class Page(Entry):
    """An entry as the gateway has them: a subclass, here one that can be watched."""

    __slots__ = ("__weakref__",)


def store_of(count: int) -> S3Fifo[Page]:
    return S3Fifo(count * SIZE)


def put(store: S3Fifo[Page], *names: str) -> None:
    for name in names:
        assert store.put(Page(name.encode(), SIZE))


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def held(store: S3Fifo[Page]) -> set[str]:
    return {entry.key.decode() for entry in store.entries()}


def test_reads_are_counted_up_to_three_and_peeks_are_not() -> None:
    store = store_of(10)
    put(store, "a")
    entry = store.peek(b"a")
    assert entry is not None
    assert entry.frequency == 0
    seen = []
    for _ in range(5):
        assert store.get(b"a") is entry
        seen.append(entry.frequency)
    assert seen == [1, 2, 3, 3, 3]
    assert store.get(b"b") is None
    assert store.peek(b"b") is None


def test_a_dead_entry_is_absent_and_dropped_at_the_next_look() -> None:
    store = store_of(10)
    put(store, "a", "b")
    entry = store.peek(b"a")
    assert entry is not None
    entry.alive = False
    assert store.peek(b"a") is None
    assert held(store) == {"b"}
    assert (len(store), store.bytes) == (2, 2 * SIZE)
    assert store.get(b"a") is None
    assert (len(store), store.bytes) == (1, SIZE)
    assert store.evictions == 0


def test_an_unread_newcomer_goes_first() -> None:
    """Paper, section 4.1: quick demotion. Main, though older, gives up only the newcomers' room."""
    store = store_of(20)
    put(store, *names("a", 20))
    put(store, "b0", "b1", "b2")
    assert held(store) == {*names("a", 20)[1:], "b2"}
    assert (store.evictions, store.evicted_bytes) == (3, 3 * SIZE)


@pytest.mark.parametrize(
    ("threshold", "reads", "stays"), [(1, 1, True), (2, 1, False), (2, 2, True)]
)
def test_a_newcomer_stays_if_it_was_read_often_enough(
    threshold: int, reads: int, stays: bool
) -> None:
    store: S3Fifo[Page] = S3Fifo(20 * SIZE, promotion_threshold=threshold)
    put(store, *names("a", 20), "b")
    for _ in range(reads):
        store.get(b"b")
    put(store, *names("c", 5))
    assert ("b" in held(store)) == stays


def test_what_the_small_queue_yields_is_not_left_empty() -> None:
    """Its share shrinks while it is full: what leaves it unread then goes to main."""
    store = store_of(200)
    put(store, *names("a", 200))
    for name in names("new", 30):  # read in the small queue: it grows to its tenth
        put(store, name)
        store.get(name.encode())
    for name in names("scan", 3000):
        put(store, name)
    queues = [entry.queue for entry in store.entries()]
    assert (queues.count(s3fifo.SMALL), queues.count(s3fifo.MAIN)) == (2, 198)


def test_a_newcomer_read_once_is_promoted() -> None:
    """Promotion threshold 1."""
    store = store_of(20)
    put(store, *names("a", 20))
    put(store, "read")
    store.get(b"read")
    put(store, *names("b", 15))
    entry = store.peek(b"read")
    assert entry is not None
    assert entry.queue == s3fifo.MAIN
    assert entry.frequency == 0


def test_a_ghost_comes_back_to_main_where_main_has_something_unread() -> None:
    store = store_of(20)
    put(store, *names("a", 20), "gone", "b0", "b1", "b2")
    assert store.peek(b"gone") is None
    put(store, "gone")
    entry = store.peek(b"gone")
    assert entry is not None
    assert entry.queue == s3fifo.MAIN


def test_a_ghost_starts_anew_where_all_of_main_is_read() -> None:
    store = store_of(20)
    put(store, *names("a", 20), "gone", "b0", "b1", "b2")
    for _ in range(2):
        for name in names("a", 20):
            store.get(name.encode())
    put(store, "gone")
    entry = store.peek(b"gone")
    assert entry is not None
    assert entry.queue == s3fifo.SMALL


def rounds_until_a_loop_hits(length: int) -> int:
    """Walk a loop in a store of 200 that is full of what was popular, and is no more."""
    store = store_of(200)
    put(store, *names("old", 200))
    for _ in range(3):
        for name in names("old", 200):
            store.get(name.encode())
    for round_ in range(100):
        hits = 0
        for name in names("loop", length):
            if store.get(name.encode()) is None:
                put(store, name)
            else:
                hits += 1
        if hits > 150:
            return round_
    return 100


def test_what_was_popular_makes_place_within_few_turns() -> None:
    """Of a loop, each object is asked for as seldom as main is long: three reads to forget."""
    assert rounds_until_a_loop_hits(220) <= 10
    assert rounds_until_a_loop_hits(400) <= 12


def test_a_scan_leaves_what_is_hot() -> None:
    store = store_of(100)
    hot = names("hot", 50)
    for _ in range(2):
        for name in hot:
            if store.get(name.encode()) is None:
                put(store, name)
    put(store, *names("scan", 10_000))
    assert set(hot) <= held(store)


def test_a_loop_larger_than_the_store_still_hits() -> None:
    """LRU and FIFO hit nothing here, and S3-FIFO as published 65 % (38 % at one and a half)."""
    store = store_of(100)
    hits = 0
    for turn in range(110 * 20):
        key = f"{turn % 110}"
        if store.get(key.encode()) is not None:
            hits += 1
        else:
            put(store, key)
    assert hits > 0.75 * 110 * 20


def served_after_bursts(store: S3Fifo[Page], gap: int) -> int:
    """Ask for new objects twice, ``gap`` requests apart; return how many second requests hit."""
    hits = 0
    for turn in range(1000):
        for number in (turn, turn - gap):
            key = b"burst%d" % number
            if store.get(key) is None:
                store.put(Page(key, SIZE))
            else:
                hits += number != turn
    return hits


def store_after_a_loop() -> S3Fifo[Page]:
    store = store_of(200)
    for turn in range(220 * 40):
        key = f"{turn % 220}"
        if store.get(key.encode()) is None:
            put(store, key)
    return store


def test_the_small_queue_yields_to_a_loop() -> None:
    store = store_after_a_loop()
    assert sum(entry.queue == s3fifo.MAIN for entry in store.entries()) > 190  # of 180 at first


def test_the_small_queue_grows_back_for_bursts_that_it_just_missed() -> None:
    assert served_after_bursts(store_after_a_loop(), 5) > 800


def test_the_small_queue_grows_back_with_promotions() -> None:
    store = store_after_a_loop()
    for name in names("new", 200):
        put(store, name)
        store.get(name.encode())
    assert sum(entry.queue == s3fifo.SMALL for entry in store.entries()) > 10


def test_replacing_keeps_popularity_and_charges_the_new_size() -> None:
    store = store_of(20)
    put(store, *names("a", 20))
    entry = store.get(b"a19")
    assert entry is not None
    new = Page(b"a19", 2 * SIZE)
    assert store.put(new)
    assert store.peek(b"a19") is new
    assert (new.queue, new.frequency) == (s3fifo.MAIN, 1)
    assert store.bytes == sum(page.size for page in store.entries()) <= store.capacity


@pytest.mark.parametrize(
    ("largest", "size", "is_taken"),
    [(None, 900, True), (None, 901, False), (300, 300, True), (300, 301, False), (950, 901, False)],
)
def test_too_large_an_entry_is_refused_and_takes_the_old_one_with_it(
    largest: int | None, size: int, is_taken: bool
) -> None:
    store: S3Fifo[Page] = S3Fifo(1000, largest=largest)
    put(store, "a")
    assert store.put(Page(b"a", size)) is is_taken
    assert store.bytes == (size if is_taken else 0)


def test_removing_tells_whether_something_was_there() -> None:
    store = store_of(10)
    put(store, "a", "b")
    assert store.remove(b"a")
    assert not store.remove(b"a")
    entry = store.peek(b"b")
    assert entry is not None
    entry.alive = False
    assert not store.remove(b"b")
    assert (len(store), store.bytes) == (0, 0)


def test_dropping_spares_the_entry_that_took_the_place() -> None:
    store = store_of(10)
    old = Page(b"a", SIZE)
    store.put(old)
    put(store, "a")
    assert not store.drop(old)
    assert store.peek(b"a") is not None


def test_a_purge_forgets_the_object_but_not_that_it_is_popular() -> None:
    store = store_of(20)
    put(store, *names("a", 20))
    assert store.remove(b"a5")  # of main
    put(store, "b")  # takes the room, so that a newcomer would have to start small
    put(store, "a5")
    entry = store.peek(b"a5")
    assert entry is not None
    assert entry.queue == s3fifo.MAIN


def test_everything_is_killed_at_once_and_freed_in_slices() -> None:
    store = store_of(20)
    put(store, *names("a", 15))
    assert store.kill_all() == 15
    assert held(store) == set()
    put(store, "new")
    assert [store.reclaim(10), store.reclaim(10), store.reclaim(10)] == [10, 5, 0]
    assert held(store) == {"new"}
    assert store.bytes == SIZE


def test_entries_can_be_walked_in_slices_while_the_store_changes() -> None:
    store = store_of(10)
    put(store, *names("a", 6))
    walk = store.entries()
    assert [entry.key for entry in islice(walk, 2)] == [b"a0", b"a1"]
    store.remove(b"a2")
    put(store, "late")
    assert [entry.key for entry in walk] == [b"a3", b"a4", b"a5"]


def test_everyone_who_leaves_is_reported_once() -> None:
    left: list[bytes] = []
    store: S3Fifo[Page] = S3Fifo(10 * SIZE, on_evict=lambda entry: left.append(entry.key))
    put(store, *names("a", 10))
    put(store, "a0")  # replaced
    store.remove(b"a1")
    put(store, "b", "c")  # one evicted: the small queue holds one
    store.clear()
    assert sorted(left) == sorted([b"a0"] * 2 + [b"b", b"c"] + [b"a%d" % n for n in range(1, 10)])
    assert (len(store), store.bytes) == (0, 0)


def test_what_left_is_not_kept_in_memory() -> None:
    """Not by queues or ghosts, and without waiting for the collector: bodies are megabytes."""
    alive: WeakSet[Page] = WeakSet()
    store = store_of(10)
    for number in range(200):
        page = Page(b"%d" % number, SIZE)
        alive.add(page)
        store.put(page)
        if number % 3 == 0:
            store.remove(page.key)
    watched = ref(page)
    del page
    assert len(alive) == len(store) <= 10
    store.clear()
    assert watched() is None


def test_one_put_spares_a_bounded_number_of_entries() -> None:
    """All 3,000 entries were read three times: a full walk would take each of them three times."""
    store = store_of(3000)
    put(store, *names("a", 3000))
    for _ in range(3):
        for name in names("a", 3000):
            store.get(name.encode())
    put(store, "b")
    spared = sum(entry.frequency < s3fifo.MAX_FREQUENCY for entry in store.entries()) - 1
    assert 0 < spared <= s3fifo.REPRIEVES
    assert store.bytes <= store.capacity


def test_an_entry_takes_no_more_than_it_is_charged_for() -> None:
    tags = TagIndex(lambda entry: None)
    store: S3Fifo[Entry] = S3Fifo(1 << 30)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(5000):
        own_tags = (b"venue:%d" % number, b"list:%d" % (number % 10), b"city:%d" % (number % 99))
        entry = Entry(b"https://site.example/venues/%d" % number, 5000, own_tags, 2e9 + number)
        store.put(entry)
        tags.add(entry)
    taken = (tracemalloc.get_traced_memory()[0] - before) / 5000
    tracemalloc.stop()
    assert OVERHEAD_BYTES / 2 < taken <= OVERHEAD_BYTES


class StoreMachine(RuleBasedStateMachine):
    """Any order of calls against a plain model: what was put last under each key.

    The model does not say what is evicted, only that the rest is true: the bound, the sums, and
    that nothing comes back that was killed, removed, replaced or reported as gone.
    """

    keys = st.integers(0, 30).map(lambda number: b"/%d" % number)

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[bytes, Page] = {}
        self.inside: dict[int, Page] = {}
        self.store: S3Fifo[Page] = S3Fifo(1000, on_evict=self.leave)

    def leave(self, entry: Entry) -> None:
        assert self.inside.pop(id(entry)) is entry

    @rule(wanted=st.lists(st.tuples(keys, st.integers(1, 100)), min_size=1, max_size=20))
    def put_some(self, wanted: list[tuple[bytes, int]]) -> None:
        for key, size in wanted:
            self.put(key, size)

    @rule(key=keys, size=st.integers(100, 1100))
    def put_large(self, key: bytes, size: int) -> None:
        self.put(key, size)

    def put(self, key: bytes, size: int) -> None:
        page = Page(key, size)
        if self.store.put(page):
            self.inside[id(page)] = page
            self.last[key] = page
            assert self.store.peek(key) is page
        else:
            assert size > self.store.largest
            self.last.pop(key, None)
            assert self.store.peek(key) is None

    @rule(wanted=st.lists(keys, min_size=1, max_size=20))
    def read_some(self, wanted: list[bytes]) -> None:
        for key in wanted:
            self.read(key)

    def read(self, key: bytes) -> None:
        found = self.store.get(key)
        expected = self.last.get(key)
        if expected is None or not expected.alive or id(expected) not in self.inside:
            assert found is None
        else:
            assert found is expected
            assert 1 <= found.frequency <= 3

    @rule(key=keys)
    def kill(self, key: bytes) -> None:
        if key in self.last:
            self.last[key].alive = False

    @rule(key=keys)
    def remove(self, key: bytes) -> None:
        was_served = self.store_has(key)
        assert self.store.remove(key) is was_served
        self.last.pop(key, None)

    @rule(how=st.sampled_from(["not"] * 18 + ["clear", "kill"]))
    def empty(self, how: str) -> None:
        if how == "clear":
            self.store.clear()
            assert not self.inside
        elif how == "kill":
            served = sum(page.alive for page in self.inside.values())
            assert self.store.kill_all() == served
            while self.store.reclaim(3):
                pass
            assert self.store.bytes == 0

    def store_has(self, key: bytes) -> bool:
        page = self.last.get(key)
        return page is not None and page.alive and id(page) in self.inside

    @invariant()
    def adds_up(self) -> None:
        assert self.store.bytes <= self.store.capacity
        assert self.store.bytes == sum(page.size for page in self.inside.values())
        assert len(self.store) == len(self.inside)
        assert set(self.store.entries()) == {page for page in self.inside.values() if page.alive}

    @invariant()
    def queues_are_whole(self) -> None:
        found: list[Entry] = []
        for queue in (self.store._small, self.store._main):
            entry, before = queue.oldest, None
            while entry is not None:
                assert len(found) < len(self.inside)
                assert (entry.queue, entry.older) == (queue.number, before)
                found.append(entry)
                entry, before = entry.newer, entry
            assert queue.newest is before
        assert sorted(map(id, found)) == sorted(self.inside)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
