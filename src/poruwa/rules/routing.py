"""Which route a request takes.

First stage after the head is parsed. Paths are compared in the normal form that ``normalise_path``
gives, so that no spelling of a path reaches a route that the application would not take it for.

How the most specific route wins:

1. routes that name the host, then ``*.domain`` (longest first), then routes for every host;
2. among those an exact path, then one with ``{names}``, then the longest ``/*``; where two differ
   only in ``{name}`` against a literal segment, the leftmost literal wins;
3. among routes of one path those that name methods (GET includes HEAD), then the others.

A route whose methods do not fit is passed over. ``/venues/*`` takes ``/venues`` too, ``/*``
everything. Source: RFC 3986 section 6.2.2; SECURITY-CHECKS 48 for what is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

# A path of only these is in normal form, but for dot segments.
PLAIN_PATH_BYTES = (
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_~!$&'()*+,;=:@/.-"
)
_PLAIN_PATH = re.compile(rb"/[" + re.escape(PLAIN_PATH_BYTES) + rb"]*")
_ALLOWED_PATH = re.compile(
    rb"(?:[A-Za-z0-9_~!$&'()*+,;=:@/.-]|%[0-9A-Fa-f]{2}|[\x80-\xff\"<>^`{|}])*"
)
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})|([\x80-\xff\"<>^`{|}])")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SLASH: Final = 0x2F
_REST = "rest"  # the name under which a rewrite finds what /* took


def normalise_path(path: bytes, *, allow_encoded_slash: bool = False) -> bytes | None:
    """Return a path in normal form, or None if it must be refused with 400.

    The path is the target's up to ``?``. Percent-encoded unreserved characters are decoded, the
    digits of other codes written in upper case, raw non-ASCII bytes encoded: what RFC 3986 section
    6.2.2 calls equivalent, and nothing else. Empty segments and ``;parameters`` stay as they are.

    Refused, because two programs could understand two different paths: dot segments, also encoded
    or with parameters (``..;``), encoded control characters and NUL, backslashes, ``#``, broken
    percent codes, and an encoded slash unless ``allow_encoded_slash`` (some APIs carry names with
    slashes; the frameworks we serve would decode it).
    """
    if _PLAIN_PATH.fullmatch(path):
        normal = path
    else:
        if not path.startswith(b"/") or not _ALLOWED_PATH.fullmatch(path):
            return None
        if _has_forbidden_code(path, allow_encoded_slash):
            return None
        normal = _ENCODED.sub(_normal_code, path)
    if b"/." in normal and _has_dot_segment(normal):
        return None
    return normal


def normalise_host(host: bytes) -> bytes:
    """Return a Host field's value as routes name it: lower case, no port, no final dot."""
    host = host.lower()
    if host.startswith(b"["):
        return host.partition(b"]")[0] + b"]"
    return host.partition(b":")[0].removesuffix(b".")


class RoutePattern(Protocol):
    """The part of ``config.model.Route`` that is read here."""

    @property
    def hosts(self) -> tuple[str, ...]: ...
    @property
    def path(self) -> str: ...
    @property
    def methods(self) -> tuple[str, ...]: ...


class RouteTable:
    """All routes, ready for look-ups. Built once per policy; immutable.

    Args:
        routes: in the order of the policy; results are indices into them.

    Raises:
        ValueError: two routes that take exactly the same requests.
    """

    __slots__ = ("_any_host", "_by_host", "_by_suffix", "_paths")

    def __init__(self, routes: Sequence[RoutePattern]) -> None:
        self._paths = [_Path.parse(route.path) for route in routes]
        self._by_host: dict[bytes, _PathTable] = {}
        self._by_suffix: dict[bytes, _PathTable] = {}
        self._any_host = _PathTable()
        for index, route in enumerate(routes):
            methods = _methods_of(route)
            for table in self._tables_of(route.hosts):
                table.add(self._paths[index], methods, index)

    def match(self, host: bytes, method: bytes, path: bytes) -> int | None:
        """Return the index of the most specific route, or None.

        Args:
            host: the Host field; ``normalise_host`` is applied where it is needed.
            method: as sent; methods are case-sensitive.
            path: in normal form (``normalise_path``), without query.
        """
        if self._by_host or self._by_suffix:
            for table in self._host_tables(host):
                index = table.match(method, path)
                if index is not None:
                    return index
        return self._any_host.match(method, path)

    def allowed_methods(self, host: bytes, path: bytes) -> frozenset[bytes]:
        """Return the methods that some route would take here, for 405 and its Allow field.

        Empty means that there is no such path (404). Only of use after ``match`` returned None.
        """
        found: set[bytes] = set()
        for table in (*self._host_tables(host), self._any_host):
            found |= table.methods_at(path)
        return frozenset(found)

    def parameters(self, index: int, path: bytes) -> dict[str, bytes]:
        """Return what ``{names}`` and ``/*`` (as ``rest``) of route ``index`` take of ``path``.

        Values are as in the path, still percent-encoded; ``rest`` has no leading slash.
        """
        match = self._paths[index].expression.fullmatch(path)
        return {} if match is None else {k: v or b"" for k, v in match.groupdict().items()}

    def _tables_of(self, hosts: tuple[str, ...]) -> Iterable[_PathTable]:
        if not hosts:
            yield self._any_host
        for host in hosts:
            name = normalise_host(host.encode())
            if name.startswith(b"*."):
                yield self._by_suffix.setdefault(name[1:], _PathTable())
            else:
                yield self._by_host.setdefault(name, _PathTable())

    def _host_tables(self, host: bytes) -> Iterable[_PathTable]:
        name = normalise_host(host)
        table = self._by_host.get(name)
        if table is not None:
            yield table
        if self._by_suffix:
            at = name.find(b".")
            while at >= 0:
                table = self._by_suffix.get(name[at:])
                if table is not None:
                    yield table
                at = name.find(b".", at + 1)


def expand_rewrite(template: str, parameters: dict[str, bytes]) -> bytes:
    """Return a rewrite's target path: ``{name}`` and ``{rest}`` replaced by what was taken."""
    return _NAME.sub(lambda m: parameters.get(m[1], b"").decode("latin-1"), template).encode(
        "latin-1"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    """A route's path, taken apart."""

    literal: bytes  # without /*; meaningless if it has names
    segments: int
    has_names: bool
    is_prefix: bool
    rank: tuple[int, ...]  # per segment 0 literal, 1 partly, 2 a name: the lesser wins
    expression: re.Pattern[bytes]
    parts: tuple[bytes | None, ...] | None  # a segment each, None for a name; None if not so simple

    def fits(self, path: bytes) -> bool:
        """Tell what ``expression`` would: by walking along, where whole segments are names."""
        if self.parts is None:
            return self.expression.fullmatch(path) is not None
        at, end = 0, len(path)
        for part in self.parts:
            if at == end or path[at] != _SLASH:
                return False
            start = at + 1
            if part is None:
                at = path.find(b"/", start)
                if at < 0:
                    at = end
                if at == start:
                    return False
            else:
                if not path.startswith(part, start):
                    return False
                at = start + len(part)
        return at == end or (self.is_prefix and path[at] == _SLASH)

    @classmethod
    def parse(cls, text: str) -> _Path:
        is_prefix = text.endswith("/*")
        base = text[:-2] if is_prefix else text
        segments = base.split("/")[1:] if base else []
        expression = "/".join(
            ["", *(_segment_expression(segment) for segment in segments)] if base else [""]
        )
        if is_prefix:
            expression += f"(?:/(?P<{_REST}>.*))?"
        rank = tuple(_segment_rank(segment) for segment in segments)
        try:
            compiled = re.compile(expression.encode(), re.DOTALL)
        except re.error as error:
            raise ValueError(f"route path {text!r} uses a name twice") from error
        return cls(
            literal=base.encode(),
            segments=len(segments),
            has_names=any(rank),
            is_prefix=is_prefix,
            rank=rank,
            expression=compiled,
            parts=None if 1 in rank else tuple(map(_part, segments)),
        )


class _Choices:
    """The routes of one path: by method, and the one for every method."""

    __slots__ = ("any_method", "by_method")

    def __init__(self) -> None:
        self.by_method: dict[bytes, int] = {}
        self.any_method: int | None = None

    def add(self, methods: frozenset[bytes], index: int) -> None:
        if not methods:
            if self.any_method is not None:
                raise ValueError(f"routes {self.any_method} and {index} take the same requests")
            self.any_method = index
        for method in methods:
            if method in self.by_method:
                first = self.by_method[method]
                raise ValueError(f"routes {first} and {index} take the same requests")
            self.by_method[method] = index

    def match(self, method: bytes) -> int | None:
        if not self.by_method:
            return self.any_method
        index = self.by_method.get(method)
        if index is None and method == b"HEAD":
            index = self.by_method.get(b"GET")
        return self.any_method if index is None else index


@dataclass(slots=True)
class _PathTable:
    """The paths of one host."""

    exact: dict[bytes, _Choices] = field(default_factory=dict)
    named: list[tuple[_Path, _Choices]] = field(default_factory=list)
    prefixes: dict[bytes, _Choices] = field(default_factory=dict)
    named_prefixes: list[tuple[_Path, _Choices]] = field(default_factory=list)
    deepest: int = 0

    def add(self, path: _Path, methods: frozenset[bytes], index: int) -> None:
        if path.has_names:
            _choices_of(self.named_prefixes if path.is_prefix else self.named, path).add(
                methods, index
            )
        elif path.is_prefix:
            self.prefixes.setdefault(path.literal, _Choices()).add(methods, index)
            self.deepest = max(self.deepest, path.segments)
        else:
            self.exact.setdefault(path.literal, _Choices()).add(methods, index)

    def match(self, method: bytes, path: bytes) -> int | None:
        if self.exact:
            choices = self.exact.get(path)
            if choices is not None and (index := choices.match(method)) is not None:
                return index
        for known, choices in self.named:
            if known.fits(path) and (index := choices.match(method)) is not None:
                return index
        best: int | None = None
        depth = -1
        if self.prefixes:
            best, depth = self._longest_prefix(method, path)
        for known, choices in self.named_prefixes:  # deepest first
            if known.segments <= depth:
                break  # literals win at the same depth
            if known.fits(path) and (index := choices.match(method)) is not None:
                return index
        return best

    def methods_at(self, path: bytes) -> set[bytes]:
        every = [self.exact[path]] if path in self.exact else []
        every += [c for known, c in self.named if known.fits(path)]
        every += [
            c for literal, c in self.prefixes.items() if (path + b"/").startswith(literal + b"/")
        ]
        every += [c for known, c in self.named_prefixes if known.fits(path)]
        methods = {method for choices in every for method in choices.by_method}
        return methods | {b"HEAD"} if b"GET" in methods else methods

    def _longest_prefix(self, method: bytes, path: bytes) -> tuple[int | None, int]:
        """Walk down the path's slashes, no deeper than any route is."""
        best: int | None = None
        best_depth = -1
        at = 0
        for depth in range(self.deepest + 1):
            choices = self.prefixes.get(path[:at])
            if choices is not None and (index := choices.match(method)) is not None:
                best, best_depth = index, depth
            if at == len(path):
                break
            following = path.find(b"/", at + 1)
            at = following if following >= 0 else len(path)
        return best, best_depth


def _choices_of(rows: list[tuple[_Path, _Choices]], path: _Path) -> _Choices:
    """Return the choices of a path with names, in order of how specific paths are."""
    for known, choices in rows:
        if known.rank == path.rank and _shape(known) == _shape(path):
            return choices
    choices = _Choices()
    rows.append((path, choices))
    rows.sort(key=lambda row: (-row[0].segments, row[0].rank))
    return choices


def _shape(path: _Path) -> bytes:
    """Return the path with its names blanked: ``/venues/{id}`` and ``/venues/{name}`` are one."""
    return re.sub(rb"\{[^}]*\}", b"{}", path.literal)


def _methods_of(route: RoutePattern) -> frozenset[bytes]:
    return frozenset(method.encode() for method in route.methods)


def _segment_expression(segment: str) -> str:
    parts = _NAME.split(segment)  # literal, name, literal, name, ...
    return "".join(
        f"(?P<{part}>[^/]+?)" if place % 2 else re.escape(part) for place, part in enumerate(parts)
    )


def _part(segment: str) -> bytes | None:
    return None if _NAME.fullmatch(segment) else segment.encode()


def _segment_rank(segment: str) -> int:
    if _NAME.fullmatch(segment):
        return 2
    return 1 if _NAME.search(segment) else 0


def _has_forbidden_code(path: bytes, allow_encoded_slash: bool) -> bool:
    for match in _ENCODED.finditer(path):
        if match[1] is None:
            continue
        code = int(match[1], 16)
        if (
            code < 0x20
            or code == 0x7F
            or code == 0x5C
            or (code == 0x2F and not allow_encoded_slash)
        ):
            return True
    return False


def _normal_code(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        return b"%%%02X" % match[2][0]
    code = int(match[1], 16)
    return bytes((code,)) if code in _UNRESERVED else b"%" + match[1].upper()


def _has_dot_segment(path: bytes) -> bool:
    return any(segment.partition(b";")[0] in (b".", b"..") for segment in path.split(b"/"))
