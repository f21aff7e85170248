"""Entries of L2 as bytes: what is written is read, and nothing else is."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.stores.coding import (
    HEADER,
    LARGEST_VALUE_BYTES,
    LIFETIME_OFFSET,
    Coder,
    Garbage,
    Stored,
    Unstorable,
)

KEY = b"site:l2:1:venue\n12"
SECONDS = st.floats(min_value=0, max_value=1e9)
TAGS = st.lists(st.binary(min_size=1, max_size=20).filter(lambda tag: b"\0" not in tag), max_size=5)
ENTRIES = st.builds(
    Stored,
    value=st.binary(max_size=200) | st.binary(max_size=30).map(lambda part: part * 100),
    tags=TAGS.map(tuple),
    as_of=st.integers(min_value=0, max_value=2**63),
    stored_at=st.floats(min_value=0, max_value=4e9),
    lifetime_seconds=SECONDS,
    stale_seconds=SECONDS,
)


def entry(value: bytes = b"value", tags: tuple[bytes, ...] = (b"venue:12", b"venues")) -> Stored:
    return Stored(value, tags, (3 << 40) | 17, 1_790_000_000.25, 60.0, 30.0)


@given(ENTRIES)
def test_what_is_written_is_read(stored: Stored) -> None:
    assert Coder().decode(KEY, Coder().encode(KEY, stored)) == stored


@pytest.mark.parametrize("value", [b"", b"x", b"words " * 2000, os.urandom(5000)])
def test_values_of_all_sizes(value: bytes) -> None:
    data = Coder().encode(KEY, entry(value))
    assert Coder().decode(KEY, data).value == value


def test_only_what_shrinks_is_compressed() -> None:
    texts, noise = b"words " * 2000, os.urandom(12_000)
    assert len(Coder().encode(KEY, entry(texts))) < len(texts) / 10
    assert len(Coder().encode(KEY, entry(noise))) == len(Coder().encode(KEY, entry(b""))) + 12_000


@given(ENTRIES, st.data())
def test_a_changed_byte_is_noticed(stored: Stored, data: st.DataObject) -> None:
    encoded = bytearray(Coder().encode(KEY, stored))
    places = [*range(LIFETIME_OFFSET), *range(LIFETIME_OFFSET + 8, len(encoded))]
    encoded[data.draw(st.sampled_from(places))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Garbage):
        Coder().decode(KEY, bytes(encoded))


@given(st.binary(max_size=300))
def test_any_other_bytes_are_garbage(data: bytes) -> None:
    with pytest.raises(Garbage):
        Coder().decode(KEY, data)


@pytest.mark.parametrize("kept", [0, 1, HEADER.size - 1, HEADER.size, HEADER.size + 10, -1])
def test_truncated(kept: int) -> None:
    data = Coder().encode(KEY, entry())
    with pytest.raises(Garbage):
        Coder().decode(KEY, data[:kept])


def test_the_entry_of_another_key_is_garbage() -> None:
    data = Coder().encode(KEY, entry())
    with pytest.raises(Garbage, match="checksum"):
        Coder().decode(KEY + b"3", data)


@pytest.mark.parametrize("lifetime", [float("nan"), float("inf"), -1.0])
def test_a_lifetime_that_is_none_is_garbage(lifetime: float) -> None:
    data = bytearray(Coder().encode(KEY, entry()))
    struct.pack_into("<d", data, LIFETIME_OFFSET, lifetime)
    with pytest.raises(Garbage, match="lifetime"):
        Coder().decode(KEY, bytes(data))


@pytest.mark.parametrize(
    "stored",
    [
        entry(bytes(LARGEST_VALUE_BYTES + 1)),
        entry(tags=(b"a\0b",)),
        entry(tags=(b"",)),
        entry(tags=(b"t" * 70_000,)),
        Stored(b"", (), -1, 0.0, 1.0, 0.0),
        Stored(b"", (), 1 << 64, 0.0, 1.0, 0.0),
        Stored(b"", (), 0, 0.0, float("nan"), 0.0),
        Stored(b"", (), 0, 0.0, 1.0, float("inf")),
    ],
)
def test_what_cannot_be_written_is_refused(stored: Stored) -> None:
    with pytest.raises(Unstorable):
        Coder().encode(KEY, stored)
