"""Log lines: for people on a terminal, JSON elsewhere; one line per event, to standard error.

`configure_logging` is called once by each command line. Every process of a stack writes to its own
standard error; the supervisor reads its children's lines and hands them to `relay_line`, which
keeps their level and fields and adds which part they come from. So a stack has one stream of lines
with one form, however many processes it has.

Does not write the access log (the gateway's workers do) and does not rotate: the service manager
or a pipe does that.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import msgspec
import structlog

from poruwa.config.model_operations import LogFormat

LEVELS = ("debug", "info", "warning", "error", "critical")
_LEVEL_NUMBERS = {name: number * 10 for number, name in enumerate(LEVELS, start=1)}
_LEVEL_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}
# Cyan, green, magenta, blue and their bright forms; red and yellow belong to levels.
_COMPONENT_COLOURS = ("36", "32", "35", "34", "96", "92", "95", "94")
_COMPONENT_WIDTH = 12  # of "gateway.w12" with room for one more character
_PLAIN_LEVEL = re.compile(
    r"(?P<prefix>.{0,40}?)\b(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\b[:\]]?\s*(?P<text>.*)"
)
_EXCEPTION = re.compile(r"Traceback \(most recent call last\):|[\w.]+(?:Error|Exception)(?::|\Z)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NEEDS_QUOTES = re.compile(r"[\s\"=]|^$")


def configure_logging(
    *,
    log_format: LogFormat = LogFormat.AUTO,
    level: str = "info",
    stream: TextIO | None = None,
) -> None:
    """Send structlog's and the standard library's events to ``stream`` (standard error).

    Args:
        log_format: ``auto`` is text for people on a terminal and JSON otherwise.
        level: the lowest level written, one of `LEVELS`.
        stream: for tests; the process's standard error by default.
    """
    target = sys.stderr if stream is None else stream
    is_text = log_format is LogFormat.TEXT or (log_format is LogFormat.AUTO and target.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _add_time,
            structlog.processors.format_exc_info,
            TextRenderer(colours=target.isatty()) if is_text else _render_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVEL_NUMBERS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Tolerant(target))),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ForwardingHandler()]
    root.setLevel(max(_LEVEL_NUMBERS[level], logging.WARNING))


def relay_line(component: str, line: str) -> None:
    """Log one line that the part ``component`` wrote, with the level and fields it carries.

    A JSON object with ``event`` is one of our own lines; its component, if it names one, is
    appended to ours. Any other text is taken as it is, its level read where it states one.
    """
    fields = _decode_own_line(line)
    if fields is None:
        level, text = _split_plain_line(line)
        structlog.get_logger().log(_LEVEL_NUMBERS[level], text, component=component)
        return
    level = str(fields.pop("level", "info"))
    event = str(fields.pop("event"))
    inner = fields.pop("component", None)
    if inner is not None and inner != component:
        component = str(inner) if str(inner).startswith(f"{component}.") else f"{component}.{inner}"
    fields.pop("component", None)
    structlog.get_logger().log(_LEVEL_NUMBERS.get(level, 20), event, component=component, **fields)


class _Tolerant:
    """A stream whose reader may be gone: a line that nobody reads must not stop a process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class TextRenderer:
    """``12:00:01 gateway      │ worker replaced worker=1 reason=heartbeat``."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
        level = str(event.pop("level", "info"))
        at = str(event.pop("at", ""))
        component = str(event.pop("component", "poruwa"))
        text = _CONTROL.sub(" ", str(event.pop("event", "")))
        exception = event.pop("exception", None)
        pairs = " ".join(f"{key}={_format_value(value)}" for key, value in event.items())
        mark = "" if level in ("info", "debug") else f"{level}: "
        clock = _local_time(at)
        name_colour = _COMPONENT_COLOURS[sum(component.encode()) % len(_COMPONENT_COLOURS)]
        line = (
            f"{self._paint('2', clock)} "
            f"{self._paint(name_colour, f'{component:<{_COMPONENT_WIDTH}}')} "
            f"{self._paint('2', '│')} {self._paint(_LEVEL_COLOURS.get(level, ''), mark + text)}"
        )
        if pairs:
            line += f" {self._paint('2', pairs)}"
        if exception:
            line += f"\n{exception}"
        return line

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour and text else text


class _ForwardingHandler(logging.Handler):
    """Hands records of libraries (uvicorn, pymongo, asyncio) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            record.getMessage(),
            logger=record.name,
            exc_info=record.exc_info or None,
        )


def _add_time(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # A relayed line keeps the time its writer gave it.
    event.setdefault("at", datetime.now(UTC).isoformat(timespec="milliseconds"))
    return event


def _local_time(at: str) -> str:
    try:
        return datetime.fromisoformat(at).astimezone().strftime("%H:%M:%S")
    except ValueError:  # a relayed line of a program with another idea of time
        return at


def _render_json(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
    first = {key: event.pop(key) for key in ("at", "level", "component", "event") if key in event}
    return msgspec.json.encode({**first, **event}, enc_hook=str).decode()


def _decode_own_line(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        fields = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return dict(fields) if isinstance(fields, Mapping) and "event" in fields else None


def _split_plain_line(line: str) -> tuple[str, str]:
    if _EXCEPTION.match(line):
        return "error", line
    match = _PLAIN_LEVEL.match(line)
    if match is None:
        return "info", line
    prefix = match["prefix"].strip(" -[:")
    # A date or a logger's name before the level is noise here: the line has its own.
    text = match["text"] or line
    return match["level"].lower(), text if not prefix or prefix[0].isdigit() else line


def _format_value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = _CONTROL.sub(" ", str(value))
    if _NEEDS_QUOTES.search(text):
        escaped = text.replace('"', '\\"')
        return f'"{escaped}"'
    return text
