"""What a benchmark raises when it cannot run."""

from __future__ import annotations


class BenchError(Exception):
    """A benchmark that cannot run; the message says what is missing and what to do about it."""
