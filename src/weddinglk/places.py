"""The districts and towns of Sri Lanka, from ``places.json`` (see ``tools/build_places.py``).

A table of constants: read once a process, the same in every process, never from the database.
Positions are GeoNames' (CC BY 4.0), see NOTICE; approximate ones say so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from weddinglk.domain import District, Place, Position, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceTable:
    """Districts and places in English alphabetical order, and by id.

    ``towns`` are the places people name when they speak of where something is; the others are
    divisional secretariats, whose position is that of their district's capital.
    """

    districts: tuple[District, ...]
    places: tuple[Place, ...]
    towns: frozenset[str]
    district_by_id: dict[str, District]
    place_by_id: dict[str, Place]
    places_by_district: dict[str, tuple[Place, ...]]


@cache
def place_table() -> PlaceTable:
    """Return the table; the first call reads the file (a few milliseconds)."""
    rows = json.loads(files("weddinglk").joinpath("places.json").read_text(encoding="utf-8"))
    districts = tuple(
        District(
            id=row["id"],
            name=_text(row["name"]),
            province=_text(row["province"]),
            position=_position(row),
        )
        for row in rows["districts"]
    )
    places = tuple(
        sorted(
            (
                Place(
                    id=row["id"],
                    name=_text(row["name"]),
                    district=row["district"],
                    position=_position(row),
                )
                for row in rows["places"]
            ),
            key=lambda place: (place.name.en, place.id),
        )
    )
    return PlaceTable(
        districts=districts,
        places=places,
        towns=frozenset(row["id"] for row in rows["places"] if row["is_town"]),
        district_by_id={district.id: district for district in districts},
        place_by_id={place.id: place for place in places},
        places_by_district={
            district.id: tuple(place for place in places if place.district == district.id)
            for district in districts
        },
    )


def _text(names: list[str]) -> Text:
    return Text(en=names[0], si=names[1], ta=names[2])


def _position(row: dict[str, Any]) -> Position:
    return Position(
        latitude=row["latitude"], longitude=row["longitude"], approximate=row["approximate"]
    )
