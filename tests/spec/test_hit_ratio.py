"""Hit ratios of the gateway's store on generated traces, beside LRU and W-TinyLFU.

Never more than a point below LRU, and none more than a point below W-TinyLFU (theine, with its
adaptive window; its hashes are seeded anew in each run, which moves it by two points). S3-FIFO as
published falls short in loops: 65 % in one a tenth larger than the store, 38 % at a half.

Known to be below W-TinyLFU: a loop two hundredths larger than the store, 88 % of 40 rounds to its
93 (LRU: 0). Known to be below LRU, as W-TinyLFU is by far more: traces in which nothing but
recency counts (by 0.4 to 3.5 points; the paper's by 0.4 to 2), and abrupt changes of everything
that is popular, in a store that holds a fifth of it (by 3.3; the paper's by 2).
"""

from __future__ import annotations

from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from random import Random

import pytest
from theine import Cache

from poruwa.stores.entry import Entry
from poruwa.stores.s3fifo import S3Fifo

Trace = tuple[bytes, ...]

ENTRY_BYTES = 4096
OBJECTS = 10_000
SIZES = (100, 500, 1000)  # entries: 1, 5 and 10 % of the objects
POINT = 1.0


def zipf(exponent: float, count: int, random: Random) -> list[int]:
    weights = list(accumulate(1.0 / rank**exponent for rank in range(1, OBJECTS + 1)))
    return [bisect(weights, random.random() * weights[-1]) for _ in range(count)]


def zipf_alone(exponent: float) -> Callable[[int], list[int]]:
    return lambda _: zipf(exponent, 60_000, Random(4))


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


def loop(excess: float) -> Callable[[int], list[int]]:
    def trace(size: int) -> list[int]:
        length = round(size * (1.0 + excess))
        return [turn % length for turn in range(length * 40)]

    return trace


TRACES: dict[str, Callable[[int], list[int]]] = {
    "zipf-0.8": zipf_alone(0.8),
    "zipf-0.99": zipf_alone(0.99),
    "scans-between-zipf": scans_between,
    "scan-mixed-with-zipf": scan_mixed_in,
    "loop-a-tenth-too-large": loop(0.1),
    "loop-a-fifth-too-large": loop(0.2),
    "loop-a-half-too-large": loop(0.5),
    "loop-four-fifths-too-large": loop(0.8),
}


@cache
def requests(name: str, size: int) -> Trace:
    return tuple(b"/object/%d" % item for item in TRACES[name](size))


def store_hits(trace: Sequence[bytes], size: int) -> int:
    store: S3Fifo[Entry] = S3Fifo(size * ENTRY_BYTES)
    hits = 0
    for key in trace:
        if store.get(key) is not None:
            hits += 1
        else:
            store.put(Entry(key, ENTRY_BYTES))
    assert len(store) <= size
    return hits


def lru_hits(trace: Sequence[bytes], size: int) -> int:
    held: OrderedDict[bytes, None] = OrderedDict()
    hits = 0
    for key in trace:
        if key in held:
            held.move_to_end(key)
            hits += 1
        else:
            held[key] = None
            if len(held) > size:
                held.popitem(last=False)
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


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TRACES)
def test_hits_are_as_many_as_of_lru_and_w_tinylfu(name: str, size: int) -> None:
    """Show 5 of issue 4, in points (percent of all requests)."""
    trace = requests(name, size)
    store, lru, w_tinylfu = (
        100.0 * hits(trace, size) / len(trace) for hits in (store_hits, lru_hits, w_tinylfu_hits)
    )
    print(f"{name}, {size} entries: {store:.2f}, LRU {lru:.2f}, W-TinyLFU {w_tinylfu:.2f}")  # noqa: T201
    assert store >= lru - POINT
    assert store >= w_tinylfu - POINT
