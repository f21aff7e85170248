"""Drawn pictures: the same everywhere, small, well-formed, different from each other (F)."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from weddinglk.art.picture import SEEDS, art_url, draw, is_known
from weddinglk.domain import VendorCategory, VenueStyle
from weddinglk.places import place_table
from weddinglk.web import island

KINDS = [("venue", style) for style in VenueStyle] + [("vendor", c) for c in VendorCategory]
BYTES_MAX = 6 * 1024


@pytest.mark.parametrize(("kind", "style"), KINDS)
def test_pictures_of_a_style(kind: str, style: str) -> None:
    """F: 60 seeds give 60 small documents whose references all resolve, without any script."""
    drawn = {draw(kind, style, seed) for seed in range(60)}
    assert len(drawn) == 60
    for text in drawn:
        assert len(text.encode()) <= BYTES_MAX
        root = ElementTree.fromstring(text)
        ids = {element.get("id") for element in root.iter()}
        for element in root.iter():
            assert element.tag.rpartition("}")[2] not in ("script", "style", "image", "a")
            for name, value in element.attrib.items():
                assert not name.lower().startswith("on")
                if value.startswith("url(#"):
                    assert value[5:-1] in ids
                if name.endswith("href"):
                    assert value[1:] in ids


def test_the_same_name_is_the_same_picture() -> None:
    """F: every instance draws the same, so caches may keep it for a year."""
    assert draw("venue", "beach", 7) == draw("venue", "beach", 7)
    assert art_url("venue", "beach", SEEDS + 7) == art_url("venue", "beach", 7)


def test_unknown_pictures() -> None:
    """D8: only what there is can be asked for."""
    assert is_known("scene", "home")
    assert not is_known("venue", "cakes")
    assert not is_known("scene", "beach")
    ElementTree.fromstring(draw("scene", "home", 1))


def test_every_district_is_on_the_island() -> None:
    """F: the centre of each district lies inside the drawn outline or within 8 units of it."""
    shape = island.OUTLINE.split("Z")[0].lstrip("M").split()
    points = [(int(x), int(y)) for x, y in zip(shape[::2], shape[1::2], strict=True)]
    for district in place_table().districts:
        x, y = island.point_on_map(district.position)
        near = min((px - x) ** 2 + (py - y) ** 2 for px, py in points) ** 0.5
        assert _inside(points, x, y) or near < 8, (district.id, x, y)


def _inside(points: list[tuple[int, int]], x: float, y: float) -> bool:
    inside = False
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            inside = not inside
    return inside
