"""Issue 6, Show 7: every page of the site in a real browser, as somebody signed in sees it.

Which pages there are, the application's own routes say: one that is not in the walk fails it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route
from test_site_accounts import POLICY, Stack

from fakes.chromium import in_a_browser, run_script
from poruwa import Platform
from weddinglk.app import create_app

LANGUAGES = ("en", "si", "ta")
ADMINISTRATOR = "admin@example.com"

# The pages of each route, as the parts behind the language.
WALK = {
    "/": ["/"],
    "/about": ["/about"],
    "/account": ["/account"],
    "/account/confirm": ["/account/confirm?return_to=/account"],
    "/account/email": ["/account/email"],
    "/account/password": ["/account/password"],
    "/account/people": ["/account/people"],
    "/compare": ["/compare", "/compare?venue=1&venue=2"],
    "/search": ["/search", "/search?q=beach"],
    "/shortlist": ["/shortlist"],
    "/shortlist/keep": ["/shortlist/keep?listing=venue:3"],
    "/sign-in": [],  # somebody signed in is sent on; the walk begins with it
    "/vendors": ["/vendors", "/vendors?q=nobody-is-called-so"],
    "/vendors/{category}": ["/vendors/photography"],
    "/vendors/{category}/{vendor_id:int}": ["/vendors/photography/1"],
    "/venues": ["/venues", "/venues?district=kandy"],
    "/venues/{venue_id:int}": ["/venues/1", "/venues/3?reviews=2"],
}
NO_PAGES = ("/api/", "/art/", "/static/", "/healthz", "/robots.txt", "/sitemap.xml", "/favicon.ico",
            "/manifest.webmanifest", "/doors/")  # fmt: skip
NOT_THERE = "/not-there"


def test_the_walk_has_every_page() -> None:
    app = create_app(Platform.from_file(POLICY, environ={"PORUWA_SESSION_KEYS": "k" * 43}))
    pages = {
        route.path
        for route in app.routes
        if isinstance(route, Route)
        and "GET" in (route.methods or ())
        and not route.path.startswith(NO_PAGES)
    }
    assert pages == set(WALK)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the browser saw."""
    stack = Stack(tmp_path_factory.mktemp("walk"))
    try:
        paths = [path for each in WALK.values() for path in each] + [NOT_THERE]
        site = stack.url.replace("127.0.0.1", "localhost")
        further = (ADMINISTRATOR, stack.password, json.dumps(paths))
        yield run_script("walk.mjs", site, further=further)
    finally:
        stack.stop()


class TestInABrowser:
    pytestmark = in_a_browser

    def test_every_page_is_seen_in_three_languages(self, walked: dict[str, Any]) -> None:
        statuses = {page["url"]: page["status"] for page in walked["pages"]}
        for language in LANGUAGES:
            for path in (path for each in WALK.values() for path in each):
                url = f"/{language}{'' if path == '/' else path}"
                assert statuses.get(url, statuses.get(f"{url}/")) == 200, (url, sorted(statuses))
            assert statuses[f"/{language}{NOT_THERE}"] == 404
            assert statuses[f"/{language}/sign-in"] == 422  # with a wrong password
        assert walked["inert"] == []
        assert walked["signedOut"] == []

    def test_nothing_is_stopped_by_the_policy_or_by_trusted_types(
        self, walked: dict[str, Any]
    ) -> None:
        """44, 52, D7, D8: neither by what pages are told of violations, nor on the console."""
        assert walked["violations"] == []
        assert walked["errors"] == []
