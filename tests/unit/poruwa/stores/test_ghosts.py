"""Ghosts: which keys left not long ago, and how many left after each (S3-FIFO's third queue)."""

from __future__ import annotations

from poruwa.stores.ghosts import WAYS, Ghosts


def test_ghosts_are_forgotten_in_order_of_their_last_addition() -> None:
    ghosts = Ghosts()
    for key in (b"a", b"b", b"a", b"c"):
        ghosts.add(key, 3)
    assert [ghosts.take(key) for key in (b"a", b"b", b"c", b"a")] == [2, 3, 1, -1]
    for key in (b"a", b"b", b"c", b"d"):
        ghosts.add(key, 3)
    assert [ghosts.take(key) for key in (b"a", b"b", b"c", b"d")] == [-1, 3, 2, 1]


def test_what_was_never_added_is_unknown() -> None:
    ghosts = Ghosts()
    assert ghosts.take(b"a") == -1
    for number in range(10_000):
        ghosts.add(b"%d" % number, 10_000)
    assert [ghosts.take(b"other %d" % number) for number in range(10_000)] == [-1] * 10_000


def test_few_are_forgotten_before_their_time() -> None:
    """Some buckets are fuller than others; younger ghosts take the place of the oldest."""
    ghosts = Ghosts()
    for number in range(30_000):
        ghosts.add(b"%d" % number, 10_000)
    ages = [ghosts.take(b"%d" % number) for number in range(30_000)]
    assert ages[:20_000] == [-1] * 20_000
    known = [(age, number) for number, age in enumerate(ages) if age > 0]
    assert all(age == 30_000 - number for age, number in known)
    assert sum(age <= 5000 for age, _ in known) > 0.97 * 5000
    assert len(known) > 0.85 * 10_000


def test_no_more_than_a_bucket_is_kept_where_nothing_was_ever_full() -> None:
    ghosts = Ghosts()
    for number in range(100):
        ghosts.add(b"%d" % number, WAYS)
    assert sum(ghosts.take(b"%d" % number) > 0 for number in range(100)) == WAYS
