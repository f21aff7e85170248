"""One scene for each style of venue: on a canvas, in an hour's light, with festive cloth."""

from __future__ import annotations

from weddinglk.art import nature
from weddinglk.art.canvas import HEIGHT, WIDTH, Canvas, short
from weddinglk.art.palette import FESTIVE, Festive, Light


def beach(canvas: Canvas, light: Light, festive: Festive) -> None:
    """Sea, sand, leaning palms and a canopy by the water."""
    sun_x, horizon = canvas.between(90, 400), canvas.between(158, 184)
    nature.sky(canvas, light, sun_x, horizon - canvas.between(16, 80))
    if canvas.random.random() < 0.6:
        nature.ridge(canvas, horizon + 4, 26, light.far, 3)
    nature.water(canvas, horizon, light, sun_x)
    if canvas.random.random() < 0.6:
        _outrigger(canvas, canvas.between(60, 420), horizon + 14, light, festive)
    shore = canvas.between(222, 240)
    for lift, colour in ((-7, "#ffffff"), (0, canvas.vertical(*light.sand))):
        canvas.path(
            f"M0 {short(shore + lift + 12)}Q130 {short(shore + lift - 14)} 250 "
            f"{short(shore + lift)}T{WIDTH} {short(shore + lift - 8)}V{HEIGHT}H0z",
            colour,
            ' opacity=".75"' if lift else "",
        )
    x = canvas.between(190, 330)
    canvas.path(
        f"M{short(x - 16)} 284L{short(x - 40)} {HEIGHT}H{short(x + 40)}L{short(x + 16)} 284z",
        festive.flowers[1],
        ' opacity=".7"',
    )
    nature.canopy(canvas, x, 284, canvas.between(0.82, 1.02), festive)
    for side in (-1, 1):
        canvas.beads(
            f"M{short(x + side * 46)} 292L{short(x + side * 76)} 316", festive.flowers[0], 7, 8
        )
    nature.define_palm(canvas, light)
    nature.palm(canvas, canvas.between(24, 70), 300, canvas.between(1.35, 1.8))
    nature.palm(canvas, canvas.between(80, 120), 292, canvas.between(0.9, 1.2))
    if canvas.random.random() < 0.65:
        nature.palm(canvas, canvas.between(425, 470), 298, canvas.between(1.2, 1.6), to_left=True)


def garden(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A lawn under trees, a canopy at the end of a path, chairs and strings of lights."""
    sun_x = canvas.between(70, 420)
    nature.sky(canvas, light, sun_x, canvas.between(60, 110))
    nature.ridge(canvas, 186, 30, light.far)
    nature.ridge(canvas, 204, 18, light.mid, 6)
    canvas.rect(0, 204, WIDTH, 116, canvas.vertical(light.mid, light.near))
    middle = canvas.between(210, 290)
    for x in (canvas.between(20, 60), canvas.between(95, 130)):
        nature.tree(canvas, x, 222, canvas.between(62, 92), light)
    for x in (canvas.between(365, 400), canvas.between(425, 465)):
        nature.tree(canvas, x, 222, canvas.between(62, 96), light)
    canvas.path(
        f"M{short(middle - 22)} 238L{short(middle - 74)} {HEIGHT}H{short(middle + 74)}"
        f"L{short(middle + 22)} 238z",
        light.sand[0],
    )
    nature.canopy(canvas, middle, 242, canvas.between(0.86, 1.04), festive)
    for row in range(3):
        y, gap = 262 + row * 20, 44 + row * 16
        for side in (-1, 1):
            start = middle + side * gap
            canvas.beads(
                f"M{short(start)} {y}H{short(start + side * (70 + row * 30))}",
                festive.flowers[1],
                10 + row * 2,
                17 + row * 4,
            )
        canvas.circle(middle - gap + 6, y, 5 + row, festive.flowers[0])
        canvas.circle(middle + gap - 6, y, 5 + row, festive.flowers[0])
    glow = "#ffe2a0" if light.is_dark else "#fff7dd"
    nature.string_lights(canvas, [(0, 70), (150, 56), (330, 62), (480, 48)], 46, glow)


def ballroom(canvas: Canvas, light: Light, festive: Festive) -> None:
    """Tall windows, a chandelier, drapes and round tables on a gleaming floor."""
    deep = canvas.random.random() < 0.5
    wall = (festive.shade, festive.cloth) if deep else ("#f3e3c8", "#fff6e6")
    canvas.rect(0, 0, WIDTH, 214, canvas.vertical(*wall))
    canvas.rect(0, 214, WIDTH, 106, canvas.vertical(light.sand[1], light.trunk))
    count = canvas.random.choice((3, 4, 5))
    step = WIDTH / count
    window = canvas.vertical(*light.sky)
    for index in range(count):
        x = step * (index + 0.5)
        canvas.path(
            f"M{short(x - 25)} 200V98a25 28 0 0 1 50 0V200z",
            window,
            f' stroke="{festive.trim}" stroke-width="3"',
        )
        canvas.line(f"M{short(x)} 72V200M{short(x - 24)} 122h48", festive.trim, 1.4)
        if index:
            canvas.rect(step * index - 5, 46, 10, 168, "#fff6e6", ' opacity=".45"')
    canvas.path(
        "M0 0H480V22Q420 74 360 24Q300 78 240 26Q180 78 120 24Q60 74 0 22z",
        festive.cloth if not deep else festive.flowers[1],
    )
    canvas.beads("M0 24Q60 76 120 26Q180 80 240 28Q300 80 360 26Q420 76 480 24", festive.trim, 5, 8)
    _chandelier(canvas, canvas.between(205, 275), canvas.between(48, 66), festive)
    pale, dark = FESTIVE[1], FESTIVE[0]
    stage = festive if not deep else (dark if festive is pale else pale)  # stands out of the wall
    nature.canopy(canvas, 240, 232, 0.72, stage)
    canvas.ellipse(240, 262, 170, 16, "#fff", ' opacity=".12"')
    _define_table(canvas, festive)
    for x, y, size in ((78, 262, 1.0), (402, 262, 1.0), (160, 296, 1.25), (330, 300, 1.25)):
        canvas.use("t", x + canvas.between(-14, 14), y, size)


def colonial(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A house of the old coast towns: tiled roof, columns, fanlights, a lawn before it."""
    nature.sky(canvas, light, canvas.between(60, 420), canvas.between(46, 100))
    nature.define_palm(canvas, light)
    nature.palm(canvas, canvas.between(50, 90), 238, canvas.between(1.1, 1.5))
    nature.palm(canvas, canvas.between(390, 430), 238, canvas.between(1.2, 1.5), to_left=True)
    nature.ridge(canvas, 214, 24, light.mid, 7)
    roof = canvas.choice(("#b4593a", "#9c4a34", "#a8663f", "#8a4a3b"))
    if canvas.random.random() < 0.6:
        canvas.path("M150 106L176 66H304L330 106z", roof)
        canvas.rect(166, 104, 148, 30, light.wall)
        for x in range(182, 305, 26):
            canvas.rect(x, 108, 12, 20, light.near, ' opacity=".75"')
    canvas.path("M70 172L112 124H368L410 172z", roof)
    canvas.beads("M84 160H400M98 146H386M110 133H374", "#00000030", 3, 7)
    canvas.rect(88, 170, 304, 72, light.wall)
    canvas.rect(78, 168, 324, 7, festive.trim)
    for x in range(116, 380, 42):
        canvas.path(f"M{x} 240V200a10 12 0 0 1 20 0v40z", light.near)
        if light.is_dark:
            canvas.path(f"M{x + 2} 240V202a8 10 0 0 1 16 0v38z", "#ffd88a", ' opacity=".85"')
    for x in range(92, 400, 42):
        canvas.rect(x, 174, 8, 68, "#fff", ' opacity=".92"')
    canvas.rect(64, 240, 352, 8, light.sand[0])
    canvas.rect(0, 247, WIDTH, 73, canvas.vertical(light.mid, light.near))
    canvas.path("M212 247L150 320H330L268 247z", light.sand[0])
    canvas.beads("M80 178q21 20 42 0t42 0t42 0t42 0t42 0t42 0t42 0", festive.flowers[0], 6, 7)
    for side in (-1, 1):
        canvas.beads(f"M{240 + side * 34} 252L{240 + side * 88} 314", festive.flowers[1], 9, 12)
    nature.tree(canvas, canvas.between(20, 50), 270, canvas.between(50, 74), light)
    nature.tree(canvas, canvas.between(430, 462), 272, canvas.between(50, 80), light)


def estate(canvas: Canvas, light: Light, festive: Festive) -> None:
    """Hills behind hills, rows of tea, a bungalow and a canopy on the nearest slope."""
    nature.sky(canvas, light, canvas.between(70, 420), canvas.between(50, 110))
    nature.ridge(canvas, 150, 58, light.far, 3)
    canvas.rect(0, 118, WIDTH, 62, canvas.vertical("#ffffff00", "#ffffff66"))
    nature.ridge(canvas, 184, 40, light.mid, 3)
    x = canvas.between(70, 150)
    canvas.path(f"M{short(x - 30)} 162l10-16h44l10 16z", "#a4503a")
    canvas.rect(x - 24, 161, 52, 17, light.wall)
    for colour, y, height in ((light.near, 226, 30), (light.leaf, 276, 26)):
        crest = nature.ridge(canvas, y, height, colour, 2)
        for row in range(1, 6):
            canvas.group(f'transform="translate(0 {row * 11})"')
            canvas.beads(crest, light.mid, 7, 10 + row, 0.55)
            canvas.end()
    nature.canopy(canvas, canvas.between(270, 380), 268, canvas.between(0.72, 0.9), festive)
    nature.tree(canvas, canvas.between(20, 60), 286, canvas.between(66, 96), light)
    if light.is_dark or canvas.random.random() < 0.4:
        nature.string_lights(canvas, [(0, 150), (170, 176), (330, 150), (480, 172)], 34, "#ffe6ac")


def resort(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A lagoon with thatched pavilions on stilts, a boardwalk and lanterns."""
    sun_x = canvas.between(120, 380)
    nature.sky(canvas, light, sun_x, canvas.between(80, 140))
    nature.ridge(canvas, 176, 34, light.far)
    nature.ridge(canvas, 186, 14, light.mid, 8)
    nature.water(canvas, 184, light, sun_x)
    nature.define_palm(canvas, light)
    thatch = canvas.choice(("#8a6238", "#7a5233", "#9a7446"))
    _define_pavilion(canvas, thatch, light, festive)
    canvas.use("v", canvas.between(70, 110), 222, 0.8)
    canvas.use("v", canvas.between(360, 410), 218, 0.72)
    canvas.path("M226 320L236 214H252L286 320z", light.trunk, ' opacity=".9"')
    canvas.beads("M232 250h20M230 270h30M228 292h40", light.sand[0], 2, 5)
    canvas.use("v", canvas.between(225, 262), 246, 1.25)
    for side, x in ((1, -6), (-1, 486)):
        nature.palm(canvas, x + side * canvas.between(4, 26), 326, 1.7, to_left=side < 0)
    canvas.path("M0 320V292Q70 272 130 320zM480 320V286Q420 276 366 320z", light.leaf)
    nature.define_flower(canvas, festive.flowers[0])
    for _ in range(5):
        canvas.use("f", canvas.between(6, 100), canvas.between(296, 316), 0.7)
        canvas.use("f", canvas.between(390, 474), canvas.between(294, 316), 0.7)


def boutique(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A courtyard of arches around a pool, lanterns above, frangipani at the side."""
    canvas.rect(0, 0, WIDTH, HEIGHT, canvas.vertical(*light.sky))
    wall = canvas.choice((light.wall, "#e9c9a4", "#d8b7a0", "#c9d3c4"))
    canvas.rect(0, 62, WIDTH, 158, wall)
    canvas.rect(0, 54, WIDTH, 12, festive.trim)
    count = canvas.random.choice((3, 5))
    step, half = WIDTH / count, WIDTH / count * 0.34
    inside = canvas.vertical(festive.shade, light.near)
    for index in range(count):
        x = step * (index + 0.5)
        canvas.path(
            f"M{short(x - half)} 220V{short(112 + half * 0.4)}Q{short(x - half)} 92 {short(x)} 84"
            f"Q{short(x + half)} 92 {short(x + half)} {short(112 + half * 0.4)}V220z",
            inside,
            f' stroke="{festive.trim}" stroke-width="2.5"',
        )
        canvas.circle(x, 176, half * 1.1, canvas.glow("#ffd58a", 0.55))
    canvas.rect(0, 218, WIDTH, 102, canvas.vertical(light.sand[0], light.sand[1]))
    canvas.path(
        "M120 236H360L430 306H50z",
        canvas.vertical(*light.water),
        f' stroke="{light.wall}" stroke-width="5"',
    )
    nature.canopy(canvas, 240, 232, 0.78, festive)
    nature.define_flower(canvas, festive.flowers[1])
    for _ in range(6):
        canvas.use(
            "f", canvas.between(100, 380), canvas.between(254, 298), canvas.between(0.5, 0.8)
        )
    nature.define_lantern(canvas, festive)
    for x in range(40, 470, 80):
        canvas.use("n", x + canvas.between(-12, 12), canvas.between(24, 66))
    canvas.line(
        "M-6 300Q30 250 18 190Q14 150 44 116M20 200Q50 180 62 150",
        light.trunk,
        9,
        ' stroke-linecap="round"',
    )
    for _ in range(6):
        x, y = canvas.between(2, 84), canvas.between(88, 170)
        canvas.ellipse(
            x,
            y,
            17,
            7,
            light.leaf,
            f' transform="rotate({canvas.random.randint(-50, 50)} {short(x)} {short(y)})"',
        )
    for _ in range(6):
        canvas.use("f", canvas.between(8, 80), canvas.between(88, 165), 0.9)


def community(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A gabled hall with bunting and young coconut leaves, a kolam before the door."""
    nature.sky(canvas, light, canvas.between(60, 420), canvas.between(46, 90))
    nature.ridge(canvas, 206, 36, light.mid, 5)
    nature.define_palm(canvas, light)
    nature.palm(canvas, canvas.between(36, 70), 246, canvas.between(1.2, 1.5))
    nature.palm(canvas, canvas.between(410, 440), 246, canvas.between(1.1, 1.5), to_left=True)
    canvas.rect(0, 234, WIDTH, 86, canvas.vertical(light.sand[0], light.sand[1]))
    hall = canvas.choice((light.wall, "#f4d9b4", "#dfe5cf", "#f3cfc0"))
    canvas.rect(104, 138, 272, 104, hall)
    canvas.path("M84 142L240 70L396 142z", canvas.choice(("#a9503c", "#7d4a48", "#5d6a5a")))
    canvas.path("M134 138L240 90L346 138z", hall)
    nature.rosette(canvas, 240, 120, 15, festive.cloth, 1)
    windows = "".join(f"M{x} 166h24v34h-24z" for x in (128, 176, 284, 332))
    canvas.path(windows, canvas.vertical(*light.sky), f' stroke="{festive.trim}"')
    canvas.path("M212 242V176a28 26 0 0 1 56 0V242z", festive.shade)
    canvas.circle(240, 214, 40, canvas.glow("#ffdf9c", 0.8))
    canvas.path("M206 242V170a34 34 0 0 1 68 0V242h-7V172a27 27 0 0 0-54 0V242z", festive.cloth)
    canvas.beads("M209 242V172a31 31 0 0 1 62 0V242", festive.flowers[0], 8, 8)
    for index, d in enumerate(("M0 60Q120 132 240 74", "M240 74Q360 132 480 56")):
        canvas.line(d, "#00000055", 1)
        canvas.line(d, (festive.cloth, festive.trim)[index], 14, ' stroke-dasharray="9 11"')
        canvas.line(
            d,
            (festive.trim, festive.cloth)[index],
            14,
            ' stroke-dasharray="9 31" stroke-dashoffset="20"',
        )
    canvas.group('transform="matrix(1 0 0 .34 0 184)"')
    for radius in (62, 40):
        nature.rosette(canvas, 240, 292, radius, festive.cloth if radius > 50 else "#fff", 0.9)
    canvas.end()
    leaves = "".join(
        f'<path d="M0 0Q24-26 50-14Q24-12 0 0" transform="rotate({angle})"/>'
        for angle in (-80, -45, -10, 25)
    )
    canvas.define(
        f'<g id="k"><path d="M-2 0h4V58h-4z" fill="{light.trunk}"/>'
        f'<g fill="#a9b34c">{leaves}</g></g>'
    )
    for x in (88, 392):
        canvas.use("k", x, 204)


def _outrigger(canvas: Canvas, x: float, y: float, light: Light, festive: Festive) -> None:
    canvas.path(f"M{short(x - 24)} {short(y)}q24 12 50-2l-4 8q-22 6-42 0z", light.trunk)
    canvas.path(
        f"M{short(x)} {short(y)}V{short(y - 44)}q24 18 20 42z", festive.cloth, ' opacity=".85"'
    )


def _chandelier(canvas: Canvas, x: float, y: float, festive: Festive) -> None:
    canvas.line(f"M{short(x)} 0V{short(y)}", festive.trim, 2)
    canvas.circle(x, y + 18, 92, canvas.glow("#fff0c4", 0.75))
    for row, half in enumerate((46, 32, 18)):
        top = y + 8 + row * 15
        d = f"M{short(x - half)} {short(top)}q{half} 17 {2 * half} 0"
        canvas.line(d, festive.trim, 2)
        canvas.beads(d, "#fffdf0", 6, 9)
    canvas.line(
        f"M{short(x - 46)} {short(y + 8)}L{short(x)} {short(y - 12)}L{short(x + 46)} "
        f"{short(y + 8)}M{short(x)} {short(y - 12)}V{short(y + 58)}",
        festive.trim,
        1.4,
    )


def _define_table(canvas: Canvas, festive: Festive) -> None:
    canvas.define(
        f'<g id="t"><path d="M-38 0L-44 26Q0 38 44 26L38 0z" fill="{festive.flowers[1]}"/>'
        '<path d="M-20 8l-3 22M0 10v24M20 8l3 22" stroke="#00000018" stroke-width="2"/>'
        '<ellipse rx="38" ry="9" fill="#fffaf0"/>'
        f'<path d="M0 0V-18" stroke="{festive.trim}" stroke-width="4"/>'
        f'<path d="M-9-19Q0-30 9-19" fill="none" stroke="{festive.flowers[0]}" stroke-width="10" '
        'stroke-linecap="round" stroke-dasharray="0 7"/></g>'
    )


def _define_pavilion(canvas: Canvas, thatch: str, light: Light, festive: Festive) -> None:
    glow = canvas.glow("#ffdc94", 0.8 if light.is_dark else 0.4)
    canvas.define(
        f'<g id="v"><path d="M-34 0V22M34 0V22M-12 0V26M12 0V26M-46-1H46M-34-4V-46M34-4V-46" '
        f'stroke="{light.trunk}" stroke-width="5"/><circle cy="-24" r="40" fill="{glow}"/>'
        f'<path d="M-34-46Q-14-40-30-4H-36zM34-46Q14-40 30-4H36z" fill="{festive.cloth}"/>'
        f'<path d="M-54-42Q-22-58 0-92Q22-58 54-42Q0-50-54-42z" fill="{thatch}"/>'
        f'<path d="M-34-44q17 14 34 0q17 14 34 0" fill="none" stroke="{festive.flowers[0]}" '
        'stroke-width="5" stroke-linecap="round" stroke-dasharray="0 6"/></g>'
    )
