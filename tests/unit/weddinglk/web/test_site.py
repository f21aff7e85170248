"""What pages are made of: remembered values and pieces of markup."""

from __future__ import annotations

import asyncio

import pytest

import poruwa
from weddinglk.web.fragments import icon_maker
from weddinglk.web.site import Remembered


async def test_concurrent_callers_share_one_load() -> None:
    """C5: a hundred pages at once count the database once."""
    loads = 0

    async def load() -> int:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0)
        return loads

    remembered = Remembered(load, lifetime_seconds=60)
    assert await asyncio.gather(*(remembered.get() for _ in range(100))) == [1] * 100
    lapsed = Remembered(load, lifetime_seconds=0)
    assert [await lapsed.get(), await lapsed.get()] == [2, 3]


async def test_a_failed_load_is_tried_again() -> None:
    """C4: an error is raised to its caller and not remembered."""
    answers = iter([OSError("away"), 7])

    async def load() -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    remembered = Remembered(load, lifetime_seconds=60)
    with pytest.raises(OSError, match="away"):
        await remembered.get()
    assert await remembered.get() == 7


async def test_what_a_load_depends_on_is_said_by_everybody_who_uses_it() -> None:
    """DESIGN section 6: a remembered part tags the pages of those who did not load it as well."""

    async def load() -> int:
        poruwa.tag("venues")
        await asyncio.sleep(0)
        poruwa.tag("vendors")
        return 7

    async def page(name: str) -> list[str]:
        with poruwa.collect_tags() as tags:
            poruwa.tag(name)
            assert await remembered.get() == 7
        return list(tags)

    remembered = Remembered(load, lifetime_seconds=60)
    names = [f"page:{number}" for number in range(20)]
    pages = await asyncio.gather(*map(page, names))
    assert pages == [[name, "venues", "vendors"] for name in names]
    assert await page("later") == ["later", "venues", "vendors"]


def test_icons_are_decoration_and_escaped() -> None:
    """F, D8: hidden from those who hear the page; nothing breaks out of an attribute."""
    icon = icon_maker("/static/x/icons.svg")
    assert 'aria-hidden="true"' in icon("star", "on")
    assert 'class="icon on"' in icon("star", "on")
    assert "<b" not in icon('x"><b', 'y"><b')
