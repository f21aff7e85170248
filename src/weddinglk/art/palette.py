"""Colours that go together: the light of six hours of the island's day, and festive cloth."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Light:
    """The colours of one hour. ``is_dark`` brings out lamps and stars."""

    sky: tuple[str, str, str]  # from the zenith to the horizon
    sun: str
    far: str  # the most distant hills
    mid: str
    near: str
    leaf: str  # foliage in front
    trunk: str
    water: tuple[str, str]
    sand: tuple[str, str]
    wall: str
    is_dark: bool = False


DAWN = Light(
    ("#f6c9b3", "#f9dcc4", "#fff0dc"),
    "#fff6e2",
    "#d9b3a9",
    "#a9948f",
    "#6f7a6b",
    "#4c5f4f",
    "#6d5646",
    ("#f1cfc0", "#a9b8b5"),
    ("#f5dfc3", "#e2bf9b"),
    "#fbeee0",
)
MORNING = Light(
    ("#8cc7d2", "#c5e4e0", "#f3f3df"),
    "#fffbe8",
    "#a9cdc3",
    "#6ea596",
    "#3f7d69",
    "#2b5f4c",
    "#6b513d",
    ("#9fd6d4", "#2f8f96"),
    ("#f7e8cc", "#e6c99b"),
    "#fffaf0",
)
GOLDEN = Light(
    ("#f3a65a", "#f8c77e", "#fdebbd"),
    "#fff4cf",
    "#dda06a",
    "#b27444",
    "#6e5a33",
    "#4b4a26",
    "#573a26",
    ("#f7c987", "#c2774a"),
    ("#f6d79f", "#d9a465"),
    "#fff1d6",
)
DUSK = Light(
    ("#4b2c5e", "#b1517a", "#f5a97c"),
    "#ffd9a0",
    "#8d4a74",
    "#5f3260",
    "#3c2148",
    "#2c1836",
    "#1f1128",
    ("#d97f7d", "#5b3263"),
    ("#c98a7c", "#7d4a60"),
    "#f6d8c2",
    True,
)
NIGHT = Light(
    ("#10193a", "#253166", "#5d5793"),
    "#f4ecd0",
    "#353a72",
    "#232a57",
    "#161c40",
    "#101632",
    "#0b1026",
    ("#4a5290", "#141b42"),
    ("#6b6794", "#3b3a66"),
    "#e9dcc9",
    True,
)
RAIN = Light(
    ("#a9c4bd", "#cddcd0", "#eef0e0"),
    "#ffffff",
    "#a8c2b4",
    "#74998a",
    "#48735f",
    "#2f5947",
    "#5c4a3a",
    ("#bcd3cb", "#5f8f86"),
    ("#e9e2c9", "#c7b892"),
    "#f8f5e8",
)
LIGHTS = (DAWN, MORNING, GOLDEN, DUSK, NIGHT, RAIN)


@dataclass(frozen=True, slots=True)
class Festive:
    """Cloth, trim and flowers of one wedding."""

    cloth: str
    shade: str  # the folds of the cloth
    trim: str
    flowers: tuple[str, str]


FESTIVE = (
    Festive("#8e1f3c", "#6a1430", "#e0b04f", ("#ffd9dc", "#f4f0e2")),
    Festive("#fff3dc", "#ecd4ae", "#cf9b3c", ("#f2a7a0", "#ffffff")),
    Festive("#f3b9b4", "#df928f", "#d9a441", ("#fff4ea", "#c94f6d")),
    Festive("#d98324", "#b5621a", "#ffe1a1", ("#ffb52e", "#ffffff")),
    Festive("#0f6b66", "#0a4d4b", "#e3bb62", ("#ffe3b8", "#ffffff")),
    Festive("#6b3a7d", "#4e285d", "#e6c06a", ("#e7c3ee", "#ffffff")),
)
