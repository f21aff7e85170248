"""One still life for each category of vendor, before a wall with a carved rosette."""

from __future__ import annotations

from dataclasses import dataclass

from weddinglk.art import nature
from weddinglk.art.canvas import HEIGHT, WIDTH, Canvas, short
from weddinglk.art.palette import Festive, Light

BRASS = ("#f1cf7c", "#a8741f")


@dataclass(frozen=True, slots=True)
class Wall:
    """What stands behind: two tones, the rosette's colour, the table's two tones."""

    tones: tuple[str, str]
    carving: str
    table: tuple[str, str]


WALLS = (
    Wall(("#f9ecd9", "#eed3b0"), "#c9973f", ("#8c5a3c", "#5f3926")),
    Wall(("#7d1c38", "#4d0f24"), "#d9a84e", ("#e9d2ac", "#c39a63")),
    Wall(("#f7dcd6", "#eab8b0"), "#b9616d", ("#fff5ea", "#e8c9b4")),
    Wall(("#dfe8db", "#b4c9b4"), "#6c8c6e", ("#8a6a48", "#5e452e")),
    Wall(("#12514f", "#0a3335"), "#d4a955", ("#caa06a", "#8d6a40")),
    Wall(("#2c2550", "#1a1636"), "#c9a15a", ("#7d5a78", "#4b3450")),
    Wall(("#fbe3b4", "#f0bd72"), "#a2662a", ("#7f3b2c", "#57261d")),
)


def photography(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A camera, blurred lights and a few prints."""
    room(canvas, festive)
    for _ in range(9):
        x, y = canvas.between(20, 460), canvas.between(20, 190)
        canvas.circle(x, y, canvas.between(8, 26), festive.flowers[0], ' opacity=".28"')
    for angle, x in ((-14, 96), (11, 392)):
        canvas.group(f'transform="translate({x} 224) rotate({angle})"')
        canvas.rect(-38, -50, 76, 88, "#fffdf6")
        canvas.rect(-31, -43, 62, 58, canvas.vertical(*light.sky))
        canvas.path("M-31 15V-4Q-8-24 6-6T31-10V15z", light.near)
        canvas.circle(14, -26, 7, light.sun)
        canvas.end()
    body = canvas.choice(("#2b2426", "#4a3a33", "#5b2333", "#24383c"))
    canvas.ellipse(240, 264, 122, 9, "#000", ' opacity=".22"')
    canvas.path("M186 148l14-24h80l14 24z", body)
    canvas.rect(128, 146, 224, 116, body, ' rx="14"')
    canvas.rect(128, 170, 224, 62, "#00000035")
    canvas.rect(146, 134, 34, 13, festive.trim, ' rx="4"')
    canvas.circle(326, 164, 7, festive.trim)
    for r, fill in (
        (56, canvas.vertical("#e9e0d4", "#8d8278")),
        (48, "#191518"),
        (37, canvas.vertical("#3e5f86", "#14202f")),
        (20, "#0d141f"),
    ):
        canvas.circle(240, 204, r, fill)
    canvas.ellipse(226, 188, 12, 8, "#fff", ' opacity=".7" transform="rotate(-35 226 188)"')


def catering(canvas: Canvas, light: Light, festive: Festive) -> None:
    """Clay pots, a banana leaf with rice and curries, steam."""
    room(canvas, festive)
    canvas.line(
        "M196 128q-12-18 2-34t0-32M240 116q-12-18 2-34t0-32M286 128q-12-18 2-34t0-32",
        "#fff",
        5,
        ' stroke-linecap="round" opacity=".45"',
    )
    clay = canvas.vertical("#c5704a", "#7c3a24")
    for x, y, size in ((130, 246, 0.9), (240, 240, 1.2), (352, 246, 0.9)):
        canvas.group(f'transform="translate({x} {y}) scale({size})"')
        canvas.path("M-52-46Q-62-4-26 0H26Q62-4 52-46z", clay)
        canvas.ellipse(0, -47, 53, 12, "#8d4429")
        canvas.ellipse(0, -47, 44, 8.5, canvas.choice(("#e3a02c", "#b8442a", "#6f8f3a", "#f1d9a2")))
        canvas.beads("M-30-47h64", "#fff4d4", 5, 17)
        canvas.beads("M-46-22h96", festive.trim, 4, 8)
        canvas.end()
    leaf = canvas.vertical("#6ba04f", "#3d7338")
    canvas.path("M52 288Q150 250 240 262T430 284Q330 320 240 312T52 288z", leaf)
    canvas.line("M60 288Q240 274 424 284", "#a9d08a", 2.5)
    canvas.path("M196 288Q238 236 286 288Q240 300 196 288z", "#fffaf0")
    for x in (140, 170, 316, 348):
        canvas.ellipse(x, 288, 15, 7, canvas.choice(("#d98a2b", "#a83d28", "#7c9a3c", "#e7c14a")))


def decoration(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A canopy under lanterns and garlands."""
    room(canvas, festive, table=False)
    canvas.path(
        "M0 0H120Q96 110 30 200Q10 240 0 300zM480 0H360Q384 110 450 200Q470 240 480 300z",
        festive.cloth,
    )
    canvas.path("M0 0H70Q60 100 14 170L0 190zM480 0H410Q420 100 466 170L480 190z", festive.shade)
    nature.canopy(canvas, 240, 286, canvas.between(1.18, 1.34), festive)
    for lift in (0, 20):
        nature.string_lights(
            canvas, [(96, 10 + lift), (240, 2 + lift), (384, 10 + lift)], 58, festive.flowers[0], 6
        )
    nature.define_lantern(canvas, festive)
    for x in (64, 118, 362, 416):
        canvas.use("n", x, canvas.between(40, 96))
    _define_lamp(canvas)
    for x in (92, 388):
        canvas.use("a", x, 300, 0.56)


def flowers(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A brass pot of lotus and frangipani, petals on the table."""
    room(canvas, festive)
    nature.define_flower(canvas, festive.flowers[1])
    petal = canvas.choice(("#e58aa3", "#f3b3c1", "#d75f86", "#f6e1e4"))
    define_lotus(canvas, petal, festive.flowers[0])
    for angle in range(-70, 71, 20):
        canvas.path(
            "M0 0Q26-60 0-122Q-26-60 0 0",
            light.leaf if angle % 40 else "#5d8a55",
            f' transform="translate(240 206) rotate({angle + canvas.random.randint(-6, 6)})"',
        )
    canvas.path("M186 208Q160 282 216 292H264Q320 282 294 208z", canvas.vertical(*BRASS))
    canvas.ellipse(240, 208, 54, 11, BRASS[1])
    canvas.beads("M178 246H306", "#fff3cf", 5, 9)
    spots = ((168, 150, 0.9), (312, 150, 0.9), (204, 108, 1.0), (278, 104, 1.0), (240, 162, 1.3))
    for x, y, size in spots:
        canvas.use("l", x + canvas.between(-8, 8), y + canvas.between(-8, 8), size)
    for _ in range(16):
        canvas.use(
            "f", canvas.between(160, 320), canvas.between(118, 208), canvas.between(0.7, 1.2)
        )
    for _ in range(12):
        canvas.use("f", canvas.between(20, 460), canvas.between(284, 312), canvas.between(0.5, 0.9))


def music_and_dance(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A geta bera and a pair of small drums, with tassels."""
    room(canvas, festive)
    wood = canvas.vertical("#b4622f", "#6d3216")
    canvas.ellipse(250, 282, 170, 10, "#000", ' opacity=".22"')
    canvas.group(f'transform="rotate({canvas.random.randint(-9, 5)} 240 220)"')
    canvas.path("M120 158Q240 116 360 158V258Q240 300 120 258z", wood)
    canvas.line(
        "M136 152L164 272L192 140L220 282L248 138L276 282L304 142L332 274L350 154", "#f6e6c4", 3
    )
    for x in (200, 240, 280):
        canvas.line(f"M{x} 136V282", festive.cloth, 9, ' opacity=".9"')
        canvas.beads(f"M{x} 142V282", festive.trim, 4, 8)
    for x in (120, 360):
        canvas.ellipse(x, 208, 20, 52, festive.trim)
        canvas.ellipse(x, 208, 15, 43, "#f7ead0")
        canvas.ellipse(x, 208, 6, 17, "#3c2a20")
    canvas.end()
    for x in (70, 412):
        canvas.path(
            f"M{x - 30} 232Q{x - 36} 290 {x - 18} 296H{x + 18}Q{x + 36} 290 {x + 30} 232z",
            festive.shade,
        )
        canvas.ellipse(x, 232, 31, 10, "#f7ead0")
        canvas.ellipse(x, 232, 13, 4, "#3c2a20")
        canvas.beads(f"M{x - 32} 252H{x + 34}", festive.trim, 5, 8)
    for x in (30, 450):
        canvas.line(f"M{x} 0V96", festive.trim, 2)
        canvas.path(f"M{x - 9} 96h18l6 44h-30z", festive.cloth)
        canvas.beads(f"M{x - 10} 96h24", festive.trim, 7, 9)


def make_up(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A mirror, a nalalpata and padakkam necklaces, jars and a brush."""
    room(canvas, festive)
    canvas.ellipse(240, 138, 98, 118, canvas.vertical(*BRASS))
    canvas.ellipse(240, 138, 86, 106, canvas.vertical("#fdf6ea", "#d9cfc9"))
    canvas.path(
        "M186 70L222 44M178 106L268 44", "none", ' stroke="#fff" stroke-width="9" opacity=".6"'
    )
    canvas.beads("M240 26A92 112 0 1 0 241 26", "#fff1c4", 6, 14)
    for drop, size in ((70, 5), (100, 7), (132, 8)):
        d = f"M{240 - 30 - drop / 4} 92Q240 {92 + drop * 1.7} {240 + 30 + drop / 4} 92"
        canvas.beads(d, BRASS[1], size + 1.5, size + 1)
        canvas.beads(d, BRASS[0], size - 1, size + 1)
    canvas.circle(240, 214, 13, BRASS[0], f' stroke="{BRASS[1]}" stroke-width="2"')
    canvas.circle(240, 214, 6, festive.cloth)
    canvas.path("M196 92Q240 62 284 92L276 98Q240 76 204 98z", BRASS[0])
    canvas.circle(240, 82, 6, festive.cloth)
    for x, w, h, fill in (
        (84, 40, 52, festive.cloth),
        (132, 30, 34, "#fff6ea"),
        (344, 30, 40, festive.flowers[0]),
        (392, 36, 60, festive.shade),
    ):
        canvas.rect(x - w / 2, 288 - h, w, h, fill, ' rx="5"')
        canvas.rect(x - w / 2 - 2, 282 - h, w + 4, 11, BRASS[0], ' rx="3"')
    canvas.line("M300 296L414 274", BRASS[1], 5, ' stroke-linecap="round"')
    canvas.line("M414 274l26-6", "#8d4a52", 13, ' stroke-linecap="round"')
    nature.define_flower(canvas, festive.flowers[1])
    for x in (168, 196, 226, 58, 446):
        canvas.use("f", x, canvas.between(288, 306), 1.1)


def cakes(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A tiered cake with piping and flowers, small boxes beside it."""
    room(canvas, festive)
    tiers = canvas.random.choice((3, 4))
    tones = canvas.random.choice(
        (
            ("#fffaf0", "#ecdcc4"),
            ("#fde5e2", "#eab9b4"),
            ("#e6efe4", "#bcd0bb"),
            ("#fff0cf", "#e8c98a"),
        )
    )
    cake = canvas.vertical(*tones)
    nature.define_flower(canvas, festive.flowers[0])
    canvas.rect(146, 280, 188, 9, festive.trim, ' rx="4"')
    canvas.path("M216 288h48l14 20h-76z", BRASS[1])
    foot = 280.0
    for tier in range(tiers):
        half, height = 84 - tier * (60 / tiers), 190 / tiers
        top = foot - height
        canvas.rect(240 - half, top, half * 2, height, cake, ' rx="5"')
        canvas.beads(
            f"M{short(240 - half + 4)} {short(foot - 4)}H{short(240 + half)}", "#fff", 9, 9
        )
        swag = f"M{short(240 - half)} {short(top + 5)}"
        swag += f"q{short(half / 4)} {short(height * 0.5)} {short(half / 2)} 0" * 4
        canvas.line(swag, festive.cloth if tier % 2 else festive.trim, 2.5)
        canvas.beads(swag, "#fff", 4, 7)
        for _ in range(3):
            canvas.use("f", 240 + canvas.between(-half, half), top + 2, canvas.between(0.8, 1.3))
        foot = top
    for x, y in ((232, -4), (250, -6), (241, -16)):
        canvas.use("f", x, foot + y, 1.4)
    for x, y in ((74, 296), (112, 304), (92, 266), (374, 302), (414, 294)):
        canvas.rect(x - 18, y - 30, 36, 30, festive.flowers[1])
        canvas.rect(x - 3, y - 30, 6, 30, festive.cloth)
        canvas.path(f"M{x} {y - 30}q-14-14-4-16t4 16q14-14 4-16t-4 16", festive.cloth)


def transport(canvas: Canvas, light: Light, festive: Festive) -> None:
    """A vintage car with ribbons on a road among palms."""
    nature.sky(canvas, light, canvas.between(70, 410), canvas.between(60, 120))
    nature.ridge(canvas, 196, 40, light.far)
    nature.ridge(canvas, 216, 22, light.mid, 6)
    nature.define_palm(canvas, light)
    for x, size in ((30, 1.25), (86, 0.95), (446, 1.2)):
        nature.palm(canvas, x + canvas.between(-16, 16), 250, size, to_left=x > 300)
    canvas.rect(0, 240, WIDTH, 80, canvas.vertical(light.sand[1], light.sand[0]))
    canvas.beads("M-4 308H480", "#fff", 4, 30, 0.7)
    body = canvas.choice(("#f6ead2", "#7a1f35", "#1f3f46", "#b9a27a", "#2b2b33", "#d9c7c0"))
    canvas.ellipse(240, 290, 172, 10, "#000", ' opacity=".25"')
    canvas.path("M176 196L206 142Q210 134 222 134H322Q334 134 340 146L356 196z", body)
    glass = canvas.vertical(*light.sky)
    canvas.path("M194 192L216 150H262V192zM272 150H318Q324 150 328 158L340 192H272z", glass)
    canvas.path("M76 246Q72 206 112 202L182 194H366Q398 196 402 240L400 262H84z", body)
    canvas.path(
        "M76 246Q86 198 136 216Q166 230 170 262H72zM300 262Q306 214 352 214Q400 214 410 262z",
        "#00000030",
    )
    canvas.line("M182 200H366M268 196V256", "#00000030", 2)
    for x in (128, 352):
        for r, fill in ((37, "#1c1719"), (24, "#efe6d4"), (17, body), (7, festive.trim)):
            canvas.circle(x, 262, r, fill)
    canvas.circle(82, 226, 12, "#fff6d8", f' stroke="{festive.trim}" stroke-width="3"')
    canvas.rect(64, 256, 24, 8, BRASS[0], ' rx="3"')
    canvas.rect(394, 254, 22, 8, BRASS[0], ' rx="3"')
    canvas.line("M88 214Q140 186 184 194L206 146", "#fff", 5)
    canvas.line("M88 214Q140 186 184 194L206 146", festive.cloth, 2)
    nature.define_flower(canvas, festive.flowers[0])
    for x, y, size in ((96, 206, 1.6), (108, 212, 1.2), (86, 214, 1.1), (268, 226, 1.3)):
        canvas.use("f", x, y, size)


def ceremony(canvas: Canvas, light: Light, festive: Festive) -> None:
    """The tall brass lamp, lit, between pots of coconut flowers and betel leaves."""
    room(canvas, festive)
    stalks = "".join(
        f"M{x} 214Q{x + dx} 170 {x + dx * 1.6:.0f} {128 + abs(dx) * 0.4:.0f}"
        for x in (108, 372)
        for dx in (-36, -24, -12, 0, 12, 24, 36)
    )
    canvas.line(stalks, "#e8c65c", 4, ' stroke-linecap="round"')
    for x in (108, 372):
        canvas.beads(f"M{x - 44} 150Q{x} 84 {x + 44} 150", "#f7dd84", 9, 11)
        canvas.path(
            f"M{x - 34} 212Q{x - 52} 276 {x - 16} 290H{x + 16}Q{x + 52} 276 {x + 34} 212z",
            canvas.vertical("#c5704a", "#7c3a24"),
        )
        canvas.ellipse(x, 212, 34, 8, "#8d4429")
        canvas.beads(f"M{x - 40} 244H{x + 44}", festive.flowers[1], 6, 9)
    _define_lamp(canvas)
    canvas.use("a", 240, 304, 1.28)
    leaf = "M0 0Q-22-8-18-26Q-6-30 0-42Q6-30 18-26Q22-8 0 0"
    for x, angle in ((176, -50), (190, -14), (290, 14), (304, 50)):
        canvas.path(leaf, "#4f8a4b", f' transform="translate({x} 306) rotate({angle})"')
    nature.define_flower(canvas, festive.flowers[0])
    for _ in range(10):
        canvas.use("f", canvas.between(30, 450), canvas.between(294, 314), canvas.between(0.6, 1.0))


def room(canvas: Canvas, festive: Festive, *, table: bool = True) -> None:
    """Put down a wall with a carved rosette, and a table or a floor before it."""
    wall = canvas.random.choice(WALLS)
    canvas.rect(0, 0, WIDTH, HEIGHT, canvas.vertical(*wall.tones))
    x = 240 + canvas.between(-120, 120)
    nature.rosette(canvas, x, canvas.between(96, 150), canvas.between(108, 150), wall.carving, 0.5)
    canvas.circle(240, 170, 190, canvas.glow("#fff3d6", 0.5))
    if table:
        top = canvas.between(252, 266)
        canvas.rect(0, top, WIDTH, HEIGHT - top, canvas.vertical(*wall.table))
        canvas.rect(0, top, WIDTH, 3, "#ffffff55")
    else:
        canvas.rect(0, 282, WIDTH, 38, canvas.vertical(*wall.table))


def _define_lamp(canvas: Canvas) -> None:
    """Define ``a``: a standing brass oil lamp, 180 high, its foot at the origin."""
    brass, glow = canvas.vertical(*BRASS), canvas.glow("#ffd772", 0.7)
    rings = "".join(
        f'<ellipse cy="{y}" rx="{half}" ry="5"/>' for y, half in ((-34, 18), (-58, 14), (-80, 16))
    )
    flames = "".join(
        f'<path d="M{dx}-112q-8-10 0-26q8 16 0 26" fill="#fff2b8"/>'
        f'<path d="M{dx}-113q-4-6 0-14q4 8 0 14" fill="#f08a2c"/>'
        for dx in (-52, -27, 27, 52)
    )
    canvas.define(
        f'<g id="a"><circle cy="-134" r="96" fill="{glow}"/>'
        f'<g fill="{brass}"><path d="M-46 0Q-40-14-12-20V-96H12V-20Q40-14 46 0z"/>'
        f'<path d="M-58-112Q-40-88 0-88T58-112zM-8-114Q-10-146 0-168Q10-146 8-114z"/></g>'
        f'<g fill="{BRASS[0]}" stroke="{BRASS[1]}">{rings}<ellipse cy="-112" rx="58" ry="9"/>'
        f'<circle cy="-172" r="7"/></g>{flames}</g>'
    )


def define_lotus(canvas: Canvas, petal: str, heart: str) -> None:
    """Define ``l``: an open lotus, 60 across, its middle at the origin."""
    around = "".join(
        f'<path d="M0 10Q-13-8 0-30Q13-8 0 10" transform="rotate({angle} 0 10)"/>'
        for angle in (-74, 74, -46, 46, -20, 20)
    )
    canvas.define(
        f'<g id="l"><g fill="{petal}" stroke="#ffffff66">{around}</g>'
        f'<path d="M0 10Q-9-6 0-20Q9-6 0 10" fill="{heart}"/></g>'
    )
