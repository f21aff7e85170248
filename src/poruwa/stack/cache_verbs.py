"""What operators ask of the caches of all workers: purge, figures, what is kept of a URL.

A purge is done when every worker that lives has applied it. A frozen one is named and not waited
for: it serves nobody while it is frozen, and it reads its messages before requests once it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from poruwa.gateway.cache_answers import EXPLAIN, PURGE, CacheView, Purged
from poruwa.gateway.gateway import ALL_CLASSES
from poruwa.gateway.purge import Purge, check_purge
from poruwa.observe.metrics import MetricsSnapshot
from poruwa.rules.purge import parse_purge_url
from poruwa.stack.commands import NoArguments, Verb, refuse

ANSWER_SECONDS = 0.5

Ask = Callable[[int, str, bytes, float], Awaitable[bytes | None]]


class CacheVerbs:
    """The verbs on the cache.

    Args:
        rows: of the workers that serve now.
        ask: asks one of them, see ``BusHub.ask``.
        refresh: returns what all workers counted, as of now.
    """

    def __init__(
        self,
        rows: Callable[[], Sequence[int]],
        ask: Ask,
        refresh: Callable[[], Awaitable[MetricsSnapshot]],
    ) -> None:
        self._rows = rows
        self._ask = ask
        self._refresh = refresh

    @property
    def verbs(self) -> dict[str, Verb[Any]]:
        """By name."""
        return {"purge": Verb(Purge, self.purge), "cache": Verb(NoArguments, self.figures)}

    async def purge(self, wish: Purge) -> Mapping[str, Any]:
        """Let all workers forget what ``wish`` names, or count it."""
        try:
            check_purge(wish)
        except ValueError as error:
            refuse(422, f"purge: {error}.")
        answers = await self._ask_all(PURGE, msgspec.msgpack.encode(wish))
        counts = {
            row: None if answer is None else msgspec.msgpack.decode(answer, type=Purged).entries
            for row, answer in answers.items()
        }
        silent = [row for row, count in counts.items() if count is None]
        total = sum(count or 0 for count in counts.values())
        word = "would be purged" if wish.dry_run else "aged" if wish.soft else "purged"
        text = f"{total} {'entry' if total == 1 else 'entries'} {word} in {len(counts)} workers"
        return {
            "text": text,
            "workers": [
                {"worker": row, "entries": count, "acknowledged": count is not None}
                for row, count in counts.items()
            ],
            "note": ""
            if not silent
            else f"no answer within {ANSWER_SECONDS:g} s from worker "
            + ", ".join(map(str, silent))
            + ", which serves nothing while it is frozen and purges first when it goes on",
        }

    async def figures(self, _: NoArguments) -> Mapping[str, Any]:
        """Return what the caches of all workers did and hold."""
        snapshot = await self._refresh()
        counts = {name: each for name, each in snapshot.cache.items() if name != ALL_CLASSES}
        return {
            "text": "",
            "held": snapshot.cache_held,
            "evicted": snapshot.cache.get(ALL_CLASSES, {}).get("evicted", 0),
            "classes": {name: _with_ratio(each) for name, each in sorted(counts.items())},
            "all": _with_ratio(_sum(counts.values())),
        }

    async def view(self, url: str) -> dict[str, Any]:
        """Return what each worker's cache has of a URL, as JSON values.

        Raises:
            StackError: it is no URL of a request that this gateway could get.
        """
        try:
            parse_purge_url(url)
        except ValueError as error:
            refuse(422, f"explain: {error}.")
        answers = await self._ask_all(EXPLAIN, msgspec.msgpack.encode(url))
        views = {
            row: msgspec.msgpack.decode(answer, type=CacheView)
            for row, answer in answers.items()
            if answer
        }
        rule = next((view.rule for view in views.values()), "")
        return {
            "rule": rule,
            "workers": [
                {"worker": row, **msgspec.to_builtins(view)} for row, view in views.items()
            ],
        }

    async def _ask_all(self, topic: str, payload: bytes) -> dict[int, bytes | None]:
        rows = list(self._rows())
        answers = await asyncio.gather(
            *(self._ask(row, topic, payload, ANSWER_SECONDS) for row in rows)
        )
        return dict(zip(rows, answers, strict=True))


def _sum(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for event, count in each.items():
            total[event] = total.get(event, 0) + count
    return total


def _with_ratio(counts: Mapping[str, int]) -> dict[str, Any]:
    """Return counts with the share of requests that were answered from the store.

    ``joined`` waited for a fetch of somebody else; they count as neither hit nor miss.
    """
    served = counts.get("hit", 0) + counts.get("stale", 0) + counts.get("stale-if-error", 0)
    asked = served + counts.get("miss", 0) + counts.get("pass", 0)
    return {"hit_ratio": round(served / asked, 4) if asked else None, **counts}
