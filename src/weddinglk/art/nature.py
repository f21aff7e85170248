"""Skies, hills, water, palms and lamps: what several scenes share."""

from __future__ import annotations

from itertools import pairwise
from math import cos, pi, sin

from weddinglk.art.canvas import Canvas, short
from weddinglk.art.palette import Festive, Light


def sky(
    canvas: Canvas, light: Light, sun_x: float, sun_y: float, horizon: float | None = None
) -> None:
    """Fill the sheet down to ``horizon`` with sky, sun or moon and glow, clouds or stars."""
    canvas.rect(0, 0, canvas.width, horizon or canvas.height, canvas.vertical(*light.sky))
    canvas.circle(sun_x, sun_y, 110, canvas.glow(light.sun, 0.7))
    canvas.circle(sun_x, sun_y, canvas.between(17, 27), light.sun)
    if light.is_dark:
        stars = "".join(
            f"M{canvas.random.randint(5, canvas.width - 5)} {canvas.random.randint(5, 110)}h0"
            for _ in range(14)
        )
        canvas.line(stars, "#fff6dc", 1.6, ' stroke-linecap="round" opacity=".8"')
        return
    for _ in range(2):
        x, y, size = canvas.between(40, 440), canvas.between(30, 85), canvas.between(28, 52)
        canvas.path(
            f"M{short(x)} {short(y)}q{short(size * 0.3)}-18 {short(size)}-9q{short(size)}-12 "
            f"{short(size * 1.2)} 9z",
            "#fff",
            ' opacity=".5"',
        )
    if canvas.random.random() < 0.5:
        x, y = canvas.between(120, 360), canvas.between(40, 90)
        bird = "q5-6 9 0q5-6 9 0"
        canvas.line(
            f"M{short(x)} {short(y)}{bird}M{short(x + 26)} {short(y + 9)}{bird}",
            light.near,
            1.6,
            ' stroke-linecap="round" opacity=".7"',
        )


def ridge(canvas: Canvas, y: float, height: float, colour: str, steps: int = 4) -> str:
    """Put down a line of hills whose foot is below ``y``; return the crest's path."""
    step = canvas.width / steps
    d, x = f"M0 {short(y - canvas.between(0, height))}", 0.0
    for _ in range(steps):
        x += step
        peak, end = y - canvas.between(0, height * 1.5), y - canvas.between(0, height)
        d += f"Q{short(x - step / 2)} {short(peak)} {short(x)} {short(end)}"
    canvas.path(f"{d}V{canvas.height}H0z", colour)
    return d


def water(canvas: Canvas, y: float, light: Light, sun_x: float) -> None:
    """Put down water from ``y`` to the bottom, with the light's path on it."""
    canvas.rect(0, y, canvas.width, canvas.height - y, canvas.vertical(*light.water))
    for row in range(6):
        top = y + 5 + row * row * 2.2
        half = 10 + row * 7 + canvas.between(0, 8)
        canvas.line(
            f"M{short(sun_x - half)} {short(top)}H{short(sun_x + half)}",
            light.sun,
            2,
            ' stroke-linecap="round" opacity=".6"',
        )
    for _ in range(5):
        x, top = canvas.between(0, 430), canvas.between(y + 8, y + 60)
        canvas.line(
            f"M{short(x)} {short(top)}h{short(canvas.between(14, 46))}",
            "#fff",
            1.2,
            ' stroke-linecap="round" opacity=".45"',
        )


def define_palm(canvas: Canvas, light: Light) -> None:
    """Define ``p``: a coconut palm 130 high, its foot at the origin, leaning to the right."""
    frond = "M0 0Q28-28 60 6Q28-13 0 0"
    side = "".join(f'<path d="{frond}" transform="rotate({a})"/>' for a in (-62, -34, -6, 26))
    canvas.define(
        f'<g id="p"><path d="M-4 0Q6-60 26-124l5 2Q13-58 5 0z" fill="{light.trunk}"/>'
        f'<g transform="translate(28 -123)" fill="{light.leaf}"><g id="q">{side}</g>'
        f'<use href="#q" transform="scale(-1 1)"/></g>'
        f'<circle cx="25" cy="-118" r="4" fill="{light.trunk}"/>'
        f'<circle cx="33" cy="-117" r="4" fill="{light.trunk}"/></g>'
    )


def palm(canvas: Canvas, x: float, y: float, scale: float, *, to_left: bool = False) -> None:
    """Put a defined palm down."""
    across = f"{'-' if to_left else ''}{scale:.2f}"
    canvas.raw(
        f'<use href="#p" transform="translate({short(x)} {short(y)}) scale({across} {scale:.2f})"/>'
    )


def define_flower(canvas: Canvas, petals: str, heart: str = "#f3c14b") -> None:
    """Define ``f``: a frangipani of five petals, 20 across, its middle at the origin."""
    around = "".join(
        f'<path d="M0 0C-6-3-5-10 0-10 5-10 5-3 0 0" transform="rotate({angle})"/>'
        for angle in (0, 72, 144, 216, 288)
    )
    canvas.define(f'<g id="f"><g fill="{petals}">{around}</g><circle r="2.4" fill="{heart}"/></g>')


def tree(canvas: Canvas, x: float, y: float, size: float, light: Light) -> None:
    """Put down a broad shade tree with its foot at ``(x, y)``."""
    canvas.path(
        f"M{short(x - 3)} {short(y)}l2-{short(size * 0.6)}h3l2 {short(size * 0.6)}z", light.trunk
    )
    for dx, dy, r in ((-0.36, 0.72, 0.34), (0.34, 0.72, 0.36), (0, 0.98, 0.42)):
        canvas.circle(x + dx * size, y - dy * size, r * size, light.leaf)
    canvas.circle(x - 0.1 * size, y - 1.08 * size, 0.24 * size, light.near, ' opacity=".7"')


def string_lights(
    canvas: Canvas, points: list[tuple[float, float]], sag: float, colour: str, size: float = 4
) -> None:
    """Hang beads from point to point, with a glow under the strings' thread."""
    d = f"M{short(points[0][0])} {short(points[0][1])}"
    for (x0, y0), (x1, y1) in pairwise(points):
        d += f"Q{short((x0 + x1) / 2)} {short((y0 + y1) / 2 + sag)} {short(x1)} {short(y1)}"
    canvas.line(d, "#00000040", 1)
    canvas.beads(d, colour, size * 2.4, 13, 0.25)
    canvas.beads(d, colour, size, 13)


def canopy(canvas: Canvas, x: float, y: float, scale: float, festive: Festive) -> None:
    """Put down a poruwa: steps, pillars with garlands, a curved canopy, drapes; 150 by 150."""
    cloth, shade, trim = festive.cloth, festive.shade, festive.trim
    bloom, white = festive.flowers
    canvas.group(f'transform="translate({short(x)} {short(y)}) scale({scale:.2f})"')
    canvas.ellipse(0, 0, 92, 9, "#000", ' opacity=".16"')
    canvas.rect(-78, -9, 156, 10, trim, ' rx="2"')
    canvas.rect(-66, -19, 132, 11, white, ' rx="2"')
    canvas.beads("M-62-13.5H64", bloom, 5, 9)
    canvas.path("M-58-19V-108H58V-19Q40-60 40-96H-40Q-40-60-58-19z", shade)
    canvas.path("M-58-108Q-30-96-46-19H-60z M58-108Q30-96 46-19H60z", cloth)
    for side in (-1, 1):
        canvas.rect(side * 58 - 4, -112, 8, 94, trim)
        canvas.beads(f"M{side * 58}-108V-20", white, 9, 7)
        canvas.circle(side * 58, -22, 8, bloom)
    canvas.path("M-74-106Q-62-112-50-126Q-24-138 0-158Q24-138 50-126Q62-112 74-106z", cloth)
    canvas.line("M-72-107Q-62-112-50-126Q-24-138 0-158Q24-138 50-126Q62-112 72-107", trim, 3.5)
    canvas.beads("M-60-106q15 22 30 0q15 22 30 0q15 22 30 0q15 22 30 0", bloom, 7, 7)
    canvas.beads("M-72-105H74", white, 6, 8)
    canvas.circle(0, -160, 5, trim)
    canvas.end()


def define_lantern(canvas: Canvas, festive: Festive) -> None:
    """Define ``n``: a paper lantern with its glow, hanging from the origin by its thread."""
    canvas.define(
        f'<g id="n"><path d="M0-99V0" stroke="#00000055"/>'
        f'<circle cy="9" r="26" fill="{canvas.glow("#ffd98a", 0.7)}"/>'
        f'<path d="M0 0l9 9-9 11-9-11z" fill="#ffdf9b"/>'
        f'<path d="M0 0l3 9-3 11-3-11z" fill="{festive.cloth}" opacity=".55"/>'
        f'<path d="M0 20v7" stroke="{festive.trim}" stroke-width="2"/></g>'
    )


def rosette(canvas: Canvas, x: float, y: float, radius: float, colour: str, opacity: float) -> None:
    """Put down a ring of petals like those carved in moonstones."""
    count = 16
    petals = ""
    for index in range(count):
        a, b, c = (2 * pi * (index + part) / count for part in (-0.5, 0, 0.5))
        inner, outer = radius * 0.62, radius * 1.12
        start = f"M{x + inner * cos(a):.0f} {y + inner * sin(a):.0f}" if index == 0 else ""
        petals += (
            f"{start}Q{x + outer * cos(b):.0f} {y + outer * sin(b):.0f} "
            f"{x + inner * cos(c):.0f} {y + inner * sin(c):.0f}"
        )
    faded = f' opacity="{opacity:.2f}"'
    canvas.line(petals, colour, 1.6, faded)
    canvas.circle(x, y, radius * 0.56, "none", f' stroke="{colour}" stroke-width="1.6"{faded}')
    canvas.circle(
        x,
        y,
        radius * 0.48,
        "none",
        f' stroke="{colour}" stroke-width="3" stroke-dasharray="0 7" stroke-linecap="round"{faded}',
    )
