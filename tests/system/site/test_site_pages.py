"""The pages of the running site: languages, filters, errors, validators, escaping."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx
import pytest

LANGUAGES = ("en", "si", "ta")
PATHS = (
    "/", "/about", "/venues", "/venues?district=kandy&guests=100&sort=price", "/venues/1",
    "/venues/1?date=2027-06-01&reviews=2", "/vendors", "/vendors/make-up", "/search",
    "/search?q=beach", "/search?q=zzzzqqqq", "/compare", "/compare?venue=1&venue=2&venue=99999",
)  # fmt: skip
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "wbr"}


class Document(HTMLParser):
    """What of a page the tests look at; refuses elements that are not closed as they should."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag, (tag, self.getpos())

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """Return the attributes of every ``tag`` that has those wanted."""
        found = [attributes for name, attributes in self.elements if name == tag]
        return [a for a in found if all(a.get(key) == value for key, value in wanted.items())]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", PATHS)
def test_every_page_in_every_language(site: httpx.Client, language: str, path: str) -> None:
    """F: 200, well-formed, in its language, one h1, unique ids, links that keep the language."""
    response = site.get(f"/{language}{path}")
    assert response.status_code == 200
    assert response.headers["content-language"] == language
    assert "vary" not in response.headers
    document = Document(response.text)
    assert document.all("html") == [{"lang": language}]
    assert len(document.all("h1")) == len(document.all("main")) == 1
    ids = [a["id"] for _, a in document.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["for"] for a in document.all("label") if "for" in a} <= set(ids)
    own = [a["href"] for a in document.all("a") if a["href"].startswith("/") and "lang" not in a]
    assert [href for href in own if not href.startswith((f"/{language}/", "/api/"))] == []
    assert {a["hreflang"] for a in document.all("link", rel="alternate")} == {
        *LANGUAGES,
        "x-default",
    }
    assert len(document.all("link", rel="canonical")) == 1
    assert document.all("meta", name="build")[0]["content"] == "test-build"
    assert not re.search(r"\{\{|\{%|\bNone\b|Undefined|object at 0x", response.text)


@pytest.mark.parametrize("path", PATHS)
def test_every_link_and_file_of_a_page_is_there(site: httpx.Client, path: str) -> None:
    """F: no dead link, picture, script or style on the main pages."""
    document = Document(site.get(path).text)
    targets = {a["href"] for tag in ("a", "link") for a in document.all(tag)}
    targets |= {a["src"] for tag in ("img", "script") for a in document.all(tag) if "src" in a}
    targets |= {a["href"].partition("#")[0] for a in document.all("use")}
    checked = 0
    for target in sorted(targets)[:: 1 if path in ("/", "/venues/1") else 7]:
        url = urljoin(path, target).partition("#")[0]
        if url:
            assert site.get(url).status_code in (200, 302, 303), target
            checked += 1
    assert checked > 3


@pytest.mark.parametrize(
    ("path", "header", "language"),
    [("/venues", "si,en;q=0.5", "si"), ("/venues?lang=ta", "si", "ta"), ("/venues", "", "en"),
     ("/venues", "fr", "en")],
)  # fmt: skip
def test_negotiated_pages_say_so(site: httpx.Client, path: str, header: str, language: str) -> None:
    """F: an unprefixed page varies by Accept-Language, unless its query names the language."""
    response = site.get(path, headers={"Accept-Language": header})
    assert response.headers["content-language"] == language
    assert response.headers.get("vary") == (None if "lang=" in path else "Accept-Language")
    assert f'<html lang="{language}">' in response.text


def test_language_switch_keeps_the_page(site: httpx.Client) -> None:
    """F: the switch leads to the same filters in the other language."""
    document = Document(site.get("/en/venues?district=kandy&style=garden&lang=si").text)
    (tamil,) = document.all("a", hreflang="ta")
    assert tamil["href"] == "/ta/venues?district=kandy&style=garden"


def test_filters_narrow_the_list(site: httpx.Client) -> None:
    """F: what the page shows is what the API finds; district names work in any case."""
    for filters in ("district=Colombo", "guests=300", "price_max=6000", "style=ballroom",
                    "setting=outdoor", "district=colombo&style=ballroom"):  # fmt: skip
        page = site.get(f"/en/venues?{filters}")
        found = site.get(f"/api/v1/venues?{filters}").json()
        cards = re.findall(r'class="card-title"><a href="/en/venues/(\d+)"', page.text)
        assert [int(card) for card in cards] == [item["id"] for item in found["items"]], filters
        assert 0 < found["total"] < 100
        assert f"{found['total']} venue" in page.text


def test_pages_of_a_list_do_not_overlap(site: httpx.Client) -> None:
    """F: the pager leads through everything once; a page past the end leads to the last."""
    seen: list[str] = []
    path: str | None = "/en/venues?sort=price"
    while path:
        text = site.get(path).text
        seen += re.findall(r'class="card-title"><a href="/en/venues/(\d+)"', text)
        following = [a["href"] for a in Document(text).all("a", rel="next")]
        path = following[0] if following else None
    assert len(seen) == len(set(seen)) == 100
    beyond = site.get("/en/venues?sort=price&page=999")
    assert beyond.status_code == 302
    assert beyond.headers["location"] == "/en/venues?sort=price&page=5"


def test_search_corrects_a_slip(site: httpx.Client) -> None:
    """F: spelling tolerance says what it did."""
    response = site.get("/en/search?q=kandi+beech")
    assert response.status_code == 200
    assert "We found nothing written “kandi beech”" in response.text


@pytest.mark.parametrize("path", ["/nope", "/venues/0", "/venues/999999", "/venues/x",
                                  "/venues/99999999999999999999", "/vendors/nobody",
                                  "/vendors/cakes/999999", "/art/x/venue/nope/1.svg",
                                  "/art/x/venue/beach/10000.svg", "/static/x/nope.css",
                                  "/si/nope", "/%3Cscript%3E"])  # fmt: skip
def test_not_found(site: httpx.Client, path: str) -> None:
    """F: the site's own page, in a language, stored by nobody."""
    response = site.get(path)
    assert response.status_code == 404
    assert response.headers["cache-control"] == "no-store"
    document = Document(response.text)
    assert len(document.all("h1")) == 1
    assert len(document.all("script")) == 2
    assert _has_own_blocks_alone(response)


def test_a_trailing_slash_is_taken_off(site: httpx.Client) -> None:
    """F, D8: within the language and the host; never to a host the path names."""
    response = site.get("/si/venues/?style=beach")
    assert response.status_code == 308
    assert response.headers["location"] == "/si/venues?style=beach"
    for path in ("//example.org/", "/\\example.org/", "/%2f/example.org/", "/en//example.org/"):
        answer = site.get(httpx.URL(str(site.base_url).rstrip("/") + path))
        assert answer.status_code == 404, path


def test_other_methods_are_refused(site: httpx.Client) -> None:
    """F: 405 with Allow, a page of our own."""
    response = site.post("/venues")
    assert response.status_code == 405
    assert "GET" in response.headers["allow"]
    assert "can be read, not written to" in response.text


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>',
                                  "{{7*7}}", "'-alert(1)-'", "</title><b>"])  # fmt: skip
def test_what_visitors_write_stays_text(site: httpx.Client, text: str) -> None:
    """D8: a search is shown, never run: not in text, attributes, title or links."""
    for path in ("/search", "/venues", "/vendors/cakes"):
        response = site.get(path, params={"q": text, "district": text, "sort": text})
        assert response.status_code == 200
        document = Document(response.text)
        assert not [a for _, a in document.elements if any(name.startswith("on") for name in a)]
        sources = [a["src"] for a in document.all("script") if "src" in a]
        assert [source.partition("/")[2].partition("/")[0] for source in sources] == ["static"]
        assert len(document.all("script")) == 2
        assert _has_own_blocks_alone(response)
        assert text in [a.get("value") for a in document.all("input", name="q")]
        assert "49" not in response.text[response.text.index("<h1") :][:200]


def _has_own_blocks_alone(response: httpx.Response) -> bool:
    """Whether a page's header allows its inline blocks, each by its hash, and no other."""
    (own,) = re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL)
    expected = f"'sha256-{b64encode(sha256(own.encode()).digest()).decode()}'"
    policy = response.headers["content-security-policy"]
    return re.findall(r"'sha256-[^']*'", policy) == [expected]


def test_revalidation(site: httpx.Client) -> None:
    """B1: a page carries a validator of its bytes and is answered 304 to who has it."""
    for path in ("/en/venues/1", "/venues", "/api/v1/venues/1", "/sitemap.xml"):
        first = site.get(path)
        again = site.get(path, headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers.get("vary") == first.headers.get("vary")
        head = site.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == first.headers["etag"]


def test_static_files_and_pictures_are_kept_for_a_year(site: httpx.Client) -> None:
    """B10: under its fingerprint a file never changes; under another there is none, and no picture
    that anybody keeps.
    """
    text = site.get("/venues").text
    urls = re.findall(r'(?:src|href)="(/(?:static|art)/[^"#]+)"', text)
    assert {url.rpartition(".")[2] for url in urls} == {"css", "js", "svg"}
    for url in set(urls):
        response = site.get(url)
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.headers["x-content-type-options"] == "nosniff"
        _, kind, _, rest = url.split("/", 3)
        old = site.get(f"/{kind}/0000/{rest}")
        assert old.headers["cache-control"] == "no-store"
        # A picture is drawn for everybody; what another file held, an integrity may speak of.
        assert old.status_code == (404 if kind == "static" else 200)
        assert kind == "static" or old.content == response.content


def test_a_day_is_answered_without_script(site: httpx.Client) -> None:
    """F: the calendar's question works as a plain form."""
    days = site.get("/api/v1/venues/1/availability").json()
    booked = days["booked_days"][0]
    assert "Sorry, this day is taken." in _answer(site, booked)
    assert "Yes, this day is free." in _answer(site, days["last_day"])
    assert "That day has passed." in _answer(site, "2001-01-01")
    assert _answer(site, "<b>") == ""


def _answer(site: httpx.Client, day: str) -> str:
    text = site.get("/en/venues/1", params={"date": day}).text
    found = re.search(r'class="date-answer[^>]*>([^<]*)<', text)
    assert found
    return found[1]


def test_vendor_under_a_wrong_category_moves(site: httpx.Client) -> None:
    """F: one address a vendor."""
    vendor = site.get("/api/v1/vendors?per_page=1").json()["items"][0]
    other = "cakes" if vendor["category"] != "cakes" else "flowers"
    response = site.get(f"/si/vendors/{other}/{vendor['id']}")
    assert response.status_code == 308
    assert response.headers["location"] == f"/si/vendors/{vendor['category']}/{vendor['id']}"


def test_what_machines_read(site: httpx.Client) -> None:
    """F: readiness, robots, sitemap, manifest, icon."""
    assert site.get("/healthz").text == "ready\n"
    assert "Sitemap: http://127.0.0.1" in site.get("/robots.txt").text
    assert site.get("/sitemap.xml").text.count("<loc>") == 3 * (4 + 25 + 9)
    assert site.get("/manifest.webmanifest").json()["icons"]
    icon = site.get("/favicon.ico")
    assert icon.headers["content-type"] == "image/svg+xml"
    assert icon.text.startswith("<svg")
