"""Durations and sizes as people write them in a policy file: ``"30s"``, ``"5 min"``, ``"64KiB"``.

Seconds and bytes everywhere inside; text only at the edge.
"""

from __future__ import annotations

import re

SECONDS_PER_UNIT = {
    "ms": 0.001,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "w": 604_800.0,
    "y": 31_536_000.0,  # 365 days, as RFC 9111 section 5.3 advises for "never expires"
}
BYTES_PER_UNIT = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*\Z")


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` names, e.g. ``"1.5 h"`` -> 5400.0.

    Raises:
        ValueError: not a number with one of the units ms, s, min, h, d, w, y.
    """
    return _parse(text, SECONDS_PER_UNIT, "a duration such as 500ms, 30s, 5min, 1h, 30d or 1y")


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` names, e.g. ``"64KiB"`` -> 65536.

    Raises:
        ValueError: not a number with one of the units B, kB, MB, GB, KiB, MiB, GiB.
    """
    return int(_parse(text, BYTES_PER_UNIT, "a size such as 512B, 64KiB, 10MB or 1GiB"))


def format_duration(seconds: float) -> str:
    """Return the shortest exact text for ``seconds``: ``86400.0`` -> ``"1d"``."""
    for unit in ("y", "w", "d", "h", "min", "s"):
        amount = seconds / SECONDS_PER_UNIT[unit]
        if amount >= 1 and amount == int(amount):
            return f"{int(amount)}{unit}"
    if seconds == 0:
        return "0s"
    amount, unit = (seconds, "s") if seconds >= 1 else (seconds * 1000, "ms")
    return f"{amount:.6f}".rstrip("0").rstrip(".") + unit  # never "1e+06", which is not read


def format_size(size_bytes: int) -> str:
    """Return the shortest exact text for ``size_bytes``: ``65536`` -> ``"64KiB"``."""
    for unit in ("GiB", "MiB", "KiB", "GB", "MB", "kB"):
        if size_bytes and size_bytes % BYTES_PER_UNIT[unit] == 0:
            return f"{size_bytes // BYTES_PER_UNIT[unit]}{unit}"
    return f"{size_bytes}B"


def _parse(text: str, table: dict[str, float] | dict[str, int], wanted: str) -> float:
    match = _QUANTITY.match(text)
    if match is None or match[2] not in table:
        raise ValueError(f"{text!r} is not {wanted}")
    return float(match[1]) * table[match[2]]
