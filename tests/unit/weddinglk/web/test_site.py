"""What pages are made of: pieces of markup."""

from __future__ import annotations

from weddinglk.web.fragments import icon_maker


def test_icons_are_decoration_and_escaped() -> None:
    """F, D8: hidden from those who hear the page; nothing breaks out of an attribute."""
    icon = icon_maker("/static/x/icons.svg")
    assert 'aria-hidden="true"' in icon("star", "on")
    assert 'class="icon on"' in icon("star", "on")
    assert "<b" not in icon('x"><b', 'y"><b')
