"""What the site tells the caches before it (issue 4, DESIGN sections 6 and 7).

docs/cache-for-apps.md says what becomes of it. Two processes of the site on one database: whatever
a cache keeps must be the same from both.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import http_sf
import httpx
import pytest
from site_process import UVICORN, free_port, port_answers, running, wait_for

import weddinglk
from weddinglk.search.dependencies import term_tag
from weddinglk.search.tokens import stem
from weddinglk.web.availability import today
from weddinglk.web.filters import PAGE_PARAMETERS

LANGUAGES = ("en", "si", "ta")
PAGES = (
    "/", "/about", "/venues", "/venues?district=kandy&guests=100&sort=price", "/venues?page=3",
    "/venues?q=beech", "/venues/{venue}", "/venues/2?date=2027-06-01&reviews=2", "/vendors",
    "/vendors/make-up", "/vendors/cakes/{vendor}", "/search", "/search?q=garden+kandy",
    "/search?q=zzzzqqqq", "/compare", "/compare?venue=3&venue=1&venue=99999",
)  # fmt: skip
ANSWERS = (
    "/venues", "/venues?per_page=100&style=garden", "/venues/1", "/venues/1/reviews",
    "/venues/1/availability", "/vendors", "/vendors?category=cakes&language=ta", "/vendors/1",
    "/vendors/1/reviews", "/districts", "/search?q=garden", "/suggestions?q=gar",
)  # fmt: skip
FILES = ("/robots.txt", "/sitemap.xml", "/manifest.webmanifest", "/favicon.ico",
         "/api/v1/openapi.json")  # fmt: skip
LISTS = {"venues", "vendors"}
TODAY = "day:today"
_PRELOAD = re.compile(
    r"<(/static/[0-9a-f]+/site\.css)>; rel=preload; as=style; "
    r'integrity="(sha384-[A-Za-z0-9+/]{64})"'
)


@pytest.fixture(scope="module")
def twin(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A second process of the same build, with another order of sets and with h11."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {
        "WEDDINGLK_DATABASE_URL": database_url,
        "WEDDINGLK_BUILD": "test-build",
        "PYTHONHASHSEED": "4711",
    }
    command = [UVICORN, "weddinglk.app:app", "--host", "127.0.0.1", "--port", str(port)]
    log = tmp_path_factory.mktemp("twin") / "site.log"
    with running([*command, "--loop", "asyncio", "--http", "h11"], log, settings):
        wait_for(lambda: port_answers(port) and httpx.get(f"{url}/healthz").is_success, "the twin")
        with httpx.Client(base_url=url, timeout=10.0) as client:
            yield client


@pytest.fixture(scope="module")
def ids(site: httpx.Client) -> dict[str, int]:
    """A venue of many in its district, and a vendor of cakes."""
    venue = site.get("/api/v1/venues?district=colombo&per_page=1").json()["items"][0]
    vendor = site.get("/api/v1/vendors?category=cakes&per_page=1").json()["items"][0]
    return {"venue": venue["id"], "vendor": vendor["id"]}


@pytest.fixture(scope="module")
def addresses(ids: dict[str, int]) -> list[str]:
    """Every kind of page in each language and without one; every kind of answer in two ways."""
    pages = [page.format_map(ids) for page in PAGES]
    prefixed = [f"/{language}{page}" for language in LANGUAGES for page in pages]
    answers = [f"/api/v1{answer}" for answer in ANSWERS]
    tamil = [f"{answer}{'&' if '?' in answer else '?'}lang=ta" for answer in answers]
    return [*pages, *prefixed, *answers, *tamil]


def tags_of(response: httpx.Response) -> set[str]:
    """Return the tags, by an independent parser; each may be named once."""
    field = response.headers.get("cache-groups")
    if field is None:
        return set()
    members = http_sf.parse(field.encode(), tltype="list")
    assert isinstance(members, list)
    names = [member[0] for member in members if isinstance(member, tuple)]
    assert all(isinstance(name, str) for name in names)
    assert len(names) == len(set(names)) == len(members)
    return {str(name) for name in names}


def shown(response: httpx.Response) -> set[str]:
    """Return a tag for each listing that a page links to, or that an answer of the API holds."""
    if response.headers["content-type"] != "application/json":
        venues = re.findall(r'href="(?:/(?:en|si|ta))?/venues/(\d+)', response.text)
        vendors = re.findall(r'href="(?:/(?:en|si|ta))?/vendors/[\w-]+/(\d+)', response.text)
        return {f"venue:{number}" for number in venues} | {f"vendor:{n}" for n in vendors}
    found: set[str] = set()
    content = response.json()
    kind = "vendor" if response.url.path.startswith("/api/v1/vendors") else "venue"
    for item in content if isinstance(content, list) else content.get("items", [content]):
        if "url" in item and "kind" in item:  # a suggestion
            found.add(f"{item['kind']}:{item['url'].rpartition('/')[2]}")
        elif "kind" in item:  # a hit of the search
            found.add(f"{item['kind']}:{item[item['kind']]['id']}")
        elif "price_from_lkr" in item or "guests_max" in item:
            found.add(f"{kind}:{item['id']}")
    return found


def fields_of(response: httpx.Response) -> list[tuple[str, str]]:
    """Return all fields but those that the server adds by the clock."""
    return [(name, value) for name, value in response.headers.multi_items() if name != "date"]


@pytest.mark.parametrize(
    ("path", "lists", "others"),
    [
        ("/en/", LISTS, set()),
        ("/en/venues", {"venues"}, set()),
        ("/si/venues?district=kandy&sort=price", {"venues"}, set()),
        ("/venues?q=zzzzqqqq", {"venues"}, {"texts", "spellings", "word:zzzzqqqq"}),
        ("/ta/vendors", {"vendors"}, set()),
        ("/vendors/make-up", {"vendors"}, set()),
        ("/en/search", LISTS, set()),
        ("/en/search?q=garden", LISTS, {"texts", "word:garden"}),
        ("/en/search?q=beech+kandy", LISTS, {"texts", "spellings", "word:beech", "word:kandy"}),
        ("/search?q=garden&kind=venue", LISTS, {"texts", "word:garden"}),
        ("/en/venues/{venue}", set(), {"venue:{venue}", TODAY}),
        ("/si/venues/2?date=2027-06-01&reviews=2", set(), {"venue:2", TODAY}),
        ("/en/vendors/cakes/{vendor}", set(), {"vendor:{vendor}"}),
        ("/en/compare?venue=3&venue=1&venue=99999", set(), {"venue:99999", TODAY}),
        ("/en/compare", set(), set()),
        ("/en/about", set(), set()),
        ("/api/v1/venues", {"venues"}, set()),
        ("/api/v1/venues?per_page=100", {"venues"}, set()),
        ("/api/v1/venues/1?lang=si", set(), set()),
        ("/api/v1/venues/1/reviews", set(), {"venue:1"}),
        ("/api/v1/venues/1/availability", set(), {"venue:1", TODAY}),
        ("/api/v1/vendors", {"vendors"}, set()),
        ("/api/v1/vendors/7", set(), set()),
        ("/api/v1/vendors/7/reviews", set(), {"vendor:7"}),
        ("/api/v1/districts", LISTS, set()),
        ("/api/v1/search?q=garden", LISTS, {"texts", "word:garden"}),
        ("/api/v1/suggestions?q=garden", LISTS, {"texts", "word:garden"}),
    ],
)
def test_what_is_shown_is_what_is_tagged(
    site: httpx.Client, ids: dict[str, int], path: str, lists: set[str], others: set[str]
) -> None:
    """Every listing on a page reaches it by its own tag, every list by its collection's; and no
    tag stands there for what is not on the page, or a change would put out of date what it did
    not change.
    """
    day = None
    while day != today():
        day = today()
        response = site.get(path.format_map(ids))
    assert response.status_code == 200
    expected = lists | {tag.format_map(ids) for tag in others} | shown(response)
    for tag in [tag for tag in expected if tag.startswith("word:")]:
        expected = expected - {tag} | {term_tag(stem(tag.removeprefix("word:")))}
    if TODAY in expected:
        expected = expected - {TODAY} | {f"day:{day}"}
    assert tags_of(response) == expected
    if path in ("/en/", "/en/venues", "/api/v1/venues", "/en/search?q=garden"):
        assert len(expected) > 10, "lists show something"
    if path == "/api/v1/venues?per_page=100":
        assert len(expected) == 101
    if "{" in path:
        assert len(expected) > 1, "similar ones are shown"


@pytest.mark.parametrize(
    "path", ["/venues/999999", "/api/v1/venues/999999", "/vendors/cakes/999999"]
)
def test_what_does_not_exist_is_tagged_too(site: httpx.Client, path: str) -> None:
    """Its coming is a change. Nobody keeps the answer, as one visitor may have provoked it."""
    response = site.get(path)
    assert (response.status_code, response.headers["cache-control"]) == (404, "no-store")
    assert tags_of(response) == {"vendor:999999" if "vendors" in path else "venue:999999"}
    assert "etag" not in response.headers


def test_two_processes_answer_alike(
    site: httpx.Client, twin: httpx.Client, addresses: list[str]
) -> None:
    """B1: bytes and fields hold nothing of a request, a process or an order of sets.

    A calendar changes at midnight in Sri Lanka: what was asked across it is asked again.
    """
    host = {"Host": "weddinglk.test"}  # robots.txt and the sitemap name it
    for path in [*addresses, *FILES]:
        day = None
        while day != today():
            day = today()
            first, again = site.get(path, headers=host), site.get(path, headers=host)
            other = twin.get(path, headers=host)
        assert first.status_code == 200, path
        assert first.content == again.content == other.content, path
        assert fields_of(first) == fields_of(again) == fields_of(other), path


def test_every_answer_can_be_revalidated(site: httpx.Client, ids: dict[str, int]) -> None:
    """RFC 9110 sections 8.8.3, 9.3.2 and 15.4.5: a strong tag; 304 and HEAD say of caching what
    GET says. Nothing is said of lifetimes: those are the policy's.
    """
    pages = [page.format_map(ids) for page in PAGES]
    for path in [*pages, "/si/venues/1", *(f"/api/v1{answer}" for answer in ANSWERS), *FILES]:
        day = None
        while day != today():
            day = today()
            page, head = site.get(path), site.head(path)
            not_modified = site.get(path, headers={"If-None-Match": page.headers["etag"]})
        assert re.fullmatch(r'"[0-9a-f]{16,32}"', page.headers["etag"]), path
        assert (head.status_code, head.content) == (200, b""), path
        assert fields_of(head) == fields_of(page), path
        assert int(head.headers["content-length"]) == len(page.content), path
        assert (not_modified.status_code, not_modified.content) == (304, b""), path
        for name in ("etag", "vary", "cache-groups", "cache-control", "content-location"):
            assert not_modified.headers.get(name) == page.headers.get(name), (path, name)
        assert "content-type" not in not_modified.headers
        assert not {"cache-control", "expires", "set-cookie"} & set(page.headers), path


def test_language_is_all_that_a_page_varies_by(site: httpx.Client, addresses: list[str]) -> None:
    """DESIGN section 7: one copy for all who speak a language, whoever they are."""
    visitor = {
        "Cookie": "weddinglk.session-token=x; theme=dark", "Authorization": "Bearer x",
        "User-Agent": "Mozilla/5.0 (iPhone)", "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example", "X-Original-URL": "/about", "X-Rewrite-URL": "/about",
        "X-HTTP-Method-Override": "DELETE", "Forwarded": "for=203.0.113.9;host=evil.example",
        "Referer": "https://evil.example/", "Accept": "application/json", "Save-Data": "on",
        "Range": "bytes=0-9", "Cache-Control": "no-cache", "Origin": "https://evil.example",
    }  # fmt: skip
    for path in addresses:
        if path.startswith(("/si", "/en")):
            continue  # as /ta
        day = None
        while day != today():
            day = today()
            bare, dressed = site.get(path), site.get(path, headers=visitor)
        assert dressed.content == bare.content, path
        assert fields_of(dressed) == fields_of(bare), path
        named = re.match(r"/(en|si|ta)/|.*[?&]lang=(en|si|ta)", path)
        assert bare.headers.get("vary") == (None if named else "Accept-Language"), path
        wanted = (named[1] or named[2]) if named else "en"
        assert bare.headers["content-language"] == wanted, path


def test_what_a_page_does_not_know_is_not_in_it(site: httpx.Client) -> None:
    """A cache gives a page the parameters of its class, in one order; any other changes nothing."""
    policy = tomllib.loads((Path(weddinglk.__file__).parent / "site.toml").read_text("utf-8"))
    classes = {name: c for name, c in policy["classes"].items() if name != "api"}
    keyed = {name for c in classes.values() for name in c.get("query_parameters", ())}
    assert keyed == set(PAGE_PARAMETERS)
    page = site.get("/en/venues?district=kandy&style=garden")
    for query in ("utm_source=mail&district=kandy&style=garden&fbclid=1&_=2", "style=garden&"
                  "district=kandy", "district=kandy&q=&style=garden&guests="):  # fmt: skip
        assert site.get(f"/en/venues?{query}").content == page.content, query


def test_a_page_names_what_to_load_with_it(site: httpx.Client) -> None:
    """RFC 8297: the style sheet, once, at the very address that the page uses."""
    for path in ("/", "/si/venues/1", "/en/search?q=garden", "/ta/compare"):
        page = site.get(path)
        (link,) = page.headers.get_list("link")
        match = _PRELOAD.fullmatch(link)
        assert match, link
        element = f'<link rel="stylesheet" href="{match[1]}" integrity="{match[2]}">'
        assert page.text.count(element) == 1, "a preload of another integrity is loaded twice"
        assert page.text.count('rel="stylesheet"') == 1
        style = site.get(match[1])
        assert style.headers["content-type"] == "text/css; charset=utf-8"
        # What style sheets load themselves, fonts above all, would have to be named as well.
        assert not re.search(r"url\(|@import|@font-face", style.text)
    for path in ("/api/v1/venues/1", "/robots.txt", match[1], "/nope"):
        assert "link" not in site.get(path).headers


def test_files_and_pictures_can_be_revalidated(site: httpx.Client, twin: httpx.Client) -> None:
    """B10: immutable under their own address, with a strong tag that all processes agree on."""
    text = site.get("/").text + site.get("/vendors/cakes").text
    urls = sorted(set(re.findall(r'(?:src|href)="(/(?:static|art)/[^"#]+)"', text)))
    assert len(urls) > 20
    types = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
             "svg": "image/svg+xml"}  # fmt: skip
    for url in urls:
        response, other = site.get(url), twin.get(url)
        assert response.headers["content-type"] == types[url.rpartition(".")[2]]
        assert re.fullmatch(r'"[0-9a-f]{16,32}"', response.headers["etag"])
        assert response.content == other.content
        assert fields_of(response) == fields_of(other)
        fields = {"If-None-Match": response.headers["etag"]}
        not_modified = site.get(url, headers=fields)
        assert (not_modified.status_code, not_modified.content) == (304, b"")
        assert not_modified.headers["cache-control"] == response.headers["cache-control"]
        assert "set-cookie" not in response.headers


def test_redirects_depend_on_what_decided_them(site: httpx.Client) -> None:
    """A page past the last leads to it as long as there are so many; browsers ask each time."""
    beyond = site.get("/en/venues?page=999")
    assert (beyond.status_code, beyond.headers["cache-control"]) == (302, "no-cache")
    assert "venues" in tags_of(beyond)
    vendor = site.get("/api/v1/vendors/7").json()
    other = "cakes" if vendor["category"] != "cakes" else "flowers"
    moved = site.get(f"/en/vendors/{other}/7")
    assert (moved.status_code, moved.headers["cache-control"]) == (308, "no-cache")
    assert tags_of(moved) == {"vendor:7"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nope", 404), ("GET", "/api/v1/nope", 404), ("POST", "/venues", 405),
     ("GET", "/api/v1/venues?page=x", 422), ("DELETE", "/api/v1/venues/1", 405),
     ("GET", "/static/x/nope.css", 404), ("GET", "/art/x/venue/nope/1.svg", 404),
     ("HEAD", "/nope", 404)],
)  # fmt: skip
def test_errors_are_kept_by_nobody(site: httpx.Client, method: str, path: str, status: int) -> None:
    """Issue 4: no error is stored that one client provoked."""
    response = site.request(method, path, headers={"If-None-Match": "*"})
    assert (response.status_code, response.headers["cache-control"]) == (status, "no-store")
    assert not {"etag", "link", "set-cookie"} & set(response.headers)
