"""One line of the access log: a JSON object of what was asked, answered and by whom.

Never in a line: cookies, Authorization, values of query parameters whose names speak of secrets
(``token``, ``password``, ``code`` and so on, in the target and in the Referer).

Built for every request, so by bytes and with what repeats remembered: the JSON of names, user
agents and referers (bounded), the text of a millisecond.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Final
from urllib.parse import unquote_to_bytes

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
_PLAIN: Final = bytes(range(0x20, 0x7F)).translate(None, b'"\\')
_REMEMBERED: Final = 1024
_MEMORABLE_BYTES: Final = 512  # nobody fills the memory with what they send


class LineClock:
    """Wall time as text; formatting a date for each line would be 1 us."""

    __slots__ = ("_millisecond", "_prefix", "_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._millisecond = -1
        self._prefix = b""
        self._text = b""

    def text(self, at: float) -> bytes:
        """Return ``at`` (wall seconds) as ``2026-11-23T08:30:00.123Z``."""
        millisecond = int(at * 1000.0)
        if millisecond != self._millisecond:
            second = int(at)
            if second != self._second:
                self._second = second
                self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            self._millisecond = millisecond
            self._text = b"%b.%03dZ" % (self._prefix, int((at - second) * 1000))
        return self._text


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
) -> bytes:
    """Return one line of the log, newline included.

    Args:
        time_text: when the request began, from ``LineClock``.
        status: final status sent; 499 where the client left first, 0 where nothing was sent.
        bytes_in, bytes_out: body received; head and body sent.
        seconds: from the request's first byte to the response's last.
        instance: who answered, None for the gateway itself.
        tries: sends to instances, 0 for the gateway's own answers.
    """
    if target.find(b"?") >= 0:
        target = masked_query(target)
    return (
        b'{"time":"%b","client":%b,"method":%b,"target":%b,"status":%d,"bytes_in":%d,'
        b'"bytes_out":%d,"seconds":%.6f,"instance":%b,"route":%b,"request_id":%b,"tries":%d,'
        b'"user_agent":%b,"referer":%b}\n'
        % (
            time_text,
            _name(client),
            _json(method),
            _json(target),
            status,
            bytes_in,
            bytes_out,
            seconds,
            b"null" if instance is None else _name(instance),
            _name(route),
            _json(request_id),
            tries,
            _agent(user_agent) if len(user_agent) <= _MEMORABLE_BYTES else _json(user_agent),
            _referer(referer) if len(referer) <= _MEMORABLE_BYTES else _json_of_referer(referer),
        )
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


def _json(value: bytes) -> bytes:
    """Return bytes as a JSON string, cut to ``MAX_FIELD_BYTES``."""
    if len(value) > MAX_FIELD_BYTES:
        value = value[:MAX_FIELD_BYTES] + b"..."
    if not value.translate(None, _PLAIN):
        return b'"%b"' % value
    return encode_basestring_ascii(value.decode("utf-8", "backslashreplace")).encode()


def _json_of_name(name: str) -> bytes:
    return encode_basestring_ascii(name).encode()


def _json_of_referer(referer: bytes) -> bytes:
    return _json(_masked_referer(referer))


# Clients, instances and routes; browsers of one version all send the same; pages link to others.
_name: Final = lru_cache(maxsize=4 * _REMEMBERED)(_json_of_name)
_agent: Final = lru_cache(maxsize=_REMEMBERED)(_json)
_referer: Final = lru_cache(maxsize=_REMEMBERED)(_json_of_referer)
