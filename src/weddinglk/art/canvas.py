"""A sheet that SVG shapes are put on, in few bytes: numbers short, gradients shared."""

from __future__ import annotations

import random
from collections.abc import Sequence

WIDTH, HEIGHT = 480, 320


def short(value: float) -> str:
    """Return ``value`` with one decimal at most, as short as SVG allows."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


class Canvas:
    """Collects definitions and shapes; ``random`` is the picture's own, from its name."""

    __slots__ = ("_definitions", "_gradients", "_shapes", "height", "random", "width")

    def __init__(self, name: str, width: int = WIDTH, height: int = HEIGHT) -> None:
        # Not for secrets: the same name must give the same picture.
        self.random = random.Random(name)  # noqa: S311
        self.width, self.height = width, height
        self._definitions: list[str] = []
        self._gradients: dict[tuple[str, ...], str] = {}
        self._shapes: list[str] = []

    def define(self, element: str) -> None:
        """Add ``element``, which has an id, to the definitions."""
        self._definitions.append(element)

    def vertical(self, *colours: str) -> str:
        """Return a paint that runs from the first colour at the top to the last at the bottom."""
        return self._gradient("linear", colours, ' x2="0" y2="1"')

    def glow(self, colour: str, strength: float = 0.9) -> str:
        """Return a paint that fades from ``colour`` in the middle to nothing at the edge."""
        key = ("radial", colour, short(strength))
        if key not in self._gradients:
            name = f"g{len(self._gradients)}"
            self._gradients[key] = name
            self.define(
                f'<radialGradient id="{name}"><stop stop-color="{colour}" '
                f'stop-opacity="{short(strength)}"/><stop offset="1" stop-color="{colour}" '
                f'stop-opacity="0"/></radialGradient>'
            )
        return f"url(#{self._gradients[key]})"

    def rect(self, x: float, y: float, w: float, h: float, fill: str, more: str = "") -> None:
        """Put a rectangle down."""
        place = f'x="{short(x)}" y="{short(y)}" ' if x or y else ""
        self.raw(f'<rect {place}width="{short(w)}" height="{short(h)}" fill="{fill}"{more}/>')

    def circle(self, x: float, y: float, r: float, fill: str, more: str = "") -> None:
        """Put a disc down."""
        self.raw(f'<circle cx="{short(x)}" cy="{short(y)}" r="{short(r)}" fill="{fill}"{more}/>')

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: str, more: str = "") -> None:
        """Put an ellipse down."""
        self.raw(
            f'<ellipse cx="{short(x)}" cy="{short(y)}" rx="{short(rx)}" ry="{short(ry)}" '
            f'fill="{fill}"{more}/>'
        )

    def path(self, d: str, fill: str = "none", more: str = "") -> None:
        """Put a path down."""
        self.raw(f'<path d="{d}" fill="{fill}"{more}/>')

    def line(self, d: str, colour: str, width: float, more: str = "") -> None:
        """Put a stroke down."""
        self.raw(
            f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="{short(width)}"{more}/>'
        )

    def beads(self, d: str, colour: str, size: float, gap: float, opacity: float = 1.0) -> None:
        """Put round beads along a path: lights, garlands and bushes in one element each."""
        faded = f' opacity="{short(opacity)}"' if opacity < 1 else ""
        self.line(
            d, colour, size, f' stroke-linecap="round" stroke-dasharray="0 {short(gap)}"{faded}'
        )

    def use(self, name: str, x: float, y: float, scale: float = 1.0, more: str = "") -> None:
        """Put a defined group down."""
        size = f" scale({scale:.2f})" if scale != 1.0 else ""
        self.raw(f'<use href="#{name}" transform="translate({short(x)} {short(y)}){size}"{more}/>')

    def group(self, attributes: str) -> None:
        """Open a group."""
        self.raw(f"<g {attributes}>")

    def end(self) -> None:
        """Close the group opened last."""
        self.raw("</g>")

    def raw(self, element: str) -> None:
        """Put down an element that is already text."""
        self._shapes.append(element)

    def choice(self, options: Sequence[str]) -> str:
        """Return one of ``options``."""
        return self.random.choice(options)

    def between(self, low: float, high: float) -> float:
        """Return a number from ``low`` to ``high``."""
        return self.random.uniform(low, high)

    def finished(self, *, mirrored: bool = False) -> str:
        """Return the whole document."""
        body = "".join(self._shapes)
        if mirrored:
            body = f'<g transform="matrix(-1 0 0 1 {self.width} 0)">{body}</g>'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}">'
            f"<defs>{''.join(self._definitions)}</defs>{body}</svg>"
        )

    def _gradient(self, kind: str, colours: tuple[str, ...], direction: str) -> str:
        key = (kind, *colours)
        if key not in self._gradients:
            name = f"g{len(self._gradients)}"
            self._gradients[key] = name
            last = len(colours) - 1
            stops = "".join(
                f'<stop offset="{short(100 * index / last)}%" stop-color="{colour}"/>'
                for index, colour in enumerate(colours)
            )
            self.define(f'<{kind}Gradient id="{name}"{direction}>{stops}</{kind}Gradient>')
        return f"url(#{self._gradients[key]})"
