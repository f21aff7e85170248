"""A second composition for each category of vendor, so that a page of one trade is no wallpaper."""

from __future__ import annotations

from weddinglk.art import nature
from weddinglk.art.canvas import WIDTH, Canvas, short
from weddinglk.art.palette import LIGHTS, Festive, Light
from weddinglk.art.vendors import BRASS, define_lotus, room


def prints(canvas: Canvas, light: Light, festive: Festive) -> None:
    """Prints of many hours of the day, pegged to two strings."""
    room(canvas, festive, table=False)
    start = canvas.random.randrange(len(LIGHTS))
    for row, (top, count) in enumerate(((34, 4), (168, 3))):
        canvas.line(f"M-4 {top}Q240 {top + 34} 484 {top}", festive.trim, 2)
        for index in range(count):
            hour = LIGHTS[(start + index + 4 * row) % len(LIGHTS)]
            x = WIDTH * (index + 0.5) / count
            y = top + 26 - abs(x - 240) / 14
            turn = canvas.random.randint(-7, 7)
            canvas.group(f'transform="translate({short(x)} {short(y)}) rotate({turn})"')
            canvas.rect(-44, -6, 88, 100, "#fffdf6")
            canvas.rect(-37, 1, 74, 70, canvas.vertical(*hour.sky))
            canvas.circle(canvas.between(-22, 22), canvas.between(16, 34), 9, hour.sun)
            canvas.path("M-37 71V52Q-14 30 6 50T37 44V71z", hour.near)
            canvas.rect(-3, -12, 6, 13, festive.cloth)
            canvas.end()


def buffet(canvas: Canvas, light: Light, festive: Festive) -> None:
    """Domed dishes over small flames, king coconuts and plates."""
    room(canvas, festive)
    canvas.rect(0, 244, WIDTH, 76, festive.flowers[1])
    canvas.line(
        "M0 252q30 40 60 0q30 40 60 0q30 40 60 0q30 40 60 0q30 40 60 0q30 40 60 0q30 40 60 0"
        "q30 40 60 0",
        festive.cloth,
        4,
    )
    brass = canvas.vertical(*BRASS)
    for x in (104, 240, 376):
        canvas.rect(x - 50, 208, 100, 16, brass, ' rx="4"')
        canvas.path(
            f"M{x - 40} 224v20M{x + 40} 224v20", "none", f' stroke="{BRASS[1]}" stroke-width="5"'
        )
        canvas.path(f"M{x - 50} 206A50 56 0 0 1 {x + 50} 206z", brass)
        canvas.path(
            f"M{x - 34} 196Q{x - 28} 168 {x - 4} 160",
            "none",
            ' stroke="#fff" stroke-width="4" opacity=".6" stroke-linecap="round"',
        )
        canvas.circle(x, 147, 6, BRASS[1])
        canvas.path(f"M{x} 228q-6 8 0 15q6-7 0-15", "#f08a2c")
    for x, y in ((172, 240), (312, 240), (192, 246), (292, 246)):
        canvas.ellipse(x, y - 22, 18, 23, canvas.choice(("#e08a2a", "#d97b1f", "#e9a13b")))
        canvas.path(f"M{x - 7} {y - 43}h14l3 6h-20z", "#7d5a2a")
    canvas.beads("M30 40Q240 110 450 40", festive.flowers[0], 9, 10)


def arch(canvas: Canvas, light: Light, festive: Festive) -> None:
    """An arch of flowers over a carpet, pots at its feet, lights above."""
    nature.sky(canvas, light, canvas.between(90, 390), canvas.between(60, 120))
    nature.ridge(canvas, 214, 26, light.mid, 5)
    canvas.rect(0, 226, WIDTH, 94, canvas.vertical(light.mid, light.near))
    canvas.path("M206 250L150 320H330L274 250z", festive.cloth)
    nature.define_flower(canvas, festive.flowers[0])
    span = "M146 258V150A94 94 0 0 1 334 150V258"
    canvas.line(span, light.leaf, 26)
    canvas.beads(span, light.near, 18, 15)
    canvas.beads(span, festive.flowers[1], 13, 17)
    canvas.beads("M134 250V150A106 106 0 0 1 346 150V250", festive.flowers[0], 11, 21)
    for angle in range(10):
        canvas.use(
            "f",
            canvas.between(136, 158) if angle % 2 else canvas.between(322, 346),
            canvas.between(120, 250),
            1.2,
        )
    for x in (146, 334):
        canvas.path(f"M{x - 24} 250h48l-8 40h-32z", canvas.vertical(*BRASS))
    canvas.path(
        "M158 240Q200 190 196 66Q150 90 158 240zM322 240Q280 190 284 66Q330 90 322 240z",
        festive.flowers[1],
        ' opacity=".75"',
    )
    nature.string_lights(canvas, [(0, 40), (240, 26), (480, 40)], 40, "#fff0c2")


def garlands(canvas: Canvas, light: Light, festive: Festive) -> None:
    """Garlands on a rail, as the flower sellers hang them, and a basket of lotus."""
    room(canvas, festive)
    canvas.rect(0, 22, WIDTH, 7, BRASS[1])
    tones = (*festive.flowers, "#ff9f1c", festive.cloth, "#fffdf5", "#f2c230")
    for x in range(34, 470, 46):
        depth = canvas.between(96, 190)
        d = f"M{x - 12} 28Q{x - 16} {short(depth + 40)} {x} {short(depth + 40)}T{x + 12} 28"
        canvas.beads(d, canvas.choice(tones), 14, 10)
        canvas.beads(d, canvas.choice(tones), 7, 20)
    define_lotus(canvas, canvas.choice(("#e58aa3", "#f3b3c1", "#d75f86")), festive.flowers[0])
    for x in (176, 304, 214, 266, 240):
        canvas.use("l", x, canvas.between(232, 246), 1.1)
    canvas.path("M150 244H330Q322 300 280 300H200Q158 300 150 244z", "#a8713d")
    canvas.beads("M156 258H330M162 274H322M176 290H306", "#d6a468", 8, 11)


def twin_drums(canvas: Canvas, light: Light, festive: Festive) -> None:
    """Thammattama drums, a horanewa and cymbals."""
    room(canvas, festive)
    canvas.line("M96 232L356 84", "#7d4a25", 10, ' stroke-linecap="round"')
    canvas.beads("M150 201L330 98", BRASS[0], 6, 22)
    canvas.path("M344 80L404 30Q420 62 396 104z", canvas.vertical(*BRASS))
    for x in (176, 300):
        canvas.path(f"M{x - 62} 208Q{x - 58} 296 {x} 300Q{x + 58} 296 {x + 62} 208z", festive.cloth)
        canvas.line(f"M{x - 60} 214l20 60 22-58 18 70 18-70 22 58 20-60", festive.trim, 3)
        canvas.ellipse(x, 208, 63, 17, "#7d4a25")
        canvas.ellipse(x, 206, 56, 13, "#f7ead0")
        canvas.ellipse(x, 206, 22, 5, "#d9bf94")
    canvas.line("M120 150L172 200M356 150L306 200", "#8a5a33", 5, ' stroke-linecap="round"')
    for x, y in ((62, 276), (418, 272)):
        canvas.ellipse(x, y, 40, 14, canvas.vertical(*BRASS))
        canvas.ellipse(x, y - 3, 13, 6, BRASS[0], f' stroke="{BRASS[1]}"')
    canvas.beads("M0 34Q240 90 480 34", festive.flowers[0], 9, 11)


def sarees(canvas: Canvas, light: Light, festive: Festive) -> None:
    """Sarees over a rail, bangles and a comb of jasmine."""
    room(canvas, festive)
    canvas.line("M40 60H440M62 60V290M418 60V290", BRASS[1], 6, ' stroke-linecap="round"')
    tones = [
        festive.cloth,
        festive.flowers[0],
        "#0f6b66",
        "#d98324",
        "#6b3a7d",
        "#fff3dc",
        "#8e1f3c",
    ]
    canvas.random.shuffle(tones)
    for index, x in enumerate(range(84, 370, 62)):
        foot = canvas.between(196, 238)
        canvas.path(
            f"M{x} 58H{x + 50}L{x + 54} {short(foot)}Q{x + 26} {short(foot + 14)} {x - 4} "
            f"{short(foot)}z",
            tones[index],
        )
        canvas.line(
            f"M{x + 12} 62L{x + 10} {short(foot)}M{x + 30} 62L{x + 32} {short(foot)}",
            "#00000022",
            4,
        )
        canvas.line(
            f"M{x - 4} {short(foot - 9)}Q{x + 26} {short(foot + 5)} {x + 54} {short(foot - 9)}",
            BRASS[0],
            6,
        )
        canvas.beads(f"M{x} {short(foot - 22)}H{x + 52}", BRASS[0], 4, 9)
    for x in (150, 164, 178, 312, 326):
        canvas.ellipse(x, 284, 20, 13, "none", f' stroke="{BRASS[0]}" stroke-width="5"')
    nature.define_flower(canvas, festive.flowers[1])
    for x in range(210, 290, 14):
        canvas.use("f", x, canvas.between(276, 288), 1.1)


def small_cakes(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A stand of small cakes on three floors."""
    room(canvas, festive)
    icing = (festive.flowers[0], "#fffaf0", "#f6d7a8", "#cfe3d2")
    canvas.define(
        '<g id="c"><path d="M-15 0h30l-5 22h-20z" fill="#a86c3f"/>'
        '<path d="M-8 2l2 18M0 2v18M8 2l-2 18" stroke="#00000030" stroke-width="2"/></g>'
    )
    canvas.rect(236, 66, 8, 220, BRASS[1])
    for y, half, count in ((280, 150, 7), (204, 108, 5), (132, 66, 3)):
        for index in range(count):
            x = 240 + (index - (count - 1) / 2) * (half * 2 / count)
            tone = canvas.choice(icing)
            canvas.use("c", x, y - 24)
            canvas.path(f"M{short(x - 18)} {y - 22}q0-15 12-15q6-15 12 0q12 0 12 15z", tone)
            canvas.circle(x, y - 44, 4, festive.cloth)
        canvas.ellipse(240, y + 2, half, 8, canvas.vertical(*BRASS))
    nature.define_flower(canvas, festive.flowers[1])
    for dx in (-12, 0, 12):
        canvas.use("f", 240 + dx, 74 - (dx == 0) * 12, 1.7)
    for _ in range(7):
        canvas.use("f", canvas.between(20, 460), canvas.between(294, 312), 0.8)


def three_wheeler(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A three-wheeler dressed for the couple, flags and flowers on it."""
    nature.sky(canvas, light, canvas.between(70, 410), canvas.between(56, 110))
    nature.ridge(canvas, 204, 34, light.far)
    nature.define_palm(canvas, light)
    for x in (40, 440):
        nature.palm(canvas, x + canvas.between(-24, 24), 252, 1.2, to_left=x > 300)
    canvas.rect(0, 244, WIDTH, 76, canvas.vertical(light.sand[1], light.sand[0]))
    body = canvas.choice(("#8e1f3c", "#0f6b66", "#e0b04f", "#2b5f8a", "#f6ead2"))
    canvas.ellipse(240, 296, 140, 10, "#000", ' opacity=".25"')
    canvas.path(
        "M138 268V150Q140 112 184 108H300Q322 110 334 150L352 206Q366 216 366 240V268z",
        canvas.choice(("#231c1e", "#3a2a22")),
    )
    canvas.path("M136 268V214H250V226H302V204H354Q368 216 368 240V268z", body)
    canvas.path("M156 204V152Q158 136 176 136H232V204z", canvas.vertical(*light.sky))
    canvas.path("M304 204L290 136H300Q312 138 320 156L336 204z", canvas.vertical(*light.sky))
    canvas.rect(250, 196, 42, 30, festive.cloth, ' rx="5"')
    for x, r in ((182, 25), (336, 24)):
        canvas.circle(x, 272, r, "#1c1719")
        canvas.circle(x, 272, r * 0.5, "#e9e0d0")
    canvas.circle(362, 224, 8, "#fff6d8", f' stroke="{festive.trim}" stroke-width="3"')
    canvas.beads(
        "M140 116Q170 148 204 116Q238 148 272 116Q304 148 330 130", festive.flowers[0], 9, 9
    )
    canvas.beads("M138 216H250M304 208H352", festive.flowers[1], 8, 11)
    for index in range(6):
        x = 36 + index * 82
        canvas.path(
            f"M{x} {30 + 12 * (index % 2)}h22l-11 26z", (festive.cloth, festive.trim)[index % 2]
        )
    canvas.line("M0 30Q240 46 480 30", "#00000055", 1.4)


def tray(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A tray with betel, two rings and a conch, between small lamps."""
    room(canvas, festive)
    canvas.ellipse(240, 272, 168, 34, canvas.vertical(*BRASS))
    canvas.ellipse(240, 266, 150, 26, "#c98f35")
    leaf = "M0 0Q-30-20-24-50Q-8-54 0-76Q8-54 24-50Q30-20 0 0"
    for angle in range(-75, 76, 25):
        canvas.path(
            leaf,
            "#3f7f45" if angle % 50 else "#5c9a57",
            f' transform="translate(240 258) rotate({angle}) scale(1.25)"',
        )
    nature.define_flower(canvas, festive.flowers[1])
    for x in range(156, 330, 24):
        canvas.use("f", x, canvas.between(254, 280), 1.2)
    for x in (226, 256):
        canvas.ellipse(x, 232, 21, 25, "none", f' stroke="{BRASS[0]}" stroke-width="7"')
    canvas.path("M240 198l8 9-8 12-8-12z", "#eaf7ff")
    for x in (74, 406):
        canvas.circle(x, 214, 58, canvas.glow("#ffd772", 0.7))
        canvas.path(f"M{x - 34} 246Q{x} 276 {x + 34} 246z", "#a9582f")
        canvas.path(f"M{x} 200q-14 22 0 44q14-22 0-44", "#ffe7a3")
        canvas.path(f"M{x} 220q-6 11 0 22q6-11 0-22", "#f08a2c")
    canvas.beads("M40 20Q60 110 130 150M440 20Q420 110 350 150", festive.flowers[0], 9, 10)
