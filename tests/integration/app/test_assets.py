"""``platform.assets``: files of one build got through another, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import poruwa
from fakes.valkey_process import BUS, CACHE, ValkeyProcess
from poruwa.app import assets as module
from poruwa.config.load import parse_policy

POLICY = parse_policy(
    """
[site]
name = "assets"
domain = "localhost"

[pools.app]
instances = ["127.0.0.1:9"]

[[routes]]
path = "/*"
pool = "app"
""",
    "site.toml",
)
FILES = "{poruwa}:assets"
OLD = poruwa.Asset("site.css", "text/css", b"a { color: red }")
NEW = poruwa.Asset("site.css", "text/css", b"a { color: blue }")


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("bus"), *BUS) as server:
        yield server


@pytest.fixture
async def pair(bus: ValkeyProcess) -> AsyncIterator[tuple[poruwa.Assets, poruwa.Assets]]:
    """Two instances: one of the old build, one of the new."""
    bus.client.flushall()
    async with AsyncExitStack() as stack:
        platforms = [
            await stack.enter_async_context(
                poruwa.Platform(POLICY, environ={"PORUWA_BUS_URL": bus.url}).running()
            )
            for _ in range(2)
        ]
        old, new = (platform.assets for platform in platforms)
        assert await old.keep([OLD])
        assert await new.keep([NEW])
        yield old, new


async def until_kept(assets: poruwa.Assets) -> None:
    async with asyncio.timeout(20):
        while not assets.stats()["is_kept"]:
            await asyncio.sleep(0.02)


def test_a_fingerprint_is_of_all_that_is_sent() -> None:
    """Nothing of a response can change, or move into its neighbour, under the same URL."""
    assets = [
        OLD, NEW, poruwa.Asset("site.js", "text/css", OLD.body),
        poruwa.Asset("site.css", "text/plain", OLD.body),
        poruwa.Asset("site.css", "text/", b"css" + OLD.body),
    ]  # fmt: skip
    assert len({asset.fingerprint for asset in assets}) == 5
    assert {len(asset.fingerprint) for asset in assets} == {32}
    assert poruwa.Asset("site.css", "text/css", OLD.body) == OLD


def test_what_cannot_be_an_asset_is_told() -> None:
    with pytest.raises(ValueError, match=r"'film.mp4' has 1048577 bytes; .* 1048576 at most"):
        poruwa.Asset("film.mp4", "video/mp4", bytes((1 << 20) + 1))
    with pytest.raises(ValueError, match="hold no NUL"):
        poruwa.Asset("site.css\0", "text/css", b"")


async def test_builds_of_a_size_that_leaves_no_room_for_others_are_refused() -> None:
    assets = poruwa.Platform(POLICY, environ={}).assets
    files = [poruwa.Asset(f"{n}.js", "text/javascript", bytes(1 << 20)) for n in range(5)]
    with pytest.raises(ValueError, match="5242880 bytes; those of a build have 4194304 at most"):
        await assets.keep(files)
    assert assets.stats()["files"] == 0


async def test_each_build_has_the_files_of_the_other(
    pair: tuple[poruwa.Assets, poruwa.Assets],
) -> None:
    for assets in pair:
        assert await assets.get(OLD.fingerprint, "site.css") == OLD
        assert await assets.get(NEW.fingerprint, "site.css") == NEW
        assert (assets.counts["own"], assets.counts["found"]) == (1, 1)


async def test_files_outlive_the_instances_of_their_build(
    bus: ValkeyProcess, pair: tuple[poruwa.Assets, poruwa.Assets]
) -> None:
    async with poruwa.Platform(POLICY, environ={"PORUWA_BUS_URL": bus.url}).running() as later:
        bus.restart()  # what acknowledged writes promise holds for these
        await pair[0].get(OLD.fingerprint, "site.css")
        async with asyncio.timeout(10):
            while (found := await later.assets.get(OLD.fingerprint, "site.css")) is None:
                await asyncio.sleep(0.02)
        assert found == OLD


@pytest.mark.parametrize(
    "name", ["site.js", "../site.css", "", "x.css", "site.css\0", "\udcff", "SITE.CSS"]
)
async def test_a_file_answers_to_its_own_name_alone(
    pair: tuple[poruwa.Assets, poruwa.Assets], name: str
) -> None:
    """Caches keep what is served for good: nobody may name as many copies as he likes."""
    for assets in pair:
        assert await assets.get(OLD.fingerprint, name) is None


@pytest.mark.parametrize(
    "fingerprint", ["", "x", "0" * 31, "0" * 32, "0" * 33, "F" * 32, "é" * 32, "0" * 31 + "\n"]
)
async def test_made_up_fingerprints_are_nothing(
    bus: ValkeyProcess, pair: tuple[poruwa.Assets, poruwa.Assets], fingerprint: str
) -> None:
    bus.client.hset(FILES, fingerprint.encode(), b"text/css\0" + NEW.body)
    assert await pair[0].get(fingerprint, "site.css") is None


@pytest.mark.parametrize(
    "planted",
    [
        b"text/css\0body { display: none }", b"", b"\0", b"text/css", b"text/html\0" + OLD.body,
        b"\xff\0" + OLD.body, b"text/css\0" + OLD.body + b"\n", bytes(3 << 20),
        b"text/css\0" + NEW.body,
    ],
)  # fmt: skip
async def test_planted_content_is_refused_and_put_right(
    bus: ValkeyProcess, pair: tuple[poruwa.Assets, poruwa.Assets], planted: bytes
) -> None:
    """Who may write to the store can take files away, but not put others in their place."""
    old, new = pair
    bus.client.hset(FILES, OLD.fingerprint, planted)
    assert await new.get(OLD.fingerprint, "site.css") is None
    assert new.counts["refused"] == 1
    assert await old.get(OLD.fingerprint, "site.css") == OLD, "its own it knows"
    assert await old.keep([OLD])
    assert await new.get(OLD.fingerprint, "site.css") == OLD


async def test_the_store_away_own_files_stay_and_all_come_back(
    bus: ValkeyProcess,
    pair: tuple[poruwa.Assets, poruwa.Assets],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the store comes back empty, and for a build that starts while it is away."""
    monkeypatch.setattr(module, "LOOKED_EVERY_SECONDS", 0.05)
    old, new = pair
    bus.kill()
    later = poruwa.Asset("site.js", "text/javascript", b"1")
    try:
        assert await new.get(OLD.fingerprint, "site.css") is None
        assert new.counts["away"] == 1
        assert await old.get(OLD.fingerprint, "site.css") == OLD
        async with poruwa.Platform(POLICY, environ={"PORUWA_BUS_URL": bus.url}).running() as third:
            assert not await third.assets.keep([later])
            assert await third.assets.get(later.fingerprint, "site.js") == later
            bus.restart(keep=False)
            await until_kept(third.assets)
            async with asyncio.timeout(20):
                while await new.get(later.fingerprint, "site.js") is None:
                    await asyncio.sleep(0.02)
                while await new.get(OLD.fingerprint, "site.css") is None:
                    await asyncio.sleep(0.02)
    finally:
        if bus.process is None:
            bus.start()


async def test_without_a_store_there_are_own_files() -> None:
    platform = poruwa.Platform(POLICY, environ={})
    assert not await platform.assets.keep([OLD])
    for _ in range(2):
        async with platform.running():
            assert not await platform.assets.keep([OLD])
            assert await platform.assets.get(OLD.fingerprint, "site.css") == OLD
            assert await platform.assets.get(NEW.fingerprint, "site.css") is None
    assert platform.stats()["assets"] == {
        "own": 2, "found": 0, "missing": 2, "away": 0, "refused": 0, "files": 1, "is_kept": False,
    }  # fmt: skip


async def test_where_there_is_only_a_cache_it_serves(tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path, *CACHE) as cache:
        environ = {"PORUWA_CACHE_URL": cache.url}
        async with (
            poruwa.Platform(POLICY, environ=environ).running() as one,
            poruwa.Platform(POLICY, environ=environ).running() as other,
        ):
            assert await one.assets.keep([OLD])
            assert await other.assets.get(OLD.fingerprint, "site.css") == OLD


async def test_files_named_before_it_runs_are_kept_once_it_does(bus: ValkeyProcess) -> None:
    bus.client.flushall()
    platform = poruwa.Platform(POLICY, environ={"PORUWA_BUS_URL": bus.url})
    assert not await platform.assets.keep([OLD])
    for _ in range(2):  # again, as in a second event loop
        async with platform.running():
            await until_kept(platform.assets)
    assert bus.client.hkeys(FILES) == [OLD.fingerprint.encode()]
