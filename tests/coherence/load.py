"""Readers and writers: the clients of a run."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate

from tests.coherence.client import Answer, Client, Gateway
from tests.coherence.history import Fate, History, Violation
from tests.coherence.marks import LANGUAGES, tagline
from tests.coherence.targets import Target

# After an answer that leaves a write's fate open: longer than any request may be under way.
REST_SECONDS = 20.0
PAUSE_AFTER_FAILURE_SECONDS = 0.02  # who is refused at once must not outnumber those who wait
READS_AFTER_WRITE = 4
READS_PER_WRITE = 1_200  # of two writers: about 50 of 600 reads then miss what was written
READ_EVERY_SECONDS = 0.01  # of each reader at most: what is checked needs the cores as well
COMPRESSED, CONDITIONAL = 0.2, 0.3  # shares of the readers' reads
WriteFunction = Callable[[int, int], Awaitable[Answer]]


class Load:
    """What all clients of a run share.

    Args:
        write: writes a version of a venue; its answer's status tells whether it is acknowledged.
        after: whose versions are gone on from.

    Attributes:
        reads_per_write: a writer waits for so many reads by anybody, so that most reads can be hits
            on a slow machine, too; 0 for none.
    """

    def __init__(
        self,
        client: Client,
        gateways: Sequence[Gateway],
        targets: Sequence[Target],
        history: History,
        write: WriteFunction,
        *,
        seed: int = 1,
        after: Load | None = None,
    ) -> None:
        self._client = client
        self._gateways = gateways
        self._targets = list(targets)
        random.Random(seed).shuffle(self._targets)
        self._weights = list(accumulate(1 / rank for rank in range(1, len(targets) + 1)))
        self._history = history
        self._write = write
        self.reads_per_write = READS_PER_WRITE
        self._over = asyncio.Event()
        self._etags: dict[str, str] = {}
        self._next_version: defaultdict[int, int] = (
            defaultdict(lambda: 1) if after is None else after._next_version
        )
        self.on_violation: Callable[[Violation], None] = lambda violation: None

    def stop(self) -> None:
        """Let every client end after what it is doing."""
        self._over.set()

    async def reader(self, number: int) -> None:
        """Read popular pages more often (Zipf), each time on a new connection."""
        chance = random.Random(number)
        while not self._over.is_set():
            began = time.monotonic()
            target = chance.choices(self._targets, cum_weights=self._weights)[0]
            await self.read(
                chance.choice(self._gateways), target, f"reader {number}",
                is_compressed=chance.random() < COMPRESSED,
                is_conditional=chance.random() < CONDITIONAL,
            )  # fmt: skip
            await asyncio.sleep(max(0.0, began + READ_EVERY_SECONDS - time.monotonic()))

    async def read(
        self,
        gateway: Gateway,
        target: Target,
        by: str,
        cookie: str = "",
        *,
        is_compressed: bool = False,
        is_conditional: bool = False,
    ) -> Answer:
        """Read once and judge it.

        Args:
            is_compressed: whether the gateway's compressed variant is asked for.
            is_conditional: whether to ask only for what differs from the page read before.
        """
        fields = [*target.fields, *([("Cookie", cookie)] if cookie else [])]
        if is_compressed:
            fields.append(("Accept-Encoding", "gzip"))
        if is_conditional and (known := self._etags.get(target.path)):
            fields.append(("If-None-Match", known))
        floors = self._history.floors(target)
        answer = await self._client.ask(gateway, target.path, fields=fields)
        if answer.status == 200:
            self._etags[target.path] = answer.etag
        for violation in self._history.note_read(gateway, target, answer, floors, by):
            self.on_violation(violation)
        if answer.status not in (200, 304):
            await asyncio.sleep(PAUSE_AFTER_FAILURE_SECONDS)
        return answer

    async def writer(self, number: int, venues: Sequence[int], every_seconds: float) -> None:
        """Write these venues, nobody else does, and read each at once: with and without cookie."""
        chance = random.Random(1000 + number)
        rests_until = dict.fromkeys(venues, 0.0)
        by = f"writer {number}"
        while not self._over.is_set():
            ready = [venue for venue in venues if rests_until[venue] <= time.monotonic()]
            if not ready:
                await asyncio.sleep(0.05)
                continue
            venue = chance.choice(ready)
            answer, fate = await self.write(venue)
            if fate is Fate.ACKNOWLEDGED:
                await self._reads_at_once(venue, chance, by, seen_cookie(answer))
            elif fate is Fate.OPEN:
                rests_until[venue] = time.monotonic() + REST_SECONDS
            enough = self._history.reads.total() + self.reads_per_write
            await self._pause(every_seconds * chance.uniform(0.5, 1.5))
            while self.reads_per_write and self._history.reads.total() < enough:
                await self._pause(0.05)
                if self._over.is_set():
                    break

    async def write(self, venue: int) -> tuple[Answer, Fate]:
        """Write the next version of a venue."""
        version = self._next_version[venue]
        self._next_version[venue] += 1
        answer = await self._write(venue, version)
        return answer, self._history.note_write(venue, version, answer)

    async def _reads_at_once(self, venue: int, chance: random.Random, by: str, cookie: str) -> None:
        shown = [target for target in self._targets if venue in target.venues]
        async with asyncio.TaskGroup() as group:
            for turn in range(READS_AFTER_WRITE):
                group.create_task(
                    self.read(
                        self._gateways[turn % len(self._gateways)], chance.choice(shown), by,
                        cookie if turn % 4 < 2 else "",
                    )
                )  # fmt: skip

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)


def patching(client: Client, gateways: Sequence[Gateway], token: str) -> WriteFunction:
    """Return a function that writes over HTTP, by one gateway after the other."""

    async def write(venue: int, version: int) -> Answer:
        return await client.ask(
            gateways[version % len(gateways)],
            f"/api/v1/venues/{venue}",
            method="PATCH",
            fields=(
                ("Authorization", f"Bearer {token}"),
                ("Content-Type", "application/merge-patch+json"),
            ),
            body=json.dumps({"tagline": tagline(venue, version)}).encode(),
        )

    return write


def past_everything(write: Callable[[int, list[str]], None]) -> WriteFunction:
    """Return a function that writes into the database, to see what nobody is told of."""

    async def write_one(venue: int, version: int) -> Answer:
        started = time.monotonic()
        texts = tagline(venue, version)
        await asyncio.to_thread(write, venue, [texts[language] for language in LANGUAGES])
        return Answer(started=started, ended=time.monotonic(), status=204)

    return write_one


def seen_cookie(answer: Answer) -> str:
    """Return the cookie that carries the writer's position, as the Cookie field has it."""
    for part in answer.fields.get("set-cookie", "").split(", "):
        pair = part.partition(";")[0]
        if "seen" in pair.partition("=")[0]:
            return pair
    return ""
