"""Editors of the site: venues' taglines changed through its API, at a steady rate.

Each change waits for its acknowledgement, as the person who makes it does.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.closed_loop import quantile

_PER_EDITOR = 4.0  # changes a second that one editor makes at most; then there are more of them
_EDITORS_MOST = 32
_GIVE_UP_SECONDS = 10.0
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EditSample:
    """What came of the changes. Times until the acknowledgement, in milliseconds."""

    changes: int = 0
    due: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def error_count(self) -> int:
        return sum(self.errors.values())

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def edit(
    port: int, token: str, venues: Sequence[str], *, per_second: float, seconds: float, start: int
) -> EditSample:
    """Change one venue after another, ``per_second`` on average, for ``seconds``.

    Args:
        venues: their paths, ``/venues/12``.
        start: where in them to begin.
    """
    due = int(per_second * seconds)
    if due == 0:
        return EditSample()
    editors = min(_EDITORS_MOST, math.ceil(per_second / _PER_EDITOR))
    turns = iter(range(due))
    lock = threading.Lock()
    begun = time.monotonic()
    times: list[float] = []
    errors: dict[str, int] = {}

    def work(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_GIVE_UP_SECONDS)
        while True:
            with lock:
                turn = next(turns, None)
            if turn is None or time.monotonic() > begun + seconds:
                break
            time.sleep(max(0.0, begun + turn / per_second - time.monotonic()))
            asked = time.monotonic()
            trouble = _change(connection, token, venues[(start + turn) % len(venues)])
            with lock:
                if trouble:
                    errors[trouble] = errors.get(trouble, 0) + 1
                else:
                    times.append((time.monotonic() - asked) * 1000)
        connection.close()

    with ThreadPoolExecutor(editors) as threads:
        list(threads.map(work, range(editors)))
    return EditSample(
        changes=len(times),
        due=due,
        p50_ms=quantile(times, 0.5),
        p95_ms=quantile(times, 0.95),
        p99_ms=quantile(times, 0.99),
        errors=errors,
    )


def _change(connection: http.client.HTTPConnection, token: str, venue: str) -> str:
    """Change a tagline; return what went wrong, or nothing."""
    patch = {"tagline": {"en": f"Weddings as you like them, change {next(_numbers)}"}}
    try:
        connection.request(
            "PATCH",
            f"/api/v1{venue}",
            body=json.dumps(patch),
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/merge-patch+json",
            },
        )
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return type(error).__name__
    return "" if answer.status == 200 else str(answer.status)
