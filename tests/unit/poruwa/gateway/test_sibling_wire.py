"""Frames between workers: what goes in comes out, however it is cut (decision 0014)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from poruwa.gateway import sibling_wire as wire
from poruwa.gateway.stored import StoredResponse
from poruwa.rules.freshness import LifetimeSource, StoredFacts


@given(
    st.lists(st.tuples(st.integers(0, 6), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 100), max_size=30),
)
def test_frames_survive_any_cut(frames: list[tuple[int, bytes]], sizes: list[int]) -> None:
    stream = b"".join(wire.frame(kind, payload) for kind, payload in frames)
    reader = wire.FrameReader()
    seen = []
    for size in [*sizes, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        seen += reader.feed(piece)
    seen += reader.feed(stream)
    assert seen == frames


def test_an_entry_is_the_same_at_the_other_end() -> None:
    """Whatever is added to a stored response must be lent too, or be the body or a memo."""
    facts = StoredFacts(
        born_at=1000.25,
        lifetime_seconds=60.0,
        lifetime_source=LifetimeSource.CLASS,
        must_revalidate=True,
        no_cache=False,
        immutable=True,
        stale_while_revalidate_seconds=5.0,
        stale_if_error_seconds=None,
    )
    entry = StoredResponse(b"https://a/x", b"https://a/x\nen")
    fields = {b"etag": b'"e"', b"last-modified": b"Sun, 06 Nov 1994 08:49:37 GMT"}
    entry.status, entry.status_text = 404, b"404 Not Found"
    entry.block = b"\r\nContent-Type: text/html"
    entry.vary, entry.tags = (b"accept-language",), (b"venue:7",)
    entry.began_at = 7
    entry.take(facts, fields, 1010.0)
    copy = wire.entry_of(wire.decode_lent(wire.encode(wire.lent(entry, 12))))
    names = [name for name in dir(entry) if not callable(getattr(StoredResponse, name))]
    own = {"body", "as_of", "size", "alive", "frequency", "queue", "older", "newer"}
    lent = [name for name in names if not name.startswith("_") and name not in own]
    assert {"etag", "tags", "began_at", "expires_at"} <= set(lent)
    for name in lent:
        assert getattr(copy, name) == getattr(entry, name), name
