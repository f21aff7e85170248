"""What goes to L2 comes back as it was, or is refused when the function is decorated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from datetime import UTC, date, datetime
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import msgspec
import pytest

from poruwa.app.cache.codec import Codec, return_type
from poruwa.errors import ConfigError
from weddinglk.domain import Position, Text, Vendor, Venue


class Mood(StrEnum):
    CALM = "calm"


class Level(Enum):
    HIGH = 3


@dataclass(frozen=True, slots=True)
class Leaf:
    moods: tuple[Mood, ...]
    level: Level | None = None


@dataclass(frozen=True)
class Tree:
    leaves: dict[int, Leaf]
    below: tuple[Tree, ...] = ()


class Odd:
    pass


@pytest.mark.parametrize(
    ("kind", "value"),
    [(int, 2**63), (str, "අම්මා"), (bytes, b"\x00\xff"), (bool, True), (float, 0.1),
     (date, date(2026, 11, 26)), (datetime, datetime(2026, 11, 26, 1, 2, 3, 4, UTC)),
     (UUID, UUID(int=7)), (frozenset[int], frozenset({1, 2})), (tuple[int, str], (1, "a")),
     (Leaf, Leaf((Mood.CALM,), Level.HIGH)), (list[Leaf], [Leaf(())]),
     (Tree, Tree({1: Leaf((Mood.CALM,))}, (Tree({}),))), (int | None, None),
     (dict[str, list[int]], {"a": [1]})],
)  # fmt: skip
def test_values_come_back_as_they_went(kind: Any, value: object) -> None:
    codec = Codec(kind, "load")
    found = codec.decode(codec.encode(value))
    assert found == value
    assert type(found) is type(value)
    assert codec.decode(codec.encode(None)) is None, "nothing is there: kept as well"


def test_the_sites_records_can_be_kept() -> None:
    for kind in (Venue, Vendor, tuple[Venue, ...]):
        Codec(kind, "load")
    text = Text(en="a", si="අ", ta="அ")
    codec = Codec(tuple[Text, Position], "load")
    value = (text, Position(latitude=6.9, longitude=79.8, approximate=False))
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    "kind", [Odd, list[Odd], Any, dict[str, Any], Mapping[str, object], dict, complex]
)
def test_what_would_not_come_back_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match="Valkey"):
        Codec(kind, "load")


def test_records_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match="load"):
        Codec(Leaf | Tree, "load")


def test_bytes_of_another_type_are_refused_on_reading() -> None:
    data = Codec(Leaf, "load").encode(Leaf((Mood.CALM,)))
    with pytest.raises(msgspec.DecodeError):
        Codec(int, "load").decode(data)
    with pytest.raises(msgspec.DecodeError):
        Codec(Leaf, "load").decode(data[:-1])


def test_a_fingerprint_is_of_all_that_decides_what_bytes_mean() -> None:
    one = make_dataclass("Record", [("a", int), ("b", str)])
    kinds = [
        one,
        make_dataclass("Record", [("a", int)]),
        make_dataclass("Record", [("a", float), ("b", str)]),
        make_dataclass("Record", [("a", int), ("c", str)]),
        make_dataclass("Record", [("a", int), ("b", str, "x")]),
        list[one],
        StrEnum("Record", {"A": "a"}),
        StrEnum("Record", {"A": "a", "B": "b"}),
    ]
    fingerprints = {Codec(kind, "load").fingerprint for kind in kinds}
    assert len(fingerprints) == len(kinds)
    assert Codec(one | None, "load").fingerprint == Codec(one, "load").fingerprint


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    """Addresses and hash seeds differ; what a type means does not."""
    program = (
        "from poruwa.app.cache.codec import Codec; from weddinglk.domain import Venue;"
        "print(Codec(Venue, 'load').fingerprint)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {Codec(Venue, "load").fingerprint}


def test_a_function_has_to_say_what_it_returns() -> None:
    async def silent(a):  # type: ignore[no-untyped-def]
        return a

    async def unknown() -> Nowhere:  # type: ignore[name-defined]  # noqa: F821
        ...

    async def clear() -> Leaf | None: ...

    with pytest.raises(ConfigError, match="annotate it"):
        return_type(silent)
    with pytest.raises(ConfigError, match="Nowhere"):
        return_type(unknown)
    assert return_type(clear) == Leaf | None
