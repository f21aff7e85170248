"""What operators ask of the caches of all workers: purge, figures, what is kept of a URL.

A purge is a change of the change log, where there is a bus: it reaches every layer of every machine
and is done when all have applied it or their leases have lapsed. Without one it is of the workers
of this machine, and done when every worker that lives has applied it. A frozen one is named and not
waited for: it serves nobody while it is frozen, and it reads its messages before requests once it
goes on. With a bus it finds itself unsure first, and asks the origin.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from poruwa.errors import BusUnavailable
from poruwa.gateway.cache_answers import EXPLAIN, PURGE, CacheQuestion, CacheView, Purged
from poruwa.gateway.gateway import ALL_CLASSES
from poruwa.gateway.purge import Purge, check_purge
from poruwa.observe.metrics import MetricsSnapshot
from poruwa.rules.change import Change
from poruwa.rules.purge import parse_purge_url
from poruwa.stack.commands import NoArguments, Verb, refuse
from poruwa.stores.change_leases import Acknowledgement
from poruwa.stores.change_log import ChangeLog
from poruwa.stores.change_stats import Histogram

ANSWER_SECONDS = 0.5
"""After so long, and as often again, it is asked whether who does not answer shows life."""
BUSY_SECONDS = 60.0
FROZEN_SECONDS = 0.4
"""Without a heartbeat for so long: four missed. Who is busy with a large purge goes on beating."""
ACKNOWLEDGE_SECONDS = 5.0

Ask = Callable[[int, str, bytes, float], Awaitable[bytes | None]]


class CacheVerbs:
    """The verbs on the cache.

    Args:
        rows: of the workers that serve now.
        ask: asks one of them, see ``BusHub.ask``.
        silent_seconds: returns for how long a worker has shown no life.
        refresh: returns what all workers counted, as of now.
        log: returns the change log; None where there is no bus.

    Attributes:
        acknowledgements: from purges until a layer had applied them, by kind of layer.
    """

    def __init__(
        self,
        rows: Callable[[], Sequence[int]],
        ask: Ask,
        *,
        silent_seconds: Callable[[int], float],
        refresh: Callable[[], Awaitable[MetricsSnapshot]],
        log: Callable[[], Awaitable[ChangeLog | None]],
    ) -> None:
        self._rows = rows
        self._ask = ask
        self._silent_seconds = silent_seconds
        self._refresh = refresh
        self._log = log
        self.acknowledgements: dict[str, Histogram] = {}

    @property
    def verbs(self) -> dict[str, Verb[Any]]:
        """By name."""
        return {"purge": Verb(Purge, self.purge), "cache": Verb(NoArguments, self.figures)}

    async def purge(self, wish: Purge) -> Mapping[str, Any]:
        """Let all layers forget what ``wish`` names, or count what this machine's workers have."""
        try:
            check_purge(wish)
        except ValueError as error:
            refuse(422, f"purge: {error}.")
        log = None if wish.dry_run else await self._log()
        if log is None:
            return await self._purge_here(wish)
        here = await self._purge_here(msgspec.structs.replace(wish, dry_run=True))
        change = Change(
            tags=tuple([tag.encode() for tag in wish.tags]),
            urls=tuple([url.encode() for url in wish.urls]),
            patterns=tuple(wish.patterns),
            soft=wish.soft,
            written_at=time.time(),
            source="purge",
        )
        try:
            said = await log.publish(change, timeout=ACKNOWLEDGE_SECONDS)
        except BusUnavailable as error:
            here = await self._purge_here(wish)
            note = f"of this machine only: {error.message}"
            return {**here, "note": "; ".join(filter(None, (note, here["note"])))}
        return self._acknowledged(wish, said, here)

    def _acknowledged(
        self, wish: Purge, said: Acknowledgement, here: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return what each layer said to a purge."""
        layers: list[dict[str, Any]] = []
        for name, answer in sorted(said.layers.items()):
            after = answer.applied_after
            if after is not None:
                kind = name.partition("/")[0]
                self.acknowledgements.setdefault(kind, Histogram()).observe(after)
            layers.append(
                {
                    "layer": name,
                    "acknowledged": after is not None,
                    "after_seconds": None if after is None else round(after, 4),
                    "lapsed": answer.lapsed,
                }
            )
        lapsed = [each["layer"] for each in layers if each["lapsed"]]
        silent = [each["layer"] for each in layers if not (each["acknowledged"] or each["lapsed"])]
        notes = []
        if lapsed:
            notes.append(
                f"{', '.join(lapsed)} did not answer; the lease has lapsed, so it asks the origin "
                "until it has applied the purge"
            )
        if silent:
            notes.append(f"{', '.join(silent)} did not answer within {ACKNOWLEDGE_SECONDS:g} s")
        total = sum(each["entries"] or 0 for each in here["workers"])
        word = "aged" if wish.soft else "purged"
        done = len(layers) - len(lapsed) - len(silent)
        return {
            "text": f"{total} {'entry' if total == 1 else 'entries'} {word} here, applied by "
            f"{done} of {len(layers)} layers within {said.seconds * 1000:.0f} ms",
            "position": said.position,
            "complete": said.is_complete,
            "seconds": round(said.seconds, 4),
            "layers": layers,
            "workers": here["workers"],
            "note": "; ".join(notes),
        }

    async def _purge_here(self, wish: Purge) -> Mapping[str, Any]:
        """Let the workers of this machine forget what ``wish`` names, or count it."""
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
            else "no answer, and no sign of life, from worker "
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

    async def view(self, question: CacheQuestion) -> dict[str, Any]:
        """Return what each worker's cache has of a URL and would do with a request, as JSON values.

        Raises:
            StackError: it is no URL of a request that this gateway could get.
        """
        try:
            parse_purge_url(question.url)
        except ValueError as error:
            refuse(422, f"explain: {error}.")
        answers = await self._ask_all(EXPLAIN, msgspec.msgpack.encode(question))
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
            "silent": [row for row, answer in answers.items() if not answer],
        }

    async def _ask_all(self, topic: str, payload: bytes) -> dict[int, bytes | None]:
        rows = list(self._rows())
        answers = await asyncio.gather(*(self._answer(row, topic, payload) for row in rows))
        return dict(zip(rows, answers, strict=True))

    async def _answer(self, row: int, topic: str, payload: bytes) -> bytes | None:
        """Return a worker's answer, None for a frozen one; who is at work is waited for."""
        asking = asyncio.ensure_future(self._ask(row, topic, payload, BUSY_SECONDS))
        try:
            while True:
                done, _ = await asyncio.wait((asking,), timeout=ANSWER_SECONDS)
                if done:
                    return asking.result()
                if self._silent_seconds(row) > FROZEN_SECONDS:
                    return None
        finally:
            asking.cancel()


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
    asked = served + sum([counts.get(each, 0) for each in ("miss", "pass", "unsure", "behind")])
    return {"hit_ratio": round(served / asked, 4) if asked else None, **counts}
