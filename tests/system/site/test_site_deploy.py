"""Another build of the site goes live while people have pages of the old one open (D7, B10)."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from site_process import free_port, seeded_database
from two_builds import IMMUTABLE, Instance, Page, build_of, get, instance, make_build

from fakes.chromium import needs_browser, run_script
from fakes.gateway_process import GatewayProcess
from fakes.valkey_process import BUS, CACHE, ValkeyProcess

# Nothing is kept by this gateway: every file is asked of whichever instance it chooses.
POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 2
[pools.app]
instances = [{instances}]
[pools.app.health]
path = "/healthz"
interval = "1s"
timeout = "900ms"
[[routes]]
path = "/*"
pool = "app"
"""
# This one keeps them as the site's own policy has it.
KEPT = """
[classes.static]
scope = "shared"
immutable = true
lifetimes = { browser = "1y", cdn = "1y", gateway = "1y" }
[[routes]]
path = "/static/*"
pool = "app"
data_class = "static"
"""
PAGES = ("/en", "/si/venues", "/ta/venues/1", "/en/search?q=beach", "/en/vendors")


@dataclass(frozen=True)
class Site:
    """Two places for instances, their stores, two builds of the code, and gateways."""

    instances: tuple[Instance, Instance]
    bus: ValkeyProcess
    old: Path
    new: Path
    gateway: GatewayProcess
    keeping: GatewayProcess

    @property
    def url(self) -> str:
        return f"http://{self.gateway.address}"

    def pages(self) -> tuple[Page, Page]:
        """Return a page of each instance."""
        one, other = (Page.read(get(f"{each.url}/en")) for each in self.instances)
        return one, other


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("deploy")
    with ExitStack() as stack:
        bus = stack.enter_context(ValkeyProcess(folder / "bus", *BUS))
        cache = stack.enter_context(ValkeyProcess(folder / "cache", *CACHE))
        settings = {
            "WEDDINGLK_DATABASE_URL": stack.enter_context(seeded_database(folder / "database")),
            "PORUWA_BUS_URL": bus.url,
            "PORUWA_CACHE_URL": cache.url,
            "PORUWA_SESSION_KEYS": "s" * 43,
        }
        one, other = (
            stack.enter_context(instance(folder, free_port(), settings)) for _ in range(2)
        )
        old, new = (make_build(folder, f"build-{name}") for name in ("old", "new"))
        for each in (one, other):
            each.run(old)
        text = POLICY.format(instances=f'"127.0.0.1:{one.port}", "127.0.0.1:{other.port}"')
        one_worker = text.replace("workers = 2", "workers = 1")  # with one store
        gateways = []
        for name, policy in (("plain", text), ("keeping", one_worker + KEPT)):
            (folder / name).mkdir()
            gateways.append(GatewayProcess(folder / name, policy=policy))
            stack.callback(gateways[-1].stop)
        yield Site((one, other), bus, old, new, gateways[0], gateways[1])


class Visitors:
    """People who load pages, with all that is in them, all the time; ``faults`` lists what failed.

    Attributes:
        loaded: pages by the build that made them.
        open_pages: one of each build.
    """

    def __init__(self, url: str, count: int = 3) -> None:
        self.faults: list[str] = []
        self.loaded: Counter[str] = Counter()
        self.open_pages: dict[str, Page] = {}
        self._url = url
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def await_pages(self, count: int, *builds: str) -> None:
        """Wait until so many more pages of each of ``builds`` were loaded, with their files."""
        targets = {build: self.loaded[build] + count for build in builds}
        deadline = time.monotonic() + 60
        while any(self.loaded[build] < target for build, target in targets.items()):
            assert not self.faults, self.faults
            assert time.monotonic() < deadline, self.loaded
            time.sleep(0.01)

    def _run(self, number: int) -> None:
        while not self._is_over.is_set() and not self.faults:
            try:
                answer = get(self._url + PAGES[number % len(PAGES)])
                page = Page.read(answer)
                self.faults += page.faults(self._url)
                for old in list(self.open_pages.values()):
                    self.faults += old.faults(self._url)
            except (httpx.HTTPError, AssertionError) as error:
                self.faults.append(repr(error))
                return
            self.open_pages.setdefault(page.build, page)
            self.loaded[page.build] += 1
            self._is_over.wait(0.05)
            number += 1


def test_a_rolling_deploy_leaves_no_page_without_its_files(site: Site) -> None:
    """Every page loaded during it, and those open since before, gets each of its files, as its
    integrity says; also when no instance of the old build is left, and on the way back.
    """
    old, new = site.old.name, site.new.name
    with Visitors(site.url) as visitors:
        visitors.await_pages(5, old)
        site.instances[0].run(site.new)
        visitors.await_pages(6, old, new)
        site.instances[1].run(site.new)
        visitors.await_pages(6, new)
        assert set(visitors.open_pages) == {old, new}
        site.instances[0].run(site.old)
        visitors.await_pages(6, old, new)
    assert visitors.faults == []


def test_each_build_serves_the_files_of_the_other_as_its_own(site: Site) -> None:
    """Old page and new instance, new page and old instance: byte for byte, field for field."""
    site.instances[0].run(site.old)
    site.instances[1].run(site.new)
    old, new = site.pages()
    assert (old.build, new.build) == (site.old.name, site.new.name)
    assert not {path for path, _ in old.files} & {path for path, _ in new.files}
    for path, _ in old.files | new.files:
        one, other = (get(each.url + path) for each in site.instances)
        assert (one.status_code, one.content) == (other.status_code, other.content)
        assert one.status_code == 200
        for answer in (one, other):
            del answer.headers["date"]
            answer.headers.pop("poruwa-position", None)
        assert one.headers == other.headers
        again = get(site.instances[1].url + path, If_None_Match=one.headers["etag"])
        assert again.status_code == 304


@needs_browser
def test_a_browser_takes_a_page_of_one_build_with_the_files_of_the_other(site: Site) -> None:
    """D7: style and script of the page's own build apply; nothing is on the console."""
    site.instances[0].run(site.old)
    site.instances[1].run(site.new)
    urls = [each.url for each in site.instances]
    assert run_script("deploy.mjs", *urls) == [
        {"errors": [], "build": build.name, "style": build.name, "isLive": True}
        for build in (site.old, site.new)
    ]


def test_the_gateway_keeps_what_another_build_served_and_no_refusal(site: Site) -> None:
    """B1, B10: a year, for browsers and here; an unknown fingerprint is asked for each time."""
    old, new = site.pages()
    url = f"http://{site.keeping.address}"
    for page in (old, new):
        assert page.faults(url) == []
        for path, _ in page.files:
            kept = get(url + path)
            assert re.search(r";\s*hit\b", kept.headers["cache-status"])
            assert kept.headers["cache-control"] == IMMUTABLE
    for path in _unknown(old):
        for _ in range(2):
            answer = get(url + path)
            assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")
            assert not re.search(r";\s*hit\b", answer.headers["cache-status"])


def _unknown(page: Page) -> list[str]:
    """Return paths that no build has: a fingerprint made up, and one under another's name."""
    style, script = (
        next(path for path, _ in page.files if path.endswith(name)) for name in (".css", ".js")
    )
    fingerprint = style.split("/")[2]
    return [
        style.replace(fingerprint, "0" * 32), style.replace(fingerprint, "0" * 16),
        script.replace(script.split("/")[2], fingerprint), style.replace("site.css", "mine.css"),
    ]  # fmt: skip


def test_what_somebody_planted_in_the_store_is_refused(site: Site) -> None:
    """The content is checked against the fingerprint: 404 that nobody stores, and never a 200."""
    old, _ = site.pages()
    style = next(path for path, _ in old.files if path.endswith(".css"))
    evil = b"text/css; charset=utf-8\0body { background: url(https://elsewhere.test) }"
    with site.bus.client as client:
        (files,) = client.keys("*:assets")
        name = style.split("/")[2]
        right = client.hget(files, name)
        assert right is not None
        client.hset(files, name, evil)
        try:
            refused = get(site.instances[1].url + style)
            assert (refused.status_code, refused.headers["cache-control"]) == (404, "no-store")
            assert b"elsewhere" not in refused.content
            assert get(site.instances[0].url + style).status_code == 200, "it has its own"
            client.hset(files, "0" * 32, evil)
            made_up = get(site.instances[1].url + style.replace(name, "0" * 32))
            assert made_up.status_code == 404
        finally:
            client.hset(files, name, right)
            client.hdel(files, "0" * 32)
    assert old.faults(site.instances[1].url) == []


def test_with_the_bus_away_each_build_has_its_own_files(site: Site) -> None:
    """404 that nobody stores, and no instance is thought ill for it; back by itself afterwards."""
    old, new = site.pages()
    style = next(path for path, _ in old.files if path.endswith(".css"))
    site.bus.freeze()
    try:
        for _ in range(20):
            answer = get(site.instances[1].url + style)
            assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")
            get(site.url + style.replace(style.split("/")[2], "0" * 32))
        for page, each in zip((old, new), site.instances, strict=True):
            assert page.faults(each.url) == []
        states = {each["state"] for each in site.gateway.status()["instances"]}
        assert states == {"up"}
    finally:
        site.bus.thaw()
    deadline = time.monotonic() + 20
    while old.faults(site.instances[1].url) or new.faults(site.instances[0].url):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert build_of(get(f"{site.url}/en").text) in (old.build, new.build)
