"""One line of the access log: a JSON object of what was asked, answered and by whom.

Never in a line: cookies, Authorization, values of query parameters whose names speak of secrets
(``token``, ``password``, ``code`` and so on, in the target and in the Referer).

Built for every request, so by bytes and with what repeats remembered: the JSON of names, user
agents and referers (bounded, and by each connection of its last ones), the text of a millisecond
and of small numbers. Compiled, a line is one copy of what it consists of: the pattern has nothing
but bytes to fill in, since a number in it would have the interpreter format all of it.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from mypy_extensions import i64  # machine integers, where this is compiled; else just ints

MASK: Final = b"***"
MAX_FIELD_BYTES: Final = 2048
"""Of target, user agent and referer each; what follows is cut."""

# Names that give secrets away, on bytes in lower case. The first expression has no word boundaries,
# so that the engine can skip by first letters: it clears nearly every query in a third of the time.
_PERHAPS_SECRET: Final = re.compile(
    rb"token|passw|passphrase|passcode|pwd|secret|api[-_.]?key|access[-_.]?key|auth|sessi?on|"
    rb"sid|jwt|credential|signature|sig|code|state|nonce|otp|pin|csrf|ticket|assertion|key"
)
_SECRET_NAME: Final = re.compile(
    rb"token|passw|passphrase|passcode|pwd|secret|api[-_.]?key|access[-_.]?key|auth|sessi?on|"
    rb"jwt|credential|signature|nonce|csrf|ticket|assertion|"
    rb"\b(?:sid|sig|code|state|otp|pin|key)\b"
)
# What stands in a JSON string as it is.
_IS_PLAIN: Final = bytes([0x20 <= byte < 0x7F and byte not in b'"\\' for byte in range(256)])
_REMEMBERED: Final = 1024
_NAMES_REMEMBERED: Final = 4096  # of clients, instances and routes
_GROUP: Final = 1000
_DIGITS: Final = [b"%d" % number for number in range(_GROUP)]
_THREE_DIGITS: Final = [b"%03d" % number for number in range(_GROUP)]
_MICROSECONDS: Final = 1_000_000
_MEMORABLE_BYTES: Final = 512  # nobody fills the memory with what they send


class LineClock:
    """Wall time as text; formatting a date for each line would be 1 us."""

    __slots__ = ("_begin", "_end", "_prefix", "_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._prefix = b""
        # The latest millisecond, from and before, and its text.
        self._begin = 0.0
        self._end = 0.0
        self._text = b""

    def text(self, at: float) -> bytes:
        """Return ``at`` (wall seconds) as ``2026-11-23T08:30:00.123Z``."""
        if not self._begin <= at < self._end:
            second = int(at)
            if second != self._second:
                self._second = second
                self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            millisecond = int((at - second) * 1000)
            self._begin = second + millisecond / 1000
            self._end = second + (millisecond + 1) / 1000
            self._text = b"%b.%bZ" % (self._prefix, _THREE_DIGITS[millisecond])
        return self._text


class SpokenFields:
    """What a client says of itself in every request, in JSON, remembered from its last one."""

    __slots__ = ("_agent", "_agent_text", "_referer", "_referer_text")

    def __init__(self) -> None:
        self._agent = b""
        self._agent_text = b""
        self._referer = b""
        self._referer_text = b""

    def agent(self, value: bytes) -> bytes:
        """Return a user agent as what stands in a JSON string."""
        if value != self._agent:
            if len(value) > _MEMORABLE_BYTES:
                return _text(value)
            self._agent, self._agent_text = value, _agent(value)
        return self._agent_text

    def referer(self, value: bytes) -> bytes:
        """Return a referer as what may stand in a JSON string of the log."""
        if value != self._referer:
            if len(value) > _MEMORABLE_BYTES:
                return _text_of_referer(value)
            self._referer, self._referer_text = value, _referer(value)
        return self._referer_text


def access_line(
    time_text: bytes,
    client: str,
    method: bytes,
    target: bytes,
    status: int,
    bytes_in: int,
    bytes_out: int,
    seconds: float,
    instance: str | None,
    route: str,
    request_id: bytes,
    tries: int,
    user_agent: bytes = b"",
    referer: bytes = b"",
    spoken: SpokenFields | None = None,
) -> bytes:
    """Return one line of the log, newline included.

    Args:
        time_text: when the request began, from ``LineClock``.
        status: final status sent; 499 where the client left first, 0 where nothing was sent.
        bytes_in, bytes_out: body received; head and body sent.
        seconds: from the request's first byte to the response's last.
        instance: who answered, None for the gateway itself.
        tries: sends to instances, 0 for the gateway's own answers.
        spoken: of the client's connection.
    """
    if target.find(b"?") >= 0:
        target = masked_query(target)
    if spoken is None:
        spoken = SpokenFields()
    return (
        b'{"time":"%b","client":"%b","method":"%b","target":"%b","status":%b,"bytes_in":%b,'
        b'"bytes_out":%b,"seconds":%b,"instance":%b,"route":"%b","request_id":"%b","tries":%b,'
        b'"user_agent":"%b","referer":"%b"}\n'
        % (
            time_text,
            _name(client),
            _text(method),
            _text(target),
            number_text(status),
            number_text(bytes_in),
            number_text(bytes_out),
            _seconds_text(seconds),
            b"null" if instance is None else b'"%b"' % _name(instance),
            _name(route),
            _text(request_id),
            number_text(tries),
            spoken.agent(user_agent),
            spoken.referer(referer),
        )
    )


def number_text(number: int) -> bytes:
    """Return a number in decimal digits."""
    if 0 <= number < _GROUP:
        return _DIGITS[number]
    if 0 <= number < _GROUP * _GROUP:
        return _DIGITS[number // _GROUP] + _THREE_DIGITS[number % _GROUP]
    return b"%d" % number


def _seconds_text(seconds: float) -> bytes:
    """Return seconds with six decimals."""
    if seconds == 0.0:  # by the loop's clock of milliseconds, as most hits are
        return b"0.000000"
    microseconds = int(seconds * _MICROSECONDS + 0.5)
    if not 0 <= microseconds < _MICROSECONDS:
        return b"%.6f" % seconds
    return b"0.%b%b" % (
        _THREE_DIGITS[microseconds // _GROUP],
        _THREE_DIGITS[microseconds % _GROUP],
    )


def masked_query(target: bytes) -> bytes:
    """Return a target or URL with the values of secret-sounding query parameters masked."""
    path, _, query = target.partition(b"?")
    if not _PERHAPS_SECRET.search(_readable(query)):
        return target
    # Parameters end at & and, for old programs, at ";": a name behind either must be seen.
    parts = re.split(rb"([&;])", query)
    parts[::2] = [_masked_parameter(part) for part in parts[::2]]
    return path + b"?" + b"".join(parts)


def _masked_parameter(parameter: bytes) -> bytes:
    name, equals, value = parameter.partition(b"=")
    if not equals or not value:
        return parameter
    return name + b"=" + MASK if _SECRET_NAME.search(_readable(name)) else parameter


def _readable(query: bytes) -> bytes:
    """Return a query as its names are understood: decoded, in lower case."""
    if b"%" in query:
        query = unquote_to_bytes(query)
    return query.lower()


def _masked_referer(referer: bytes) -> bytes:
    without_fragment = referer.partition(b"#")[0]
    scheme, separator, rest = without_fragment.partition(b"://")
    if separator:
        authority, slash, path = rest.partition(b"/")
        rest = authority.rpartition(b"@")[2] + slash + path
    return masked_query(scheme + separator + rest)


def _text(value: bytes) -> bytes:
    """Return bytes as what stands in a JSON string, cut to ``MAX_FIELD_BYTES``."""
    if len(value) > MAX_FIELD_BYTES:
        value = value[:MAX_FIELD_BYTES] + b"..."
    is_plain = _IS_PLAIN
    end: i64 = len(value)
    at: i64 = 0
    while at < end:
        if not is_plain[value[at]]:
            return _escaped(value.decode("utf-8", "backslashreplace"))
        at += 1
    return value


def _escaped(text: str) -> bytes:
    return encode_basestring_ascii(text)[1:-1].encode()


def _text_of_referer(referer: bytes) -> bytes:
    return _text(_masked_referer(referer))


_names: Final[dict[str, bytes]] = {}  # a look-up in C for each of three a line


def _name(name: str) -> bytes:
    """Return the name of a client, an instance or a route as what stands in a JSON string."""
    text = _names.get(name)
    if text is None:
        if len(_names) >= _NAMES_REMEMBERED:
            _names.clear()
        _names[name] = text = _escaped(name)
    return text


# Browsers of one version all send the same; pages link to others.
_agent: Final = lru_cache(maxsize=_REMEMBERED)(_text)
_referer: Final = lru_cache(maxsize=_REMEMBERED)(_text_of_referer)
