"""Two instances of the site on one cache and one bus: one writes, both show it (G2, issue 5)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pymongo import MongoClient
from site_process import UVICORN, free_port, port_answers, running, seeded_database, wait_for

from fakes.valkey_process import BUS, CACHE, ValkeyProcess

TOKEN = "a token of 32 characters or more"
FIELDS = {
    "Authorization": f"Bearer {TOKEN}",
    "Content-Type": "application/merge-patch+json",
}
LANGUAGES = ("en", "si", "ta")


@dataclass(frozen=True)
class Pair:
    """The instances, their stores and their database."""

    one: httpx.Client
    other: httpx.Client
    bus: ValkeyProcess
    cache: ValkeyProcess
    database: MongoClient[dict[str, object]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with ExitStack() as stack:
        bus = stack.enter_context(ValkeyProcess(folder / "bus", *BUS, password="of the bus"))
        cache = stack.enter_context(ValkeyProcess(folder / "cache", *CACHE))
        url = stack.enter_context(seeded_database(folder / "database"))
        settings = {
            "WEDDINGLK_DATABASE_URL": url,
            "WEDDINGLK_OPERATOR_TOKEN": TOKEN,
            "PORUWA_BUS_URL": bus.url.replace("of the bus", "of%20the%20bus"),
            "PORUWA_CACHE_URL": cache.url,
            "PORUWA_SESSION_KEYS": "s" * 43,
        }
        clients = [
            stack.enter_context(_instance(folder / f"{name}.log", settings))
            for name in ("one", "other")
        ]
        database = stack.enter_context(MongoClient[dict[str, object]](url))
        yield Pair(clients[0], clients[1], bus, cache, database)


@contextmanager
def _instance(log: Path, settings: dict[str, str]) -> Iterator[httpx.Client]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [UVICORN, "weddinglk.app:app", "--host", "127.0.0.1", "--port", str(port)]
    with running([*command, "--loop", "uvloop", "--http", "httptools"], log, settings):
        wait_for(lambda: port_answers(port) and httpx.get(f"{url}/healthz").is_success, "it")
        with httpx.Client(base_url=url, timeout=20.0) as client:
            yield client


def patch(site: httpx.Client, number: int, content: object) -> httpx.Response:
    return site.patch(
        f"/api/v1/venues/{number}", content=json.dumps(content).encode(), headers=FIELDS
    )


def places(site: httpx.Client, number: int, language: str) -> list[str]:
    """Return what shows a venue: its page, cards in a list, a comparison and a search, the API."""
    venue = site.get(f"/api/v1/venues/{number}").json()
    district = venue["district"]["id"]
    return [
        f"/{language}/venues/{number}", f"/{language}/venues?district={district}",
        f"/{language}/compare?venue={number}&venue=2", f"/{language}/search?q={venue['name']}",
        f"/api/v1/venues/{number}?lang={language}",
        f"/api/v1/venues?district={district}&lang={language}",
        f"/api/v1/search?q={venue['name']}&lang={language}",
    ]  # fmt: skip


def assert_shown(site: httpx.Client, number: int, taglines: dict[str, str]) -> None:
    for language, tagline in taglines.items():
        for place in places(site, number, language):
            assert tagline in site.get(place).text, (place, tagline)


def test_no_read_after_the_answer_is_older(pair: Pair) -> None:
    """Page, cards, search and API, in three languages, from both instances, at the next read."""
    for number in range(1, 13):
        writer, reader = (pair.one, pair.other) if number % 2 else (pair.other, pair.one)
        for version in range(2):
            taglines = {code: f"{code}{number}v{version}xq veils" for code in LANGUAGES}
            answer = patch(writer, number, {"tagline": taglines})
            assert answer.status_code == 200, answer.text
            assert int(answer.headers["poruwa-position"]) > 0
            assert_shown(reader, number, taglines)
            assert_shown(writer, number, taglines)
            word = taglines["ta"].split()[0]
            for site in (reader, writer):
                found = site.get(f"/api/v1/search?q={word}").json()
                assert [hit["venue"]["id"] for hit in found["items"]] == [number]


def test_a_change_is_seen_by_conditional_requests(pair: Pair) -> None:
    """RFC 9110 section 13.1.2: who has the old page is not told that it is still the one."""
    page = "/si/venues/20"
    etag = pair.other.get(page).headers["etag"]
    same = pair.other.get(page, headers={"If-None-Match": etag})
    assert same.status_code == 304
    assert patch(pair.one, 20, {"tagline": {"en": "only English"}}).status_code == 200
    unseen = pair.other.get(page, headers={"If-None-Match": etag})
    assert unseen.status_code == 304, "the Sinhala page is byte for byte as it was"
    assert patch(pair.one, 20, {"tagline": {"si": "සිංහල පමණයි"}}).status_code == 200
    seen = pair.other.get(page, headers={"If-None-Match": etag})
    assert (seen.status_code, "සිංහල පමණයි" in seen.text) == (200, True)


def test_what_is_not_shown_stays(pair: Pair) -> None:
    """A tagline changes neither who is listed nor in what order: lists without it are kept."""
    venue = pair.one.get("/api/v1/venues/30").json()
    others = [item for item in pair.one.get("/api/v1/venues?per_page=100").json()["items"]
              if item["district"]["id"] != venue["district"]["id"]]  # fmt: skip
    elsewhere = f"/en/venues?district={others[0]['district']['id']}"
    tags = pair.one.get(elsewhere).headers["cache-groups"]
    assert '"venues"' in tags
    assert '"venue:30"' not in tags
    with pair.bus.client as client:
        (log,) = client.keys("*:log")
        before = client.xlen(log)
        assert patch(pair.one, 30, {"tagline": {"en": "Quiet"}}).status_code == 200
        ((_, fields),) = client.xrevrange(log, count=1)
        assert client.xlen(log) == before + 1
    change = b" ".join(fields.values())
    assert b"venue:30" in change
    assert b"venues" not in change
    assert b"texts" not in change


def test_views_of_all_instances_are_counted_together(pair: Pair) -> None:
    """Pages and API answers that reach the application, of venues and vendors that there are."""
    category = pair.one.get("/api/v1/vendors/9").json()["category"]
    for site in (pair.one, pair.other):
        for path in ("/si/venues/60", "/api/v1/venues/60", f"/en/vendors/{category}/9",
                     "/en/venues/999999"):  # fmt: skip
            site.get(path)
    deadline = time.monotonic() + 30
    with pair.bus.client as client:
        while True:
            counts = {
                name: count
                for key in client.keys("*:tally:views:*")
                for name, count in client.zrange(key, 0, -1, withscores=True)
            }
            if counts.get(b"venue:60") == 4 and counts.get(b"vendor:9") == 3:
                break
            assert time.monotonic() < deadline, counts
            time.sleep(0.1)
    assert b"venue:999999" not in counts


def test_writes_are_refused_without_the_bus_and_pages_are_right(pair: Pair) -> None:
    """Acknowledged or refused, never half; what another process wrote meanwhile is found."""
    written = "seen without the bus xyzq"
    pair.bus.kill()
    became = ""
    deadline = time.monotonic() + 20
    while became != "refused":  # before the lease has lapsed it is stored, and left to the relay
        answer = patch(pair.one, 40, {"tagline": {"en": "not now"}})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
        became = answer.json()["write"]
        assert became in ("stored", "refused")
        assert time.monotonic() < deadline
    pair.database.get_default_database()["venues"].update_one(
        {"_id": 41},
        {"$set": {"tagline": [written] * 3}, "$currentDate": {"changed_at": True}},
    )
    for site in (pair.one, pair.other):
        assert_shown(site, 41, dict.fromkeys(LANGUAGES, written))
        found = site.get("/api/v1/search?q=xyzq").json()
        assert [hit["venue"]["id"] for hit in found["items"]] == [41]
    pair.bus.start()
    deadline = time.monotonic() + 20
    while patch(pair.one, 40, {"tagline": {"en": "now"}}).status_code != 200:
        assert time.monotonic() < deadline, "writes are taken again by themselves"
    assert_shown(pair.other, 40, {"en": "now"})


def test_pages_go_on_without_the_cache(pair: Pair) -> None:
    """L2 is an aid: without it a page asks the database, and a write is acknowledged as ever."""
    pair.cache.kill()
    for number, site in enumerate((pair.one, pair.other)):
        tagline = f"without a cache {number}"
        assert patch(site, 50, {"tagline": {"en": tagline}}).status_code == 200
        assert_shown(pair.one, 50, {"en": tagline})
        assert_shown(pair.other, 50, {"en": tagline})
    pair.cache.start()


def test_both_show_what_the_database_holds(pair: Pair) -> None:
    """After all faults: every listing's tagline, in both instances and all languages."""
    stored = {
        document["_id"]: document["tagline"]
        for document in pair.database.get_default_database()["venues"].find({}, {"tagline": 1})
    }
    for site in (pair.one, pair.other):
        for index, language in enumerate(LANGUAGES):
            shown = site.get(f"/api/v1/venues?per_page=100&lang={language}").json()["items"]
            assert {item["id"]: item["tagline"] for item in shown} == {
                number: taglines[index] for number, taglines in stored.items()
            }
