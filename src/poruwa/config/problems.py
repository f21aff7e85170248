"""What is wrong, or worth knowing, in a policy file: place, key, remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from poruwa.config.positions import Path, Positions


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding. ``text`` says what was found and what would be right."""

    path: Path
    line: int
    text: str

    def render(self, file_name: str) -> str:
        """Return the line people see: ``site.toml:14: pools.app.count: ...``."""
        key = format_path(self.path)
        return (
            f"{file_name}:{self.line}: {key}: {self.text}" if key else f"{file_name}: {self.text}"
        )


class Findings:
    """Collects problems, with their lines, while a file is read and checked."""

    def __init__(self, positions: Positions) -> None:
        self.positions = positions
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def refuse(self, path: Path, text: str) -> None:
        """Note what makes the policy unusable."""
        self.problems.append(self._at(path, text))

    def warn(self, path: Path, text: str) -> None:
        """Note what works, but probably not as meant."""
        self.warnings.append(self._at(path, text))

    def _at(self, path: Path, text: str) -> Problem:
        return Problem(path=path, line=self.positions.line_of(path), text=text)


def format_path(path: Path) -> str:
    """Return ``path`` as people write it: ``("routes", 2, "path")`` -> ``routes[3].path``.

    Elements are counted from 1, as a reader of the file counts them.
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        elif part and all(char.isalnum() or char in "-_" for char in part):
            text += f".{part}" if text else part
        else:
            text += f'."{part}"' if text else f'"{part}"'
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """Return words that name what was probably meant, or all there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    if not names:
        return "none is defined"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"known: {shown}"
