"""The field lines of a head: checked byte by byte, cut to what the next hop gets (RFC 9112).

Theory of operation. Every byte is looked up in a table of those that may stand where it stands;
what the grammar does not allow ends the reading. Compiled, that costs some ten machine instructions
a byte and little a line (``docs/decisions/0009``). Of most lines nothing is kept: they go on in the
spans of bytes they came in. A line whose name may matter, by its length and first letter, is
compared with the few names it may have, where it stands: then its value is kept for the rules that
every message is asked for, its line is left out of what goes on, or both. What goes on is put
together when somebody asks, all other fields are taken apart when a rule does, by ``fields``.

Start lines are read in ``http1``, which also says why a head is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64  # machine integers, where this is compiled; else just ints

TOKEN: Final = rb"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

# The fields that every message is asked for. Plain numbers, which the compiler inlines.
HOST: Final = 1
CONNECTION: Final = 2
CONTENT_LENGTH: Final = 3
TRANSFER_ENCODING: Final = 4
EXPECT: Final = 5
TRACEPARENT: Final = 6
DATE: Final = 7
TIMING: Final = 8
USER_AGENT: Final = 9
REFERER: Final = 10
ACCEPT_ENCODING: Final = 11
ACCEPT_LANGUAGE: Final = 12
IF_NONE_MATCH: Final = 13
# Of these only whether they are there: ``Head.has_any``.
_FIRST_FLAG: Final = 16
CACHE_DIRECTIVES: Final = 16  # Cache-Control or Pragma
RANGE: Final = 17
AUTHORIZATION: Final = 18
COOKIE: Final = 19
CONDITION: Final = 20  # besides If-None-Match: If-Modified-Since, If-Range
ORIGIN_CONDITION: Final = 21  # that only the origin can: If-Match, If-Unmodified-Since
_ENDS_HERE: Final = 32  # added to a number, or alone: the line does not go on to the next hop

_COLON: Final = 0x3A
_CR: Final = 0x0D
_LF: Final = 0x0A
_SPACE: Final = 0x20
_TAB: Final = 0x09
_HYPHEN: Final = 0x2D
_UNDERSCORE: Final = 0x5F
_LOWER_CASE: Final = 0x20  # of a letter, the bit that its capital has not
_DEL: Final = 0x7F
_NAME_BYTES: Final = 63  # of the longest name that may matter
_MOST_NAMES: Final = 255  # so that a byte says which
# Connection may not nominate these away: the message would mean something else without them.
_NOT_NOMINABLE: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"close"))


def table_of(allowed: bytes) -> bytes:
    """Return 256 bytes: 1 at the places of those in ``allowed``, else 0."""
    return bytes([byte in allowed for byte in range(256)])


_IS_TOKEN: Final = table_of(TOKEN)
_LOWER: Final = bytes(range(256)).lower()


class FieldNames:
    """Which names matter in the messages of one direction.

    Args:
        asked_for: the numbers above by lower-case name.
        ending: lower-case names of fields that end at this hop.
        ending_family: what stands before a hyphen (or an underscore) in further names of such
            fields, in lower case; empty for none.
    """

    __slots__ = ("family", "family_initial", "first", "following", "names", "numbers")

    def __init__(
        self,
        asked_for: Mapping[bytes, int],
        ending: Iterable[bytes],
        *,
        ending_family: bytes = b"",
    ) -> None:
        self.family = ending_family
        self.family_initial: i64 = ending_family[0] if ending_family else 0
        numbers = dict(asked_for)
        for name in ending:
            numbers[name] = numbers.get(name, 0) + _ENDS_HERE
        if len(numbers) > _MOST_NAMES:
            raise ValueError(f"{len(numbers)} names matter; there are places for {_MOST_NAMES}.")
        # A hash table of which nothing is hashed: length and first letter, whose cases share a
        # place, say where a chain of names begins. 0 ends a chain.
        first = bytearray((_NAME_BYTES + 1) * 32)
        following = bytearray(_MOST_NAMES + 1)
        names = bytearray((_MOST_NAMES + 1) * (_NAME_BYTES + 1))  # a place for each, in one piece
        for index, name in enumerate(numbers, start=1):
            place = len(name) * 32 + name[0] % 32
            following[index] = first[place]
            first[place] = index
            begin = index * (_NAME_BYTES + 1)
            names[begin : begin + len(name)] = name
        self.names = bytes(names)
        self.first = bytes(first)
        self.following = bytes(following)
        self.numbers = bytes([0, *numbers.values()])

    def number(self, data: bytes, start: i64, length: i64) -> i64:
        """Return the number of the name at ``start``, 0 for one that does not matter."""
        lower, names = _LOWER, self.names
        initial: i64 = data[start]
        index: i64 = self.first[length * 32 + (initial & 31)]
        while index:
            begin: i64 = index * (_NAME_BYTES + 1)
            at: i64 = 0
            while at < length and lower[data[start + at]] == names[begin + at]:
                at += 1
            if at == length:
                return self.numbers[index]
            index = self.following[index]
        return 0

    def is_of_family(self, data: bytes, start: i64, length: i64) -> bool:
        """Tell whether the name at ``start`` is of the family that ends at this hop."""
        size: i64 = len(self.family)
        if length <= size or (data[start + size] != _HYPHEN and data[start + size] != _UNDERSCORE):
            return False
        return data[start : start + size].lower() == self.family


class Head:
    """The head of a message.

    ``raw`` are its bytes, from the start line, which ends at ``block_start``, to the empty line.
    ``passed_on`` are the field lines for the next hop, with the CRLF before each and none at the
    end, so that they go between a start line and further lines. The fields that every message is
    asked for are attributes, without surrounding white space; None where they are missing. What is
    repeated is joined by a comma (cookies by a semicolon), which makes it invalid where it must not
    be repeated. ``cookie_bytes`` is how long the values of all Cookie lines are.
    """

    __slots__ = (
        "_block_end",
        "_cuts",
        "_fields",
        "_is_repeated",
        "_seen",
        "accept_encoding",
        "accept_language",
        "block_start",
        "connection",
        "content_length",
        "cookie_bytes",
        "date",
        "expect",
        "host_field",
        "if_none_match",
        "line_count",
        "minor_version",
        "raw",
        "referer",
        "timing",
        "traceparent",
        "transfer_encoding",
        "user_agent",
    )

    raw: bytes
    minor_version: int
    block_start: int
    line_count: int

    def __init__(self) -> None:
        self.host_field: bytes | None = None
        self.connection: bytes | None = None
        self.content_length: bytes | None = None
        self.transfer_encoding: bytes | None = None
        self.expect: bytes | None = None
        self.traceparent: bytes | None = None
        self.date: bytes | None = None
        self.timing: bytes | None = None
        self.user_agent: bytes | None = None
        self.referer: bytes | None = None
        self.accept_encoding: bytes | None = None
        self.accept_language: bytes | None = None
        self.if_none_match: bytes | None = None
        self._fields: dict[bytes, bytes] | None = None
        # Where lines that end here begin and end, each with the CRLF before it.
        self._cuts: list[int] | None = None
        self._block_end: i64 = 0
        self._seen: i64 = 0  # a bit for each number
        self.cookie_bytes: i64 = 0
        self._is_repeated = False

    @property
    def passed_on(self) -> bytes:
        """The field lines for the next hop, made when asked for: a hit has none."""
        if self._cuts is None:
            return self.raw[self.block_start : self._block_end]
        pieces: list[bytes] = []
        start = self.block_start
        for place in range(0, len(self._cuts), 2):
            pieces.append(self.raw[start : self._cuts[place]])
            start = self._cuts[place + 1]
        pieces.append(self.raw[start : self._block_end])
        return b"".join(pieces)

    @property
    def fields(self) -> dict[bytes, bytes]:
        """All fields, by lower-case name, as the attributes; made when first asked for.

        For rules that few messages meet: it costs more than all the rest of reading a head.
        """
        if self._fields is None:
            values: dict[bytes, list[bytes]] = {}
            for name, value in self.lines():
                values.setdefault(name, []).append(value)
            self._fields = {
                name: (b"; " if name == b"cookie" else b", ").join(each)
                for name, each in values.items()
            }
        return self._fields

    def field(self, name: bytes) -> bytes | None:
        """Return the value of one field by its lower-case name, as ``fields`` has it; None without.

        For a name or two: nothing else is taken apart.
        """
        if self._fields is not None:
            return self._fields.get(name)
        raw = self.raw
        lowered = raw.lower()
        line = b"\r\n" + name + b":"
        at = lowered.find(line, self.block_start)
        if at < 0:
            return None
        if lowered.find(line, at + 1) >= 0:
            return self.fields[name]
        start = at + len(line)
        return trimmed(raw, start, end_of_text(raw, start))

    def has_any(self, flags: i64) -> bool:
        """Tell whether a field is there of those whose bits, ``1 << number``, are in ``flags``."""
        return self._seen & flags != 0

    def lines(self) -> list[tuple[bytes, bytes]]:
        """Return the name, in lower case, and the value of each field line in its order."""
        raw = self.raw
        lines: list[tuple[bytes, bytes]] = []
        at: i64 = self.block_start + 2
        while raw[at] != _CR:
            start: i64 = at
            while raw[at] != _COLON:
                at += 1
            end = end_of_text(raw, at)
            lines.append((raw[start:at].lower(), trimmed(raw, at + 1, end)))
            at = end + 2
        return lines

    def passed_on_without(self, names: frozenset[bytes]) -> bytes:
        """Return ``passed_on`` without the lines of ``names``, whichever those are."""
        kept = [
            line
            for line in self.passed_on.split(b"\r\n")[1:]
            if line.partition(b":")[0].lower() not in names
        ]
        return b"".join([b"\r\n" + line for line in kept])

    def connection_options(self) -> tuple[bool, bool, frozenset[bytes] | None]:
        """Return what the ``Connection`` field says: ``(close, upgrade, other names or None)``."""
        value = self.connection
        if value is None:
            return self.minor_version == 0, False, None
        if value == b"keep-alive":
            return False, False, None
        if value == b"close":
            return True, False, None
        options = {option.strip(b" \t") for option in value.lower().split(b",")}
        close = b"close" in options or (self.minor_version == 0 and b"keep-alive" not in options)
        upgrade = b"upgrade" in options
        others = options - _NOT_NOMINABLE - {b"", b"keep-alive", b"upgrade"}
        return close, upgrade, frozenset(others) or None

    def read_lines(self, data: bytes, block_start: int, names: FieldNames) -> bool:
        """Take the field lines of ``data`` from ``block_start`` on, the CRLF before the first.

        Returns whether they are field lines with an empty line behind them. Fills in what the
        class says, but for what the start line tells.

        Raises:
            IndexError: ``data`` ends before the empty line.
        """
        is_token, first, family_initial = _IS_TOKEN, names.first, names.family_initial
        cuts: list[int] | None = None
        count: i64 = 0
        at: i64 = block_start + 2
        while True:
            start: i64 = at
            while is_token[data[at]]:
                at += 1
            length: i64 = at - start
            if data[at] != _COLON or length == 0:
                break
            at = end_of_text(data, at + 1)
            if data[at] != _CR or data[at + 1] != _LF:
                return False
            initial: i64 = data[start]
            number: i64 = 0
            if length <= _NAME_BYTES and first[length * 32 + (initial & 31)]:
                number = names.number(data, start, length)
                if number & (_ENDS_HERE - 1):
                    self._take(data, number & (_ENDS_HERE - 1), start + length, at)
            if number >= _ENDS_HERE or (
                (initial | _LOWER_CASE) == family_initial
                and names.is_of_family(data, start, length)
            ):
                if cuts is None:
                    cuts = []
                cuts.append(start - 2)
                cuts.append(at)
            at += 2
            count += 1
        if length or data[at] != _CR or data[at + 1] != _LF:
            return False
        self._cuts = cuts
        self._block_end = at - 2
        self.line_count = count
        self.block_start = block_start
        self.raw = data if at + 2 == len(data) else data[: at + 2]
        if self._is_repeated:
            self._join_repeated()
        return True

    def _take(self, data: bytes, field: i64, colon: i64, end: i64) -> None:
        """Keep the value of a line that every message is asked for, or that it is there."""
        if field >= _FIRST_FLAG:
            self._seen |= 1 << field
            if field == COOKIE:
                self.cookie_bytes += end - colon - 1
            return
        value = trimmed(data, colon + 1, end)
        if field == HOST:
            self.host_field = value
        elif field == CONNECTION:
            self.connection = value
        elif field == CONTENT_LENGTH:
            self.content_length = value
        elif field == TRANSFER_ENCODING:
            self.transfer_encoding = value
        elif field == EXPECT:
            self.expect = value
        elif field == TRACEPARENT:
            self.traceparent = value
        elif field == DATE:
            self.date = value
        elif field == USER_AGENT:
            self.user_agent = value
        elif field == REFERER:
            self.referer = value
        elif field == ACCEPT_ENCODING:
            self.accept_encoding = value
        elif field == ACCEPT_LANGUAGE:
            self.accept_language = value
        elif field == IF_NONE_MATCH:
            self.if_none_match = value
        else:
            self.timing = value
        self._is_repeated = self._is_repeated or (self._seen >> field) & 1 == 1
        self._seen |= 1 << field

    def _join_repeated(self) -> None:
        """Give the attributes the values of all their lines: so far they have the last one's."""
        fields = self.fields
        self.host_field = fields.get(b"host")
        self.connection = fields.get(b"connection")
        self.content_length = fields.get(b"content-length")
        self.transfer_encoding = fields.get(b"transfer-encoding")
        self.expect = fields.get(b"expect")
        self.traceparent = fields.get(b"traceparent")
        self.date = fields.get(b"date")
        self.timing = fields.get(b"poruwa-timing")
        self.user_agent = fields.get(b"user-agent")
        self.referer = fields.get(b"referer")
        self.accept_encoding = fields.get(b"accept-encoding")
        self.accept_language = fields.get(b"accept-language")
        self.if_none_match = fields.get(b"if-none-match")


def end_of_text(data: bytes, at: i64) -> i64:
    """Return where the text that begins at ``at`` ends: before the first control character.

    What a field's value and a reason phrase consist of: visible characters, spaces, tabs, and
    bytes above ASCII. Raises IndexError where ``data`` ends before.
    """
    byte: i64 = data[at]
    while (byte >= _SPACE and byte != _DEL) or byte == _TAB:
        at += 1
        byte = data[at]
    return at


def trimmed(data: bytes, start: i64, end: i64) -> bytes:
    """Return what stands from ``start`` to ``end`` without the white space around it."""
    while start < end and (data[start] == _SPACE or data[start] == _TAB):
        start += 1
    while start < end and (data[end - 1] == _SPACE or data[end - 1] == _TAB):
        end -= 1
    return data[start:end]
