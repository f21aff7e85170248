"""``EnhancedCacheManager`` alone: no policy file, one Redis (requirement H1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import poruwa
from fakes.valkey_process import BUS, CACHE, ValkeyProcess

OPTIONS = poruwa.CacheOptions(redis_seconds=600, cdn_seconds=60, tags=("venue:12",))


@pytest.fixture(params=["valkey", "redis"])
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ValkeyProcess]:
    """Of the wheel, and Debian's Redis."""
    with ValkeyProcess(tmp_path / "cache", *CACHE, redis=request.param == "redis") as server:
        yield server


class Cdn:
    def __init__(self) -> None:
        self.purged: list[tuple[str, ...]] = []

    async def purge(self, tags: tuple[str, ...]) -> None:
        self.purged.append(tags)


async def test_a_value_is_kept_in_both_layers_and_found_by_others(server: ValkeyProcess) -> None:
    async with (
        poruwa.EnhancedCacheManager(server.url) as cache,
        poruwa.EnhancedCacheManager(server.url) as other,
    ):
        assert await cache.get("venue:12", OPTIONS) is None
        assert await cache.set("venue:12", {"name": "Amaya"}, OPTIONS)
        assert await other.get("venue:12", OPTIONS) == {"name": "Amaya"}
        assert await cache.delete("venue:12") == 1
        assert await cache.get("venue:12") is None
        await cache.set("n", 3, poruwa.CacheOptions(memory_seconds=0), kind=int)
        assert cache.stats()["memory"]["entries"] == 0
        assert await other.get("n", kind=int) == 3
        assert await other.get("n", kind=str) is None, "what was stored as something else"


async def test_a_change_reaches_the_layers_and_the_cdn(
    server: ValkeyProcess, tmp_path: Path
) -> None:
    cdn = Cdn()
    with ValkeyProcess(tmp_path / "bus", *BUS) as bus:
        async with (
            poruwa.EnhancedCacheManager(server.url, bus=bus.url, cdn=cdn) as cache,
            poruwa.EnhancedCacheManager(server.url, bus=bus.url) as other,
        ):
            await cache.set("venue:12", "old", OPTIONS)
            assert await other.get("venue:12", OPTIONS) == "old"
            assert (await cache.invalidate("venue:12")).is_complete
            assert await other.get("venue:12", OPTIONS) is None
            assert await cache.get("venue:12", OPTIONS) is None
    assert cdn.purged == [("venue:12",)]


async def test_it_works_in_one_process_alone() -> None:
    async with poruwa.EnhancedCacheManager() as cache:
        await cache.set("a", [1, 2], OPTIONS)
        assert await cache.get("a", OPTIONS) == [1, 2]
        await cache.invalidate("venue:12")
        assert await cache.get("a", OPTIONS) is None


async def test_without_its_redis_it_goes_on(tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path / "cache", *CACHE) as server:
        async with poruwa.EnhancedCacheManager(server.url) as cache:
            server.kill()
            await cache.set("a", 1, OPTIONS)
            assert await cache.get("a", OPTIONS) == 1
            assert await cache.get("b", OPTIONS) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (OPTIONS, ("no-cache", "max-age=60", "venue:12")),
        (poruwa.CacheOptions(browser_seconds=300), ("public, max-age=300", "no-store", None)),
        (poruwa.CacheOptions(is_private=True, browser_seconds=60, cdn_seconds=60),
         ("private, max-age=60", None, None)),
        (poruwa.CacheOptions(is_private=True), ("no-store", None, None)),
    ],
)  # fmt: skip
def test_headers_say_the_same_to_browsers_and_cdn(
    options: poruwa.CacheOptions, expected: tuple[str | None, ...]
) -> None:
    fields = poruwa.EnhancedCacheManager().headers(options)
    names = ("Cache-Control", "CDN-Cache-Control", "Cache-Tag")
    assert tuple(fields.get(name) for name in names) == expected
