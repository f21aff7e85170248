"""From the arguments of a call to its key and tags."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.app.cache.call_form import LONGEST_KEY_BYTES, CallForm, full_key
from poruwa.errors import ConfigError


class Style(Enum):
    BEACH = "beach"


@dataclass(frozen=True)
class Page:
    number: int
    size: int = 20


async def find(venue_id: int, language: str = "en", *, draft: bool = False) -> str:
    return f"{venue_id} {language} {draft}"


async def pair(kind: str, name: str) -> str:
    return kind + name


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((1,), {}), ((1, "en"), {}), ((), {"venue_id": 1}), ((1,), {"draft": False}),
     ((), {"draft": False, "language": "en", "venue_id": 1})],
)  # fmt: skip
async def test_every_way_to_write_a_call_is_one(args: tuple[int, ...], kwargs: dict) -> None:  # type: ignore[type-arg]
    form = CallForm(find, "venue")
    spelling = form.spelling(args, kwargs)
    assert spelling == (1, "en", False)
    assert await form.call(find, spelling) == await find(*args, **kwargs)
    assert form.key(spelling) == f'{__name__}.find[1,"en",false]'


@pytest.mark.parametrize("args", [(), (1, "en", True), (1, "en", True, 4)])
def test_a_call_that_the_function_refuses_is_refused(args: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        CallForm(find, "venue").spelling(args, {})


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_calls_that_differ_have_keys_that_differ(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    """Arguments may be a visitor's: none may be made to look like another's (cache poisoning)."""
    for key in (None, "{kind}:{name}", "{name}/x{kind}"):
        form = CallForm(pair, "venue", key)
        assert (form.key(one) == form.key(other)) == (one == other)
        assert "\n" not in form.key(one), "class and key are separated by it"
        assert len(form.key(one).encode()) <= 4 * LONGEST_KEY_BYTES


@pytest.mark.parametrize("key", ["{kind}{name}", "{kind}-{name}", "{kind}a.b_~{name}"])
def test_a_key_whose_parts_run_together_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="same for different arguments"):
        CallForm(pair, "venue", key)


@pytest.mark.parametrize(
    "argument",
    [None, 1.5, "x", b"x", Style.BEACH, date(2026, 11, 26), (1, 2), frozenset({3, 1, 2}), Page(1)],
)
def test_usual_arguments_make_keys(argument: object) -> None:
    async def load(what: object) -> None: ...

    form = CallForm(load, "venue")
    assert form.key((argument,)) == form.key((argument,))


def test_arguments_that_make_no_key_are_refused_with_the_remedy() -> None:
    async def load(what: object) -> None: ...

    with pytest.raises(TypeError, match="key="):
        CallForm(load, "venue").key((object(),))
    assert CallForm(load, "venue", key=lambda what: "fixed").key((object(),)) == "fixed"


def test_a_long_key_is_short_and_still_its_own() -> None:
    form = CallForm(pair, "venue", "{kind}:{name}")
    keys = {form.key(("x" * 1000, str(number))) for number in range(100)}
    assert len(keys) == 100
    assert all(len(key) < LONGEST_KEY_BYTES for key in keys)


def test_tags_are_made_of_the_arguments() -> None:
    form = CallForm(find, "venue", tags=("venue:{venue_id}", "venues"))
    assert form.tags((12, "en", False)) == ("venue:12", "venues")

    async def load(page: Page) -> None: ...

    assert CallForm(load, "venue", tags=("page:{page.number}",)).tags((Page(3),)) == ("page:3",)


def test_an_argument_that_makes_no_tag_is_refused() -> None:
    form = CallForm(pair, "venue", tags=("{kind}:{name}",))
    with pytest.raises(ValueError, match="no tag"):
        form.tags(("venue", "1, 2"))


def test_what_cannot_be_cached_is_refused_when_it_is_decorated() -> None:
    async def many(*ids: int) -> None: ...

    class Catalogue:
        async def load(self, venue_id: int) -> int:
            return venue_id

    with pytest.raises(ConfigError, match="async def"):
        CallForm(Page, "venue")
    with pytest.raises(ConfigError, match="name its parameters"):
        CallForm(many, "venue")
    with pytest.raises(ConfigError, match="bound method"):
        CallForm(Catalogue.load, "venue")
    with pytest.raises(ConfigError, match=r"\{venue\}.*venue_id, language"):
        CallForm(find, "venue", tags=("venue:{venue}",))
    with pytest.raises(ConfigError, match="no template"):
        CallForm(find, "venue", key="{venue_id")
    assert CallForm(Catalogue().load, "venue").count == 1


def test_a_key_has_its_class_before_it() -> None:
    assert full_key("venue", "12") == b"venue\n12"
