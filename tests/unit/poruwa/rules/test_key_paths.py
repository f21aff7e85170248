"""Which paths may be keys: those that every parser reads alike (web cache deception)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.cache_class import _KEY_PATH, is_key_path


@given(st.text("/a;%2fE9~\\\n\xe9.", max_size=12))
def test_plain_bytes_are_judged_as_by_the_expression(tail: str) -> None:
    for path in (tail.encode("latin-1"), b"/" + tail.encode("latin-1")):
        assert is_key_path(path) == (_KEY_PATH.fullmatch(path) is not None)


@pytest.mark.parametrize("path", [b"/", b"/venues/1", b"/a//b", b"/caf%C3%A9", b"/a~b.css"])
def test_keys(path: bytes) -> None:
    assert is_key_path(path)


@pytest.mark.parametrize(
    "path", [b"", b"venues", b"*", b"/a;x.css", b"/a%2Fb", b"/a%00", b"/a%23", b"/a%3Fb", b"/a\\b"]
)
def test_no_keys(path: bytes) -> None:
    assert not is_key_path(path)
