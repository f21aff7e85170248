"""Hit ratios of the gateway's store on generated traces, beside LRU and W-TinyLFU.

Never more than a point below LRU, and none more than a point below W-TinyLFU (theine, with its
adaptive window; its hashes are seeded anew in each run, which moves it by two points: the median of
three). S3-FIFO as published falls short in loops: 65 % in one a tenth larger than the store, 38 %
at a half.

Known to be below LRU, as W-TinyLFU is by far more:

- half of all popular objects replaced each few thousand requests, so that nothing but recency
  counts: by 1 to 3 points (W-TinyLFU by 5 to 16);
- everything that is popular replaced at once, each 20,000 requests, in a store that holds a fifth
  of it: by 3.4 (W-TinyLFU by 8.7).

A small queue of two tenths would halve both, and cost steady Zipf traces 1.3 points. Known to be
just below W-TinyLFU: a loop of 0.7 times the store, mixed with twice as many requests of a Zipf
trace, by 1.1.
"""

from __future__ import annotations

from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate, product
from math import log
from random import Random
from statistics import median

import pytest
from theine import Cache

from poruwa.stores.entry import Entry
from poruwa.stores.s3fifo import S3Fifo

Trace = tuple[bytes, ...]
BytesOf = Callable[[bytes], int]

ENTRY_BYTES = 4096
OBJECTS = 10_000
SIZES = (10, 50, 100, 500, 1000, 2000)  # entries: from 0.1 to 20 % of the objects
LOOP_SIZES = (50, 100, 500, 1000)
POINT = 1.0


def equal_bytes(_: bytes) -> int:
    return ENTRY_BYTES


@cache
def varied_bytes(key: bytes) -> int:
    """Return a size of its own for each key: lognormal, as those of pages and images are."""
    return int(min(max(Random(key).lognormvariate(log(8192), 1.3), 1024), 1 << 20))


def zipf(exponent: float, count: int, random: Random) -> list[int]:
    weights = list(accumulate(1.0 / rank**exponent for rank in range(1, OBJECTS + 1)))
    return [bisect(weights, random.random() * weights[-1]) for _ in range(count)]


def zipf_alone(exponent: float) -> Callable[[int], list[int]]:
    return lambda _: zipf(exponent, 40_000, Random(4))


def scans_between(_: int) -> list[int]:
    """Every 6,000 requests somebody walks 1,500 pages that nobody else asks for."""
    popular, trace, fresh = zipf(0.99, 48_000, Random(5)), [], OBJECTS
    for start in range(0, len(popular), 6_000):
        trace += popular[start : start + 6_000]
        trace += range(fresh, fresh + 1_500)
        fresh += 1_500
    return trace


def scan_mixed_in(_: int) -> list[int]:
    """One request in five is a crawler's, each for a page of its own."""
    random, trace, fresh = Random(6), [], OBJECTS
    for item in zipf(0.99, 48_000, random):
        trace.append(item)
        if random.random() < 0.25:
            trace.append(fresh)
            fresh += 1
    return trace


def loop(times: float) -> Callable[[int], list[int]]:
    """Forty rounds of as many pages as the store holds, times ``times``."""

    def trace(size: int) -> list[int]:
        length = round(size * times)
        return [turn % length for turn in range(length * 40)]

    return trace


def loop_mixed_in(times: float) -> Callable[[int], list[int]]:
    """Every other request is of a loop."""

    def trace(size: int) -> list[int]:
        length, turn = round(size * times), 0
        random = Random(8)
        mixed = zipf(0.99, min(length * 80, 60_000), Random(9))
        for place in range(len(mixed)):
            if random.random() < 0.5:
                mixed[place] = OBJECTS + turn % length
                turn += 1
        return mixed

    return trace


def loop_then_zipf(times: float) -> Callable[[int], list[int]]:
    """A nightly job walks ten rounds of a loop; by day what is popular is."""

    def trace(size: int) -> list[int]:
        length, popular = round(size * times), zipf(0.99, 60_000, Random(10))
        return [
            item
            for start in range(0, 60_000, 20_000)
            for item in (
                *popular[start : start + 20_000],
                *(OBJECTS + turn % length for turn in range(length * 10)),
            )
        ]

    return trace


def shifting(
    exponent: float, step: int, every: int, count: int = 40_000
) -> Callable[[int], list[int]]:
    """Each ``every`` requests the ``step`` most popular pages lose their place to the next."""

    def trace(_: int) -> list[int]:
        requests = zipf(exponent, count, Random(11))
        return [item + turn // every * step for turn, item in enumerate(requests)]

    return trace


TRACES: dict[str, Callable[[int], list[int]]] = {
    "zipf-0.8": zipf_alone(0.8),
    "zipf-0.99": zipf_alone(0.99),
    "scans-between-zipf": scans_between,
    "scan-mixed-with-zipf": scan_mixed_in,
    "zipf-0.99-shifting-steadily": shifting(0.99, 1, 200),
    "zipf-0.8-shifting-in-steps": shifting(0.8, 50, 5000),
    "zipf-0.99-replaced-at-once": shifting(0.99, OBJECTS, 40_000, 80_000),
}
LOOPS: dict[str, Callable[[int], list[int]]] = {
    **{f"loop-of-{n}": loop(n) for n in (0.9, 1.0, 1.02, 1.05, 1.1, 1.3, 1.5, 2.0, 3.0)},
    **{f"loop-of-{n}-in-zipf": loop_mixed_in(n) for n in (0.5, 1.02, 1.1, 1.5, 2.0)},
    **{f"loop-of-{n}-after-zipf": loop_then_zipf(n) for n in (1.02, 1.1, 2.0)},
}


def cases() -> Iterator[object]:
    """One size of each runs with the fast tests."""
    for names, sizes in ((TRACES, SIZES), (LOOPS, LOOP_SIZES)):
        for name, size in product(names, sizes):
            marks = () if size == 100 else pytest.mark.slow
            yield pytest.param(name, size, marks=marks)


def keys_of(name: str, size: int) -> Trace:
    trace = TRACES.get(name) or LOOPS[name]
    return tuple(b"/object/%d" % item for item in trace(size))


def store_hits(trace: Sequence[bytes], capacity: int, bytes_of: BytesOf = equal_bytes) -> int:
    store: S3Fifo[Entry] = S3Fifo(capacity)
    hits = 0
    for key in trace:
        if store.get(key) is not None:
            hits += 1
        else:
            store.put(Entry(key, bytes_of(key)))
    assert store.bytes <= capacity
    return hits


def lru_hits(trace: Sequence[bytes], capacity: int, bytes_of: BytesOf = equal_bytes) -> int:
    held: OrderedDict[bytes, None] = OrderedDict()
    hits = taken = 0
    for key in trace:
        if key in held:
            held.move_to_end(key)
            hits += 1
        else:
            held[key] = None
            taken += bytes_of(key)
            while taken > capacity:
                taken -= bytes_of(held.popitem(last=False)[0])
    return hits


def w_tinylfu_hits(trace: Sequence[bytes], size: int) -> int:
    held: Cache[bytes, bool] = Cache(size, nolock=True)
    hits = 0
    for key in trace:
        if held.get(key)[1]:
            hits += 1
        else:
            held.set(key, True)
    held.close()
    return hits


@pytest.mark.parametrize(("name", "size"), list(cases()))
def test_hits_are_as_many_as_of_lru_and_w_tinylfu(name: str, size: int) -> None:
    """Show 5 of issue 4, in points (percent of all requests)."""
    trace = keys_of(name, size)
    point = len(trace) / 100
    store = store_hits(trace, size * ENTRY_BYTES) / point
    lru = lru_hits(trace, size * ENTRY_BYTES) / point
    w_tinylfu = median(w_tinylfu_hits(trace, size) for _ in range(3)) / point
    print(f"{name}, {size} entries: {store:.2f}, LRU {lru:.2f}, W-TinyLFU {w_tinylfu:.2f}")  # noqa: T201
    assert store >= lru - POINT
    assert store >= w_tinylfu - POINT


@pytest.mark.parametrize("megabytes", [1, 5, 25, 100])
@pytest.mark.parametrize("name", ["zipf-0.8", "zipf-0.99", "scan-mixed-with-zipf"])
def test_hits_are_as_many_as_of_lru_where_sizes_differ(name: str, megabytes: int) -> None:
    """As many requests answered from as many bytes: pages of 1 KB to 1 MB, a median of 8 KB.

    W-TinyLFU is not beside it: the library counts entries.
    """
    trace = keys_of(name, 0)
    point = len(trace) / 100
    store = store_hits(trace, megabytes << 20, varied_bytes) / point
    lru = lru_hits(trace, megabytes << 20, varied_bytes) / point
    print(f"{name}, {megabytes} MB: {store:.2f}, LRU {lru:.2f}")  # noqa: T201
    assert store >= lru - POINT
