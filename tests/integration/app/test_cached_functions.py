"""``platform.cached`` over a real L2 and a real bus: who loads, who waits, what is kept.

Every test has two sites on the same stores, which are two layers as two processes would be.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

import poruwa
from fakes.cached_site import Mood, Site, Venue, counts, running_sites, shows, until
from fakes.valkey_process import BUS, CACHE, ValkeyProcess
from poruwa.stores.valkey_cache import Held, Lock


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("cache"), *CACHE) as server:
        yield server


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("bus"), *BUS) as server:
        yield server


@pytest.fixture
async def sites(cache: ValkeyProcess, bus: ValkeyProcess) -> AsyncIterator[tuple[Site, Site]]:
    cache.client.flushall()
    async with running_sites(cache, bus) as pair:
        yield pair


async def test_one_load_serves_all_calls_of_all_processes(sites: tuple[Site, Site]) -> None:
    one, two = sites
    one.database.seconds = 0.05
    calls = [site.venue(1) for site in sites for _ in range(50)]
    found = await asyncio.gather(*calls)
    assert one.database.loads == 1
    assert found == [Venue(1, 1, (Mood.CALM, Mood.LOUD))] * 100
    assert all(type(each.moods[0]) is Mood for each in found if each is not None)
    before = counts(two, "venue")["hits"]
    assert await two.venue(venue_id=1) == found[0], "every spelling of a call is one call"
    assert counts(two, "venue")["hits"] == before + 1
    assert one.database.loads == 1


async def test_a_change_reaches_both_layers_of_all_processes(sites: tuple[Site, Site]) -> None:
    one, two = sites
    assert (await two.venue(1)).version == 1
    assert (await one.venue(1)).version == 1
    await one.change(1)
    assert (await two.venue(1)).version == 2
    assert (await one.venue(1)).version == 2
    assert one.database.loads == 2, "the second process has what the first loaded"


async def test_a_load_that_a_change_overtook_is_not_kept(sites: tuple[Site, Site]) -> None:
    """DESIGN section 6, rule 1: the slow read of before the write puts nothing back."""
    one, two = sites
    one.database.gate = asyncio.Event()
    slow = asyncio.create_task(one.venue(1))
    await one.database.has_read.wait()
    await two.change(1)
    one.database.gate.set()
    assert (await slow).version == 1, "it was asked for before the change"
    assert counts(one, "venue")["not_kept"]["changed"] == 1
    assert (await one.venue(1)).version == 2
    assert (await two.venue(1)).version == 2


async def test_nobody_joins_a_load_that_a_change_overtook(sites: tuple[Site, Site]) -> None:
    """DESIGN section 6, rule 3, in this process and another: they do not even wait for it."""
    one, _ = sites
    gate = one.database.gate = asyncio.Event()
    slow = asyncio.create_task(one.venue(2))
    await one.database.has_read.wait()
    await one.change(2)
    one.database.gate = None
    async with asyncio.timeout(5):
        assert [(await site.venue(2)).version for site in sites] == [2, 2]
    gate.set()
    assert (await slow).version == 1


async def test_who_joined_a_load_learns_at_its_end_that_a_change_overtook_it(
    sites: tuple[Site, Site],
) -> None:
    """The loader names its tags itself: only at its end is it known what it depends on."""
    one, _ = sites
    one.database.gate = asyncio.Event()
    slow = asyncio.create_task(one.tagging(2))
    await one.database.has_read.wait()
    await one.change(2)
    late = [asyncio.create_task(site.tagging(2)) for site in sites]
    await until(lambda: counts(one, "venue")["joined"] == 1)
    await until(lambda: counts(sites[1], "venue")["waited"] == 1)
    one.database.gate.set()
    assert [(await each).version for each in late] == [2, 2]
    assert (await slow).version == 1


async def test_a_change_of_something_else_parts_nobody_from_a_load(
    sites: tuple[Site, Site],
) -> None:
    one, _ = sites
    one.database.gate = asyncio.Event()
    slow = asyncio.create_task(one.tagging(2))
    await one.database.has_read.wait()
    await one.change(1)
    late = [asyncio.create_task(site.tagging(2)) for site in sites]
    await until(lambda: counts(one, "venue")["joined"] == 1)
    one.database.gate.set()
    assert [(await each).version for each in (slow, *late)] == [1, 1, 1]
    assert one.database.loads == 1


async def test_what_came_between_the_question_and_the_lock_is_not_loaded_again(
    sites: tuple[Site, Site], cache: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = sites
    shared = two.platform._layers.shared
    assert shared is not None
    lock = shared.lock

    async def late_lock(key: bytes, *, as_of: int, seconds: float) -> Lock | Held:
        await one.venue(1)
        await until(lambda: cache.client.keys("*:l2:*") and not cache.client.keys("*:fill:*"))
        return await lock(key, as_of=as_of, seconds=seconds)

    monkeypatch.setattr(shared, "lock", late_lock)
    await two.venue(1)
    assert one.database.loads == 1


async def test_what_is_made_of_cached_parts_depends_on_their_tags(
    sites: tuple[Site, Site],
) -> None:
    one, two = sites
    assert [venue.version for venue in await one.listing(2)] == [1, 1]
    await two.change(2)
    with poruwa.collect_tags() as tags:
        assert [venue.version for venue in await one.listing(2)] == [1, 2]
    assert set(tags) == {"venues", "venue:1", "venue:2"}
    with poruwa.collect_tags() as tags:
        assert [venue.version for venue in await two.listing(2)] == [1, 2]
    assert set(tags) == {"venues", "venue:1", "venue:2"}, "from L2 as well"


async def test_what_was_composed_of_old_parts_is_kept(sites: tuple[Site, Site]) -> None:
    """A part that no change touched is as good as loaded now: changes of others meanwhile do not
    keep what is made of it from being stored."""
    one, _ = sites
    await one.venue(1)
    await one.change(2)
    await one.change(2)
    await one.listing(2)
    assert counts(one, "venue")["not_kept"]["changed"] == 0
    loads = one.database.loads
    await one.listing(2)
    assert one.database.loads == loads


async def test_that_something_is_not_there_is_kept_until_it_comes(
    sites: tuple[Site, Site],
) -> None:
    one, two = sites
    assert await one.venue(7) is None
    assert await two.venue(7) is None
    assert await one.venue(7) is None
    assert one.database.loads == 1
    await two.change(7)
    assert (await one.venue(7)).version == 1


async def test_who_goes_away_ends_nothing(sites: tuple[Site, Site]) -> None:
    one, _ = sites
    one.database.gate = asyncio.Event()
    first = asyncio.create_task(one.venue(1))
    await one.database.has_read.wait()
    second = asyncio.create_task(one.venue(1))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    one.database.gate.set()
    assert (await second).version == 1
    assert one.database.loads == 1


async def test_an_error_reaches_all_who_wait_and_is_not_kept(sites: tuple[Site, Site]) -> None:
    one, _ = sites
    one.database.failure = OSError("no database")
    calls = [one.venue(1) for _ in range(5)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in found] == [OSError] * 5
    assert one.database.loads == 1
    one.database.failure = None
    assert (await one.venue(1)).version == 1


async def test_a_copy_that_only_aged_is_served_while_loading_fails(
    sites: tuple[Site, Site],
) -> None:
    """RFC 5861 section 4, and DESIGN section 6, rule 3: changes are hard."""
    one, two = sites
    await one.local(1)
    await asyncio.sleep(0.1)
    one.database.failure = OSError("no database")
    assert (await one.local(1)).version == 1
    assert counts(one, "local")["stale_on_error"] == 1
    await two.platform.invalidate("venue:1")
    with pytest.raises(OSError, match="no database"):
        await one.local(1)


async def test_what_aged_is_served_while_it_is_loaded_anew(sites: tuple[Site, Site]) -> None:
    """RFC 5861 section 3: by one load, of one process."""
    one, two = sites
    await one.short(1)
    await two.short(1)
    one.database.versions[1] = 5  # nobody was told
    await asyncio.sleep(0.2)
    one.database.gate = asyncio.Event()
    assert (await one.short(1)).version == 1, "nobody waits"
    await until(lambda: one.database.loads == 2)
    assert (await two.short(1)).version == 1
    one.database.gate.set()
    one.database.gate = None

    for site in sites:
        await until(lambda site=site: shows(site.short(1), 5))


async def test_a_written_through_class_is_loaded_anew_by_itself(sites: tuple[Site, Site]) -> None:
    one, two = sites
    for _ in range(3):
        await one.eager(1)
    await two.change(1)
    await until(lambda: one.database.loads == 2)
    await until(lambda: counts(one, "eager")["entries"] == 1)
    assert (await one.eager(1)).version == 2
    assert one.database.loads == 2, "it was there before it was asked for"


async def test_arguments_cannot_be_chosen_to_meet_others(sites: tuple[Site, Site]) -> None:
    one, _ = sites

    @one.platform.cached("plain", key="{kind}:{name}")
    async def find(kind: str, name: str) -> str:
        return f"{kind}|{name}"

    assert await find("a:b", "c") == "a:b|c"
    assert await find("a", "b:c") == "a|b:c"
    assert await find("a\nb", "c") == "a\nb|c"


async def test_without_l1_all_is_answered_by_l2(sites: tuple[Site, Site]) -> None:
    one, two = sites
    one.database.seconds = 0.02
    await asyncio.gather(*(site.shared(1) for site in sites for _ in range(10)))
    assert one.database.loads == 1
    await two.shared(1)
    assert one.database.loads == 1
    assert counts(two, "shared")["entries"] == 0
    await one.change(1)
    assert (await two.shared(1)).version == 2


async def test_a_loader_that_asks_for_itself_is_answered(sites: tuple[Site, Site]) -> None:
    one, _ = sites
    depth = 0

    @one.platform.cached("plain")
    async def nested(name: str) -> int:
        nonlocal depth
        depth += 1
        return 1 if depth == 2 else 1 + await nested(name)

    async with asyncio.timeout(5):
        assert await nested("a") == 2


async def test_a_soft_change_is_of_age_alone(sites: tuple[Site, Site]) -> None:
    one, two = sites
    await one.venue(1)
    one.database.versions[1] = 2
    await two.platform.invalidate("venue:1", soft=True)
    assert (await one.venue(1)).version == 1
    assert counts(one, "venue")["stale"] == 1
    await until(lambda: one.database.loads == 2)
    for site in (two, one):
        await until(lambda site=site: shows(site.venue(1), 2))
    assert one.database.loads == 2
