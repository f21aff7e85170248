"""Durations and sizes as text (Show 7: a wrong value fails with unit and what is allowed)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("1.5 h", 5400.0),
        (" 5 min ", 300.0),
        ("1d", 86_400.0),
        ("2w", 1_209_600.0),
        ("1y", 31_536_000.0),
        ("0s", 0.0),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "1 fortnight", "1S", "1m", "1e3s", "1s 2s", "１s\n;"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    """A month and a minute both start with m, so that "1m" is nobody's guess."""
    with pytest.raises(ValueError, match="500ms, 30s, 5min"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("512B", 512), ("64KiB", 65_536), ("10MB", 10_000_000), ("1.5GiB", 3 << 29)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["64", "64K", "64kb", "1 TiB", "-1B", "ten B"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="64KiB"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=10**10))
def test_whole_milliseconds_survive_being_written(milliseconds: int) -> None:
    """`config show` writes what can be read again."""
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


@given(st.integers(min_value=0, max_value=3 * 10**8))
def test_whole_seconds_survive_exactly(seconds: int) -> None:
    assert parse_duration(format_duration(float(seconds))) == seconds


@given(st.integers(min_value=0, max_value=2**50))
def test_sizes_survive_being_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0s"), (0.05, "50ms"), (90.0, "90s"), (3600.0, "1h"), (2.5, "2.5s")]
)
def test_the_shortest_exact_text_is_chosen(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
