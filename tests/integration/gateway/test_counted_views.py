"""Views that the cache answers are counted as the class says (issue 5: views, popular venues).

The origin counts what reaches it, so that only hits may appear here: exactly those, of all workers.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from fakes.followed_site import FollowedSite, followed_site, said
from poruwa.config.model import Coherence
from poruwa.gateway.views import TALLY
from poruwa.stores.tally import Tally, tally_key
from poruwa.stores.valkey_connection import make_client

VIEWED = """
[classes.viewed]
scope = "shared"
tags = ["other:{other_id}"]
views = ["vendor:{vendor_id}", "venue:{venue_id}"]
lifetimes = { browser = "0s", gateway = "1h" }
[[routes]]
path = "/viewed/{venue_id}"
pool = "app"
data_class = "viewed"
[[routes]]
path = "/viewed"
pool = "app"
data_class = "viewed"
"""


def counted(site: FollowedSite) -> dict[str, float]:
    """Return what the bus has counted today."""

    async def read() -> list[tuple[bytes, float]]:
        client = make_client(site.bus.store(), retries=0)
        try:
            key = f"{tally_key(Coherence().namespace, TALLY)}:{datetime.now(UTC).date()}"
            return list(await client.zrange(key, 0, -1, withscores=True))
        finally:
            await client.aclose()

    return {name.decode(): score for name, score in asyncio.run(read())}


def hits(site: FollowedSite, path: str, count: int) -> None:
    while count:
        count -= "; hit" in said(site.get(path))


def test_hits_of_all_workers_are_counted_by_what_the_path_says(tmp_path: Path) -> None:
    with followed_site(tmp_path, workers=2, more_policy=VIEWED) as site:
        site.await_sure()
        for path in ("/viewed/7", "/viewed/8", "/viewed", "/pages/seven"):
            site.page(path, path)
            site.get(path)
        hits(site, "/viewed/7", 9)
        hits(site, "/viewed/8", 2)
        hits(site, "/viewed", 3)  # of nothing in particular
        hits(site, "/pages/seven", 3)  # of a class that counts none
        site.gateway.until(
            lambda: counted(site) == {"venue:7": 9.0, "venue:8": 2.0}, "all hits counted", 20.0
        )


async def _ranked(site: FollowedSite) -> dict[str, float]:
    tally = Tally(site.bus.store(), tally_key(Coherence().namespace, TALLY))
    task = asyncio.create_task(tally.run(every_seconds=0.05))
    try:
        while tally.ranking.get("venue:7", 0.0) < 4.0:
            await asyncio.sleep(0.05)
        return tally.ranking
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_the_app_ranks_hits_and_what_it_counts_itself_as_one(tmp_path: Path) -> None:
    with followed_site(tmp_path, more_policy=VIEWED) as site:
        site.await_sure()
        site.page("/viewed/7", "7")
        site.get("/viewed/7")
        hits(site, "/viewed/7", 4)
        ranking = asyncio.run(asyncio.wait_for(_ranked(site), 20.0))
        assert ranking == {"venue:7": 4.0}
