"""The site behind a gateway with the site's own policy (issue 4, last point; B1, B2, B8)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import weddinglk
from fakes.gateway_process import GatewayProcess

POLICY = Path(weddinglk.__file__).parent / "site.toml"
PAGES = (
    "/si", "/ta/about", "/en/venues", "/venues?district=kandy", "/en/venues/1", "/vendors/cakes",
    "/en/search?q=garden", "/en/compare?venue=1&venue=2", "/api/v1/venues?per_page=100",
    "/api/v1/venues/1?lang=ta", "/robots.txt", "/sitemap.xml", "/favicon.ico",
)  # fmt: skip


class Front:
    """A gateway of one worker before the running site, and a visitor of it."""

    def __init__(self, folder: Path, site: str) -> None:
        text = POLICY.read_text("utf-8")
        text = re.sub(r'address = "127\.0\.0\.1:800[01]"', 'address = "127.0.0.1:0"', text)
        text = text.replace("count = 3", f'instances = ["{site.removeprefix("http://")}"]')
        self.control = f"{folder}/control.sock"
        self.gateway = GatewayProcess(
            folder, "--control", self.control, "--workers", "1", policy=text,
            environment={
                "PORUWA_AFFINITY_KEYS": "0123456789abcdef" * 4,
                "PORUWA_SESSION_KEYS": "fedcba9876543210" * 4,
            },
        )  # fmt: skip
        url = f"http://{self.gateway.address}"
        # Bytes are compared with the site's own, which does not compress.
        self.client = httpx.Client(
            base_url=url, timeout=10.0, headers={"Accept-Encoding": "identity"}
        )

    def get(self, path: str, **fields: str) -> httpx.Response:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        return self.client.get(path, headers=headers)

    def purge(self, tag: str) -> None:
        """Let the gateway forget what depends on ``tag``."""
        command = [sys.executable, "-m", "poruwa.cli.main", "purge", "--tag", tag]
        command += ["--admin", f"unix:{self.control}"]
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    def stop(self) -> None:
        self.client.close()
        self.gateway.stop()


@pytest.fixture(scope="module")
def front(base_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The site as its visitors reach it."""
    made = Front(tmp_path_factory.mktemp("front"), base_url)
    yield made
    made.stop()


def is_hit(response: httpx.Response) -> bool:
    """Whether the response came from the gateway's store, as Cache-Status says (RFC 9211)."""
    return bool(re.search(r";\s*hit\b", response.headers.get("cache-status", "")))


@pytest.mark.parametrize("path", PAGES)
def test_one_copy_for_all(front: Front, site: httpx.Client, path: str) -> None:
    """B1, B2: kept by its class, the bytes of the site, whoever asks; browsers ask each time,
    which costs no body. Tags stay inside.
    """
    front.get(path)
    kept = front.get(path, Cookie="weddinglk.session-token=x", User_Agent="other")
    assert is_hit(kept)
    direct = site.get(path, headers={"Host": front.gateway.address})
    assert kept.content == direct.content
    assert kept.headers["etag"] == direct.headers["etag"]
    assert kept.headers["content-type"] == direct.headers["content-type"]
    assert kept.headers.get("content-language") == direct.headers.get("content-language")
    assert "cache-groups" in direct.headers or path in ("/ta/about", *PAGES[-3:])
    assert not {"cache-groups", "set-cookie"} & set(kept.headers)
    answers = path.startswith("/api/")
    assert kept.headers["cache-control"] == ("public, max-age=300" if answers else "no-cache")
    again = front.get(path, If_None_Match=kept.headers["etag"])
    assert (again.status_code, again.content, is_hit(again)) == (304, b"", True)
    assert front.get(path, Accept_Encoding="gzip").content == direct.content, "once decoded"


def test_a_language_is_one_copy(front: Front) -> None:
    """B1: of all the Accept-Language fields there are, three copies of a page."""
    front.get("/venues?style=beach", Accept_Language="si")
    for field in ("si", "si-LK,si;q=0.9,en;q=0.8", "fr, si;q=0.5"):
        kept = front.get("/venues?style=beach", Accept_Language=field)
        assert (is_hit(kept), kept.headers["content-language"]) == (True, "si")
    other = front.get("/venues?style=beach", Accept_Language="ta")
    assert (is_hit(other), other.headers["content-language"]) == (False, "ta")
    # A language in the query is another address; what else is in it is none.
    assert front.get("/venues?style=beach&lang=si").headers["content-language"] == "si"
    assert is_hit(front.get("/venues?utm_source=x&style=beach", Accept_Language="si"))


def test_a_change_reaches_each_page_that_shows_it(front: Front, site: httpx.Client) -> None:
    """B8: a venue's tag puts its page, the lists and comparisons it is on, and the API's answers
    out of date, and nothing else; a list's tag the lists alone.
    """
    listed = site.get("/api/v1/venues?per_page=100").json()["items"]
    first, last = listed[0]["id"], listed[-1]["id"]
    showing = [f"/en/venues/{first}", f"/ta/venues/{first}?reviews=2", "/en/venues", "/si/venues",
               f"/en/compare?venue={first}&venue={last}", "/api/v1/venues?per_page=100",
               f"/api/v1/venues/{first}", f"/api/v1/venues/{first}/reviews"]  # fmt: skip
    others = ["/en/venues?page=2", f"/api/v1/venues/{last}", f"/en/compare?venue={last}",
              "/en/vendors", "/en/about", "/robots.txt"]  # fmt: skip
    lists = ["/en/venues", "/si/venues", "/api/v1/venues?per_page=100", "/en/venues?page=2"]
    for path in showing + others:
        front.get(path)
    front.purge(f"venue:{first}")
    assert [path for path in others if not is_hit(front.get(path))] == []
    assert [path for path in showing if is_hit(front.get(path))] == []
    front.purge("venues")
    assert [path for path in showing + others if not is_hit(front.get(path))] == [
        path for path in showing + others if path in lists
    ]


def test_what_is_not_there_is_not_kept(front: Front) -> None:
    """Issue 4: no error is stored that one client provoked."""
    for path in ("/en/venues/999999", "/nope", "/api/v1/venues/0", "/static/x/nope.css"):
        for _ in range(2):
            response = front.get(path)
            assert response.status_code in (404, 422)
            assert not is_hit(response)
            assert response.headers["cache-control"] == "no-store"
