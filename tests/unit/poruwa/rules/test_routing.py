"""Which route a request takes, and which paths are refused (SECURITY-CHECKS 48, 50)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.rules.routing import RouteTable, expand_rewrite, normalise_host, normalise_path

PATHS: list[tuple[str, str | None]] = json.loads(
    (Path(__file__).parents[3] / "spec/routing/paths.json").read_text()
)


@dataclass(frozen=True)
class Route:
    path: str
    hosts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


@pytest.mark.parametrize(("path", "normal"), PATHS)
def test_normal_paths(path: str, normal: str | None) -> None:
    """RFC 3986 section 6.2.2; what two programs could read differently is refused."""
    assert normalise_path(path.encode("latin-1")) == (None if normal is None else normal.encode())


def test_encoded_slashes_can_be_allowed() -> None:
    assert normalise_path(b"/p/group%2fname", allow_encoded_slash=True) == b"/p/group%2Fname"
    assert normalise_path(b"/p/..%5cname", allow_encoded_slash=True) is None


@given(st.binary(max_size=40))
def test_normal_form_is_stable_and_means_the_same(tail: bytes) -> None:
    normal = normalise_path(b"/" + tail)
    if normal is not None:
        assert normalise_path(normal) == normal
        assert unquote_to_bytes(normal) == unquote_to_bytes(b"/" + tail)
        segments = unquote_to_bytes(normal).split(b"/")
        assert b".." not in segments
        assert b"." not in segments
        assert len(segments) == normal.count(b"/") + 1  # decoding adds no separator


ROUTES = (
    Route("/*"),  # 0
    Route("/venues"),  # 1
    Route("/venues/{id}"),  # 2
    Route("/venues/new"),  # 3
    Route("/venues/*"),  # 4
    Route("/venues/{id}/photos/*"),  # 5
    Route("/static/*"),  # 6
    Route("/static/images/*"),  # 7
    Route("/api/v1/search", methods=("GET",)),  # 8
    Route("/api/v1/search", methods=("POST",)),  # 9
    Route("/*", hosts=("admin.weddinglk.com",)),  # 10
    Route("/*", hosts=("*.weddinglk.com",)),  # 11
    Route("/only", hosts=("shop.weddinglk.com",)),  # 12
    Route("/{lang}/about"),  # 13
    Route("/files/{name}.pdf"),  # 14
    Route("/files/{name}"),  # 15
)
TABLE = RouteTable(ROUTES)


@pytest.mark.parametrize(
    ("host", "method", "path", "index"),
    [
        ("weddinglk.lk", "GET", "/", 0),
        ("weddinglk.lk", "GET", "/unknown/deep", 0),
        ("weddinglk.lk", "GET", "/venues", 1),
        ("weddinglk.lk", "GET", "/venues/", 4),
        ("weddinglk.lk", "GET", "/venues/12", 2),
        ("weddinglk.lk", "GET", "/venues/new", 3),
        ("weddinglk.lk", "GET", "/venues/12/reviews", 4),
        ("weddinglk.lk", "GET", "/venues/12/photos/1.jpg", 5),
        ("weddinglk.lk", "GET", "/venues/12/photos", 5),
        ("weddinglk.lk", "GET", "/venuesque", 0),
        ("weddinglk.lk", "GET", "/static/app.css", 6),
        ("weddinglk.lk", "GET", "/static/images/a/b/c.svg", 7),
        ("weddinglk.lk", "GET", "/static", 6),
        ("weddinglk.lk", "GET", "/static;x/app.css", 0),
        ("weddinglk.lk", "GET", "//static/app.css", 0),
        ("weddinglk.lk", "GET", "/api/v1/search", 8),
        ("weddinglk.lk", "HEAD", "/api/v1/search", 8),
        ("weddinglk.lk", "POST", "/api/v1/search", 9),
        ("weddinglk.lk", "DELETE", "/api/v1/search", 0),
        ("admin.weddinglk.com", "GET", "/venues", 10),
        ("ADMIN.weddinglk.com.:8443", "GET", "/venues", 10),
        ("x.y.weddinglk.com", "GET", "/venues", 11),
        ("weddinglk.com", "GET", "/venues", 1),
        ("evilweddinglk.com", "GET", "/venues", 1),
        ("shop.weddinglk.com", "GET", "/only", 12),
        ("shop.weddinglk.com", "GET", "/venues", 11),
        ("", "GET", "/venues", 1),
        ("weddinglk.lk", "GET", "/en/about", 13),
        ("weddinglk.lk", "GET", "//about", 0),
        ("weddinglk.lk", "GET", "/files/a.pdf", 14),
        ("weddinglk.lk", "GET", "/files/a.txt", 15),
    ],
)
def test_the_most_specific_wins(host: str, method: str, path: str, index: int) -> None:
    assert TABLE.match(host.encode(), method.encode(), path.encode()) == index


@pytest.mark.parametrize("order", [1, -1])
def test_order_of_routes_does_not_matter(order: int) -> None:
    routes = (Route("/a/*"), Route("/a/{x}"), Route("/a/b"), Route("/{y}/b"))[::order]
    table = RouteTable(routes)
    for path, wanted in (
        ("/a/b", "/a/b"),
        ("/a/c", "/a/{x}"),
        ("/z/b", "/{y}/b"),
        ("/a/c/d", "/a/*"),
    ):
        index = table.match(b"h", b"GET", path.encode())
        assert index is not None
        assert routes[index].path == wanted


@pytest.mark.parametrize("order", [1, -1])
def test_deeper_prefixes_win_and_literals_among_equals(order: int) -> None:
    patterns = ["/{x}/*", "/{x}/{y}/*", "/a/*", "/a/b/*", "/{x}/b/*", "/a/{y}/z/*"]
    routes = tuple(Route(pattern) for pattern in patterns)[::order]
    table = RouteTable(routes)
    for path, wanted in (
        ("/a/b/c", "/a/b/*"),
        ("/a/c/d", "/{x}/{y}/*"),
        ("/q/b/c", "/{x}/b/*"),
        ("/q/r/c", "/{x}/{y}/*"),
        ("/q", "/{x}/*"),
        ("/a", "/a/*"),
        ("/a/b/z/1", "/a/{y}/z/*"),
    ):
        index = table.match(b"h", b"GET", path.encode())
        assert index is not None
        assert routes[index].path == wanted


def test_no_route_and_no_method() -> None:
    table = RouteTable((Route("/form", methods=("POST",)), Route("/page", methods=("GET",))))
    assert table.match(b"h", b"GET", b"/form") is None
    assert table.allowed_methods(b"h", b"/form") == {b"POST"}
    assert table.allowed_methods(b"h", b"/page") == {b"GET", b"HEAD"}
    assert table.allowed_methods(b"h", b"/none") == frozenset()


def test_explicit_head_beats_the_head_of_get() -> None:
    table = RouteTable((Route("/a", methods=("GET",)), Route("/a", methods=("HEAD",))))
    assert table.match(b"h", b"HEAD", b"/a") == 1


def test_routes_that_are_the_same_are_refused() -> None:
    for pair in (
        (Route("/a"), Route("/a")),
        (Route("/a/{x}"), Route("/a/{y}")),
        (Route("/a", methods=("GET", "POST")), Route("/a", methods=("POST",))),
        (Route("/a", hosts=("H.lk",)), Route("/a", hosts=("h.lk",))),
    ):
        with pytest.raises(ValueError, match="same requests"):
            RouteTable(pair)
    with pytest.raises(ValueError, match="twice"):
        RouteTable((Route("/{a}/{a}"),))


def test_parameters_and_rewrites() -> None:
    assert TABLE.parameters(5, b"/venues/12/photos/big/1.jpg") == {
        "id": b"12",
        "rest": b"big/1.jpg",
    }
    assert TABLE.parameters(5, b"/venues/12/photos") == {"id": b"12", "rest": b""}
    taken = TABLE.parameters(2, b"/venues/a%20b")
    assert expand_rewrite("/v2/{id}/{nothing}", taken) == b"/v2/a%20b/"


def test_a_path_of_many_slashes_costs_no_more() -> None:
    """The walk is as deep as the deepest route, not as the path."""
    assert TABLE.match(b"h", b"GET", b"/static" + b"/x" * 4000) == 6
    assert TABLE.match(b"h", b"GET", b"/" * 8000) == 0


@pytest.mark.parametrize(
    ("host", "normal"),
    [(b"A.lk", b"a.lk"), (b"a.lk:80", b"a.lk"), (b"a.lk.", b"a.lk"), (b"[::1]:80", b"[::1]")],
)
def test_hosts(host: bytes, normal: bytes) -> None:
    assert normalise_host(host) == normal


SEGMENTS = st.sampled_from(["{id}", "{page}", "venues", "ven", "", "a.b"])


@given(
    st.lists(SEGMENTS, max_size=3, unique=True),
    st.booleans(),
    st.text("/venusab.x", max_size=14),
)
def test_walking_a_path_fits_what_its_expression_does(
    segments: list[str], is_prefix: bool, tail: str
) -> None:
    pattern = "".join(f"/{segment}" for segment in segments) + "/*" * is_prefix or "/"
    table = RouteTable([Route(pattern)])
    parsed = table._paths[0]
    for path in (b"/" + tail.encode(), pattern.removesuffix("/*").encode() + tail.encode()):
        assert parsed.fits(path) == (parsed.expression.fullmatch(path) is not None)
