"""Log lines: one form for people, one for programs; children's lines keep level and fields."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from poruwa.config.model import LogFormat
from poruwa.observe.logs import configure_logging, relay_line


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def configured(log_format: LogFormat, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure_logging(log_format=log_format, level=level, stream=stream)
    return stream


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_state_time_level_component_event_first() -> None:
    stream = configured(LogFormat.JSON)
    structlog.get_logger(component="stack").warning("part ended", part="app.1", delay_seconds=0.2)
    (line,) = records(stream)
    assert list(line) == ["at", "level", "component", "event", "part", "delay_seconds"]
    assert (line["level"], line["event"], line["delay_seconds"]) == ("warning", "part ended", 0.2)
    assert line["at"].endswith("+00:00")


def test_text_lines_are_for_people_and_without_colours_in_a_file() -> None:
    stream = configured(LogFormat.TEXT)
    structlog.get_logger(component="stack").error("no good", why="a b", n=1)
    text = stream.getvalue()
    assert 'stack        │ error: no good why="a b" n=1\n' in text
    assert "\x1b" not in text


def test_what_is_not_a_terminal_gets_json() -> None:
    stream = configured(LogFormat.AUTO)
    structlog.get_logger().info("hello")
    assert records(stream)[0]["event"] == "hello"


def test_lower_levels_are_left_out() -> None:
    stream = configured(LogFormat.JSON, "warning")
    structlog.get_logger().info("quiet")
    relay_line("app.1", "INFO:     quiet, too")
    assert stream.getvalue() == ""


def test_our_own_lines_keep_level_time_and_fields_and_gain_the_part() -> None:
    stream = configured(LogFormat.JSON)
    own = {"at": "2026-01-02T03:04:05.678+00:00", "level": "error", "component": "worker.1"}
    relay_line("gateway", json.dumps({**own, "event": "bad", "count": 3}))
    relay_line("gateway", json.dumps({"event": "fine", "component": "gateway"}))
    first, second = records(stream)
    assert (first["at"], first["level"], first["count"]) == (own["at"], "error", 3)
    assert first["component"] == "gateway.worker.1"
    assert (second["component"], second["level"]) == ("gateway", "info")


@pytest.mark.parametrize(
    ("line", "level", "event"),
    [
        ("INFO:     Application startup complete.", "info", "Application startup complete."),
        ("2026-01-02 10:00:00,123 WARNING low on cache", "warning", "low on cache"),
        ("Traceback (most recent call last):", "error", "Traceback (most recent call last):"),
        ("pymongo.errors.AutoReconnect: x", "info", "pymongo.errors.AutoReconnect: x"),
        ("ModuleNotFoundError: No module", "error", "ModuleNotFoundError: No module"),
        ('{"not": "ours"}', "info", '{"not": "ours"}'),
        ("{broken json", "info", "{broken json"),
        ("just text", "info", "just text"),
    ],
)
def test_other_lines_are_kept_with_the_level_they_state(line: str, level: str, event: str) -> None:
    stream = configured(LogFormat.JSON)
    relay_line("app.1", line)
    (record,) = records(stream)
    assert (record["level"], record["event"], record["component"]) == (level, event, "app.1")


def test_control_characters_cannot_write_lines_of_their_own() -> None:
    stream = configured(LogFormat.TEXT)
    relay_line("app.1", "good\x1b[2J\rbad")
    structlog.get_logger().info("x", name="a\nb")
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    assert len(text.splitlines()) == 2


def test_libraries_log_the_same_way() -> None:
    stream = configured(LogFormat.JSON)
    logging.getLogger("pymongo").warning("slow %s", "query")
    (record,) = records(stream)
    assert (record["event"], record["level"], record["logger"]) == (
        "slow query",
        "warning",
        "pymongo",
    )


def test_exceptions_are_part_of_their_line() -> None:
    stream = configured(LogFormat.JSON)
    try:
        raise ValueError("why")
    except ValueError:
        structlog.get_logger().exception("failed")
    (record,) = records(stream)
    assert "ValueError: why" in record["exception"]


def test_a_reader_that_went_away_stops_nobody() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream:
        configure_logging(log_format=LogFormat.JSON, stream=stream)
        structlog.get_logger().info("nobody hears this")
        relay_line("app.1", "nor this")
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, writing)  # so that closing can flush what is left
        os.close(null)
