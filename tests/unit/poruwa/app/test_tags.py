"""Collecting what a response depends on (DESIGN section 6, RFC 9875 section 2)."""

from __future__ import annotations

import asyncio

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

import poruwa
from poruwa.app.tags import MAX_FIELD_BYTES, MAX_TAG_CHARACTERS, MAX_TAGS, cache_groups
from poruwa.config.forms import FORMS
from poruwa.rules.cache_groups import MAX_GROUP_BYTES, MAX_GROUPS, parse_groups

TAGS = st.lists(
    st.from_regex(r"[A-Za-z0-9_.-]{1,20}(:[A-Za-z0-9_.-]{1,20}){0,3}", fullmatch=True),
    min_size=1,
    max_size=30,
    unique=True,
)


def test_each_tag_counts_once_in_the_order_it_was_named() -> None:
    with poruwa.collect_tags() as tags:
        poruwa.tag("venues", "venue:12")
        poruwa.tag("venue:3", "venues")
    assert list(tags) == ["venues", "venue:12", "venue:3"]


@pytest.mark.parametrize(
    "name",
    ["", ":", "venue:", ":12", "a::b", "two words", "a,b", 'a"b', "a\\b", "a\n", "a\r\nx: y",
     "kandy/1", "café", "\u0c95", "\x7f", "*", "{venue_id}", "x" * (MAX_TAG_CHARACTERS + 1)],
)  # fmt: skip
def test_what_is_no_tag_is_refused_with_its_reason(name: str) -> None:
    """RFC 9651 section 3.3.3: a String is printable ASCII; ours have no separators besides.

    Nothing of the call is collected, and it is refused outside a request as well.
    """
    with poruwa.collect_tags() as tags, pytest.raises(ValueError, match="tag"):
        poruwa.tag("venues", name)
    assert not tags
    with pytest.raises(ValueError, match="tag"):
        poruwa.tag(name)


def test_a_tag_can_be_as_long_as_is_said() -> None:
    """RFC 9875 section 2: at least 32 characters are supported by everybody."""
    with poruwa.collect_tags() as tags:
        poruwa.tag("x" * MAX_TAG_CHARACTERS)
    field = cache_groups(tags)
    assert parse_groups(field) == (b"x" * MAX_TAG_CHARACTERS,)


@given(TAGS)
def test_what_code_names_a_policy_can_name(names: list[str]) -> None:
    """G1: every tag has the form that the policy's tags have."""
    poruwa.tag(*names)
    for name in names:
        FORMS["tag"].check(name)  # raises ValueError for another form


@given(TAGS)
def test_the_field_is_read_back_as_it_was_meant(names: list[str]) -> None:
    """RFC 9875 section 2, by an independent parser and by the gateway's."""
    field = cache_groups(names)
    assert field is not None
    assert http_sf.parse(field, tltype="list") == [(name, {}) for name in names]
    assert parse_groups(field) == tuple(name.encode() for name in names)


def test_too_many_are_never_a_part_of_them() -> None:
    """A list cut short would leave a copy that a change does not reach."""
    most = [f"venue:{number}" for number in range(MAX_TAGS)]
    assert len(parse_groups(cache_groups(most))) == MAX_TAGS
    assert MAX_TAGS <= MAX_GROUPS, "the gateway reads what an app may write"
    assert MAX_TAG_CHARACTERS <= MAX_GROUP_BYTES
    assert cache_groups([*most, "one-more"]) is None
    long = [f"{number:0{MAX_TAG_CHARACTERS}}" for number in range(MAX_FIELD_BYTES // 132)]
    assert cache_groups(long) is not None
    assert cache_groups([*long, "x" * MAX_TAG_CHARACTERS]) is None
    with poruwa.collect_tags() as tags:
        for number in range(3 * MAX_TAGS):
            poruwa.tag(f"venue:{number}")
    assert len(tags) == MAX_TAGS + 1, "what is collected has a bound"
    assert cache_groups(tags) is None


async def test_tasks_and_threads_of_a_request_collect_for_it() -> None:
    """What a view starts is part of it; requests do not see each other's."""

    async def load(name: str) -> None:
        await asyncio.sleep(0)
        poruwa.tag(name)

    async def request(name: str) -> list[str]:
        with poruwa.collect_tags() as tags:
            await asyncio.gather(load(f"{name}:1"), load(f"{name}:2"))
            await asyncio.to_thread(poruwa.tag, f"{name}:3")
        return sorted(tags)

    first, second = await asyncio.gather(request("venue"), request("vendor"))
    assert first == ["venue:1", "venue:2", "venue:3"]
    assert second == ["vendor:1", "vendor:2", "vendor:3"]


def test_a_remembered_value_tags_each_who_uses_it() -> None:
    """What is collected apart goes to no request but by ``tag``."""
    with poruwa.collect_tags() as outer:
        poruwa.tag("before")
        with poruwa.collect_tags() as inner:
            poruwa.tag("venues")
        assert list(outer) == ["before"]
        poruwa.tag(*inner)
    assert list(outer) == ["before", "venues"]
    poruwa.tag("nobody-listens")
    assert list(outer) == ["before", "venues"]
