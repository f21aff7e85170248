"""The coding of a change: everything comes back, and other versions are understood."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.change import Change, decode_change, encode_change

some_bytes = st.lists(st.binary(max_size=20), max_size=3).map(tuple)
changes = st.builds(
    Change,
    tags=some_bytes,
    keys=some_bytes,
    urls=some_bytes,
    patterns=st.lists(st.text(max_size=10), max_size=2).map(tuple),
    everything=st.booleans(),
    soft=st.booleans(),
    operation_time=st.none() | st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)),
    written_at=st.floats(0, 1e11),
    source=st.sampled_from(["", "write", "watch", "purge"]),
)


@given(changes)
def test_every_change_comes_back(change: Change) -> None:
    assert decode_change(encode_change(change)) == change


def test_fields_of_other_versions_are_skipped_or_have_their_default() -> None:
    data = msgspec.msgpack.encode({"tags": [b"a"], "later": 1})
    assert decode_change(data) == Change(tags=(b"a",))


@given(st.binary(max_size=60))
def test_noise_never_raises(data: bytes) -> None:
    assert isinstance(decode_change(data), Change)


def test_what_cannot_be_read_is_everything() -> None:
    for data in (b"", b"\xc1", b"\x81\xa4tags\x01", encode_change(Change(tags=(b"a",)))[:-1]):
        assert decode_change(data).everything
