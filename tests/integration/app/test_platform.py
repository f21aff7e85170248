"""``Platform`` as an app uses it: headers of responses, objects by key, changes, metrics."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import poruwa
from fakes.cached_site import POLICY, Database, Mood, Site, Venue, counts, running_sites, until
from fakes.valkey_process import BUS, CACHE, ValkeyProcess
from poruwa.app.cache.layers import REFRESHES
from poruwa.rules.position import epoch_of, n_of


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


def client_of(site: Site) -> httpx.AsyncClient:
    """An app with a page, a write and a page that is made of nothing cached."""

    async def page(request: Request) -> Response:
        venue = await site.venue(request.path_params["venue_id"])
        return JSONResponse({"version": venue.version if venue else None})

    async def write(request: Request) -> Response:
        await site.change(request.path_params["venue_id"])
        return Response(status_code=204)

    async def bare(request: Request) -> Response:
        return JSONResponse({})

    app = Starlette(
        routes=[
            Route("/venues/{venue_id:int}", page),
            Route("/venues/{venue_id:int}", write, methods=["POST"]),
            Route("/bare", bare),
        ],
        lifespan=site.platform.lifespan,
    )
    site.platform.install(app)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app")


async def test_a_response_says_what_it_depends_on_and_how_old_it_may_be(
    sites: tuple[Site, Site],
) -> None:
    one, two = sites
    async with client_of(one) as client:
        for _ in range(2):  # loaded, and from L1
            answer = await client.get("/venues/1")
            assert answer.headers["cache-groups"] == '"venue:1"'
            assert answer.headers["poruwa-as-of"] == str(one.platform.stats()["position"])
            assert "poruwa-unsure" not in answer.headers
        await two.change(2)
        later = await client.get("/bare")
        assert int(later.headers["poruwa-as-of"]) > int(answer.headers["poruwa-as-of"])


async def test_a_response_that_a_change_overtook_is_as_old_as_its_beginning(
    sites: tuple[Site, Site],
) -> None:
    one, two = sites
    one.database.gate = asyncio.Event()
    async with client_of(one) as client:
        asked = asyncio.create_task(client.get("/venues/1"))
        await one.database.has_read.wait()
        before = one.platform.stats()["position"]
        await two.change(1)
        one.database.gate.set()
        answer = await asked
    assert answer.headers["poruwa-as-of"] == str(before), "the gateway sees that it is too old"


async def test_a_write_says_its_position_and_who_has_it_reads_the_write(
    sites: tuple[Site, Site],
) -> None:
    one, two = sites
    async with client_of(one) as client, client_of(two) as other:
        await other.get("/venues/1")
        answer = await client.post("/venues/1")
        position = answer.headers["poruwa-position"]
        assert int(position) == one.platform.stats()["position"]
        again = await other.get("/venues/1", headers={"poruwa-position": position})
        assert again.json() == {"version": 2}
        assert "poruwa-position" not in again.headers


async def test_who_needs_what_is_not_applied_here_gets_it_past_the_caches(
    sites: tuple[Site, Site],
) -> None:
    one, _ = sites
    async with client_of(one) as client:
        await client.get("/venues/1")
        one.database.versions[1] = 9
        ahead = {"poruwa-position": str(one.platform.stats()["position"] + 1)}
        answer = await client.get("/venues/1", headers=ahead)
        assert answer.json() == {"version": 9}
        assert answer.headers["cache-groups"] == '"venue:1"'
        assert counts(one, "venue")["bypassed_behind"] == 1
        assert (await client.get("/venues/1")).json() == {"version": 1}, "others go on"
        for nonsense in ("x", "-1", "9" * 40, ""):
            answer = await client.get("/venues/1", headers={"poruwa-position": nonsense})
            assert answer.json() == {"version": 1}


async def test_a_process_that_may_have_missed_a_change_says_so(
    cache: ValkeyProcess, tmp_path: Path
) -> None:
    with ValkeyProcess(tmp_path / "bus", *BUS) as bus:
        async with running_sites(cache, bus) as (one, _):
            bus.freeze()
            await until(lambda: not one.is_sure())
            async with client_of(one) as client:
                for path in ("/venues/1", "/bare"):
                    assert (await client.get(path)).headers["poruwa-unsure"] == "1"
            bus.thaw()


async def test_objects_by_class_and_key(sites: tuple[Site, Site]) -> None:
    one, two = (site.platform.cache for site in sites)
    value = Venue(3, 1, (Mood.LOUD,))
    assert await one.get("user", "3", Venue) is None
    assert await one.set("user", "3", value, Venue, tags=("user:3",))
    assert await two.get("user", "3", Venue) == value
    assert await two.get_many("user", ["3", "4"], Venue) == {"3": value}
    assert await one.touch("user", "3")
    assert not await one.touch("user", "4")
    assert await two.delete("user", "3", "4") == 1
    assert await one.get("user", "3", Venue) is None
    await one.set("user", "3", {"plain": [1, "a"]})
    assert await two.get("user", "3") == {"plain": [1, "a"]}
    with pytest.raises(poruwa.ConfigError, match="usr"):
        await one.get("usr", "3")


async def test_a_value_read_before_a_change_is_not_set_after_it(sites: tuple[Site, Site]) -> None:
    one, two = sites
    begun = one.platform.cache.begin()
    await two.platform.invalidate("user:3")
    assert not await one.platform.cache.set("user", "3", "old", str, tags=("user:3",), as_of=begun)
    assert await two.platform.cache.get("user", "3", str) is None


async def test_changes_by_key_and_pattern_reach_l1_and_l2(sites: tuple[Site, Site]) -> None:
    one, two = sites
    for site in sites:
        for key in ("a:1", "a:2", "b:1"):
            await site.platform.cache.set("plain", key, "value", str)
    assert await two.platform.cache.get("plain", "a:1", str) == "value"
    await one.platform.invalidate(keys="plain:a:1")
    found = await two.platform.cache.get_many("plain", ["a:1", "a:2", "b:1"], str)
    assert set(found) == {"a:2", "b:1"}
    acknowledgement = await one.platform.invalidate(pattern="plain:a:*")
    assert acknowledgement.is_complete
    assert not any(answer.lapsed for answer in acknowledgement.layers.values())
    found = await two.platform.cache.get_many("plain", ["a:1", "a:2", "b:1"], str)
    assert set(found) == {"b:1"}
    await two.platform.invalidate(everything=True)
    assert await one.platform.cache.get_many("plain", ["b:1"], str) == {}


@pytest.mark.parametrize(
    ("tags", "options"),
    [((), {}), (("a b",), {}), ((), {"keys": "venue"}), ((), {"keys": "nothing:1"})],
)
async def test_a_change_of_nothing_is_refused(
    tags: tuple[str, ...], options: dict[str, str]
) -> None:
    site = Site(Database(), {})
    with pytest.raises(ValueError):
        await site.platform.invalidate(*tags, **options)  # type: ignore[arg-type]


async def test_without_stores_one_process_keeps_and_changes() -> None:
    site = Site(Database(), {})
    assert site.platform.log is None
    async with site.platform.running():
        assert [(await site.venue(1)).version for _ in range(3)] == [1, 1, 1]
        assert site.database.loads == 1
        await site.change(1)
        assert (await site.venue(1)).version == 2
        async with client_of(site) as client:
            answer = await client.get("/venues/1")
        assert "poruwa-as-of" not in answer.headers
        assert answer.headers["cache-groups"] == '"venue:1"'


async def test_l2_without_a_bus_is_shared(cache: ValkeyProcess) -> None:
    cache.client.flushall()
    database = Database()
    one, two = (Site(database, {"PORUWA_CACHE_URL": cache.url}) for _ in range(2))
    async with one.platform.running(), two.platform.running():
        await one.venue(1)
        await until(lambda: cache.client.keys("*:l2:*"))
        await two.venue(1)
        assert database.loads == 1
        await two.change(1)
        assert (await two.venue(1)).version == 2, "who made the change sees it"


async def test_popular_objects_are_loaded_ahead_and_no_more_at_once_than_the_budget() -> None:
    site = Site(Database(), {})
    database = site.database

    @site.platform.cached("ahead")
    async def load(number: int) -> int:
        database.loads += 1
        if database.gate is not None:
            await database.gate.wait()
        return database.loads

    count = REFRESHES + 10
    async with site.platform.running():
        await asyncio.gather(*(load(number) for number in range(count)))
        database.gate = asyncio.Event()
        for entry in list(site.platform._layers.memory._store.entries()):
            entry.expires_at = 0.0  # as in the last part of their lives
        values = await asyncio.gather(*(load(number) for number in range(count)))
        await until(lambda: database.loads == count + REFRESHES)
        assert max(values) <= count, "nobody waited"
        statistics = counts(site, "ahead")
        assert statistics["refreshes"] == REFRESHES
        assert statistics["refreshes_put_off"] == 10
        database.gate.set()
        await until(lambda: site.platform._layers.refreshes == 0)
        assert max([await load(number) for number in range(count)]) > count


async def test_metrics_are_for_who_asks_the_process_itself() -> None:
    site = Site(Database(), {})
    async with site.platform.running(), client_of(site) as client:
        for _ in range(3):
            await client.get("/venues/1")
        page = await client.get("/_poruwa/metrics")
        for name in ("x-forwarded-for", "Forwarded", "Via"):
            refused = await client.get("/_poruwa/metrics", headers={name: "10.0.0.1"})
            assert refused.status_code == 404
            assert "poruwa" not in refused.text
    samples = {
        (sample.name, sample.labels.get("by")): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }
    assert samples["poruwa_app_cache_calls_total", "memory"] == 2
    assert samples["poruwa_app_cache_calls_total", "loader"] == 1
    assert samples["poruwa_app_cache_load_seconds_count", None] == 1
    assert samples["poruwa_app_sure", None] == 1


async def test_metrics_tell_of_the_log_and_the_stores(sites: tuple[Site, Site]) -> None:
    one, _ = sites
    await one.venue(1)
    await one.change(1)
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(one.platform.metrics().decode())
        for sample in family.samples
    }
    assert samples["poruwa_app_acknowledgement_seconds_count"] == 1
    assert samples["poruwa_app_staleness_seconds_count"] == 1
    position = one.platform.stats()["position"]
    assert samples["poruwa_app_epoch"] == epoch_of(position)
    assert samples["poruwa_app_position"] == n_of(position)
    json.dumps(one.platform.stats())


def test_a_file_its_secrets_and_the_variable_that_comes_before_it(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    secret = 'password = "env:CACHE_PASSWORD"'
    single = 'mode = "single"\nnodes = ["127.0.0.1:1"]\n'
    affinity = '[pools.app.affinity]\ncookie = "A"\nkeys = "env:NOT_THE_APPS"\n'
    file.write_text(
        POLICY.replace('[stores.cache]\nmode = "embedded"', f"[stores.cache]\n{single}{secret}")
        + affinity
    )
    with pytest.raises(poruwa.ConfigError, match="CACHE_PASSWORD"):
        poruwa.Platform.from_file(file, environ={})
    environ = {"CACHE_PASSWORD": "x"}
    platform = poruwa.Platform.from_file(file, environ=environ)
    assert platform.policy.stores.cache.password.reveal() == "x"  # type: ignore[union-attr]
    poruwa.Platform.from_file(file, environ={"PORUWA_CACHE_URL": "valkey://127.0.0.1:1"})
    environ["PORUWA_POLICY"] = str(file)
    assert poruwa.Platform.from_file("elsewhere.toml", environ=environ).policy.site.name == "cached"


def test_two_functions_cannot_share_a_key() -> None:
    platform = Site(Database(), {}).platform

    @platform.cached("venue", key="{venue_id}")
    async def load(venue_id: int) -> int: ...

    with pytest.raises(poruwa.ConfigError, match="same key"):

        @platform.cached("venue", key="{venue_id}")
        async def reviews(venue_id: int) -> int: ...


def test_what_l2_could_not_give_back_is_refused_unless_only_l1_keeps_it() -> None:
    async def load() -> object: ...

    environ = {"PORUWA_CACHE_URL": "valkey://127.0.0.1:1"}
    platform = Site(Database(), environ).platform
    with pytest.raises(poruwa.ConfigError, match="application lifetime"):
        platform.cached("venue")(load)
    platform.cached("local")(load)


@pytest.mark.slow
def test_types_of_a_decorated_function_are_those_it_had(tmp_path: Path) -> None:
    """mypy --strict, as the sites' developers run it."""
    (tmp_path / "typed.py").write_text("""
import poruwa
platform = poruwa.Platform.from_file("site.toml")

@platform.cached("venue", tags=("venue:{venue_id}",))
async def load(venue_id: int, *, language: str = "en") -> list[str] | None:
    return None

async def main() -> None:
    reveal_type(load)
    reveal_type(await load(1, language="si"))
    reveal_type(await platform.cache.get("venue", "1", int))
    await load("1")
""")
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "typed.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"MYPYPATH": str(Path(poruwa.__file__).parents[1]), "PATH": "/usr/bin:/bin"},
    )
    lines = [line for line in found.stdout.splitlines() if line.startswith("typed.py")]
    assert len(lines) == 4, found.stdout
    assert (
        "def (venue_id: int, *, language: str =) -> typing.Coroutine[Any, Any, list[str] | None]"
        in (lines[0].replace("builtins.", "").replace("Union[list[str], None]", "list[str] | None"))
    )
    assert "list[" in lines[1]
    assert "int" in lines[2]
    assert 'incompatible type "str"; expected "int"' in lines[3]
