"""The wide picture on the front page: a lagoon at the golden hour, palms and a lit poruwa."""

from __future__ import annotations

from weddinglk.art import nature
from weddinglk.art.canvas import Canvas, short
from weddinglk.art.palette import Festive, Light

WIDTH, HEIGHT = 1440, 640
LIGHT = Light(
    ("#37203f", "#9c3f5f", "#f7b27a"),
    "#ffe6b0",
    "#9a5670",
    "#6d3355",
    "#4a1f3d",
    "#260f22",
    "#1f0c1b",
    ("#e59a80", "#57294f"),
    ("#8a4f55", "#3a1a30"),
    "#f6d8c2",
    True,
)
FESTIVE = Festive("#9a2243", "#6a1430", "#e9bd62", ("#ffd7d3", "#fff6e6"))


def lagoon() -> str:
    """Return the picture; it has no variants."""
    canvas = Canvas("lagoon", WIDTH, HEIGHT)
    nature.sky(canvas, LIGHT, 985, 300, 392)
    nature.ridge(canvas, 372, 70, LIGHT.far, 5)
    nature.ridge(canvas, 388, 40, LIGHT.mid, 7)
    nature.water(canvas, 386, LIGHT, 985)
    canvas.path("M0 520Q360 470 760 512T1440 486V640H0z", canvas.vertical(*LIGHT.sand))
    canvas.path(
        "M1040 560Q1010 590 970 640H1270Q1230 590 1200 560z", FESTIVE.flowers[1], ' opacity=".35"'
    )
    canvas.circle(1120, 470, 230, canvas.glow("#ffd98c", 0.6))
    nature.canopy(canvas, 1120, 566, 1.9, FESTIVE)
    for side in (-1, 1):
        for step in range(4):
            x, y = 1120 + side * (118 + step * 34), 574 + step * 19
            canvas.circle(x, y - 12, 26, canvas.glow("#ffd98c", 0.8))
            canvas.path(f"M{short(x)} {short(y - 18)}q-6 9 0 14q6-5 0-14", "#fff1bd")
            canvas.ellipse(x, y, 10, 4, FESTIVE.trim)
    nature.string_lights(
        canvas, [(690, 250), (960, 216), (1280, 216), (1440, 240)], 60, "#ffe8b4", 5
    )
    nature.define_palm(canvas, LIGHT)
    for x, y, size, to_left in (
        (1430, 640, 3.5, True),
        (1352, 590, 2.2, True),
        (690, 560, 2.4, False),
        (30, 640, 3.1, False),
        (800, 540, 1.5, False),
    ):
        nature.palm(canvas, x, y, size, to_left=to_left)
    canvas.path("M0 640V590Q120 560 220 610T420 640zM1440 640V600Q1300 580 1200 640z", LIGHT.leaf)
    return canvas.finished()
