"""On which line of a TOML text each key and value stands.

``tomllib`` gives values without places; tree-sitter's TOML grammar gives places. The text has been
read by ``tomllib`` before, so that nothing here needs to judge it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import tree_sitter
import tree_sitter_toml

#: Keys and, inside arrays, indices: ``("routes", 2, "path")``.
Path = tuple[str | int, ...]

_KEYS = frozenset({"bare_key", "quoted_key", "dotted_key"})


class Positions:
    """Lines, 1-based, of the keys of one text."""

    __slots__ = ("_lines",)

    def __init__(self, lines: dict[Path, int]) -> None:
        self._lines = lines

    def line_of(self, path: Path) -> int:
        """Return the line of ``path``, or of the innermost part of it that the text holds."""
        for length in range(len(path), 0, -1):
            line = self._lines.get(path[:length])
            if line is not None:
                return line
        return 1

    def is_written(self, path: Path) -> bool:
        """Whether the text states ``path`` itself, so that it is not a default."""
        return path in self._lines


def find_positions(text: str) -> Positions:
    """Return where the keys of ``text``, which is valid TOML, stand."""
    language = tree_sitter.Language(tree_sitter_toml.language())
    tree = tree_sitter.Parser(language).parse(text.encode())
    walk = _Walk()
    for node in tree.root_node.named_children:
        if node.type == "pair":
            walk.pair((), node)
        elif node.type in {"table", "table_array_element"}:
            walk.table(node)
    return Positions(walk.lines)


class _Walk:
    """Collects lines while it goes through the tree in the order of the text."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self._last_index: dict[Path, int] = {}

    def table(self, node: tree_sitter.Node) -> None:
        """A ``[table]`` or ``[[element]]`` with the pairs below it."""
        key, *pairs = (child for child in node.named_children if child.type != "comment")
        path: Path = ()
        for part in _key_parts(key):
            path = self._into_last_element((*path, part))
            self._note(path, node)
        if node.type == "table_array_element":
            # The loop above went into the element before this one; this opens the next.
            bare = path[:-1] if path and isinstance(path[-1], int) else path
            index = self._last_index.get(bare, -1) + 1
            self._last_index[bare] = index
            path = (*bare, index)
            self._note(bare, node)
            self._note(path, node)
        for pair in pairs:
            self.pair(path, pair)

    def pair(self, path: Path, node: tree_sitter.Node) -> None:
        """A ``key = value``, its key perhaps dotted."""
        key, value = [child for child in node.named_children if child.type != "comment"][:2]
        for part in _key_parts(key):
            path = (*path, part)
            self._note(path, key)
        self._value(path, value)

    def _value(self, path: Path, node: tree_sitter.Node) -> None:
        if node.type == "inline_table":
            for child in node.named_children:
                if child.type == "pair":
                    self.pair(path, child)
        elif node.type == "array":
            values = (child for child in node.named_children if child.type != "comment")
            for index, child in enumerate(values):
                self._note((*path, index), child)
                self._value((*path, index), child)

    def _into_last_element(self, path: Path) -> Path:
        index = self._last_index.get(path)
        return path if index is None else (*path, index)

    def _note(self, path: Path, node: tree_sitter.Node) -> None:
        self.lines.setdefault(path, node.start_point[0] + 1)


def _key_parts(node: tree_sitter.Node) -> Iterator[str]:
    """Yield the parts of a key; ``tomllib`` itself undoes quoting and dots."""
    assert node.type in _KEYS, node.type
    assert node.text is not None
    table = tomllib.loads(f"{node.text.decode()} = 0")
    while isinstance(table, dict):
        (part, table), *_ = table.items()
        yield part
