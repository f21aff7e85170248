"""The site's Content-Security-Policy in a real browser, behind a gateway that keeps its pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_site_behind_cache import Front, is_hit

from fakes.chromium import in_a_browser, run_script

pytestmark = in_a_browser


@pytest.fixture(scope="module")
def report(base_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a browser saw on its walk, and of a page with something smuggled in."""
    front = Front(tmp_path_factory.mktemp("front"), base_url)
    try:
        front.get("/en/venues/1")
        assert is_hit(front.get("/en/venues/1"))
        yield run_script("csp.mjs", f"http://{front.gateway.address}")
    finally:
        front.stop()


def test_a_walk_in_three_languages_violates_nothing(report: dict[str, Any]) -> None:
    """52, D7, D8: no violation of the policy or of Trusted Types, nothing on the console; style,
    inline block and script run, as their hashes and integrity say.
    """
    assert len(report["pages"]) == 3 * 13
    statuses = {page["path"]: page["status"] for page in report["pages"]}
    assert {path for path, status in statuses.items() if status != 200} == {
        f"/{language}/not-there" for language in ("en", "si", "ta")
    }
    assert report["violations"] == []
    assert report["errors"] == []
    assert report["inert"] == []


def test_every_page_has_the_whole_policy(report: dict[str, Any]) -> None:
    """44, 52: hashes and no nonce; nothing is allowed that is not named; Trusted Types."""
    for page in report["pages"]:
        policy = page["csp"]
        for part in (
            "default-src 'none'", "script-src 'self' 'sha256-", "object-src 'none'",
            "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'",
            "require-trusted-types-for 'script'", "trusted-types 'none'",
        ):  # fmt: skip
            assert part in policy, (page["path"], part)
        assert "nonce-" not in policy, page["path"]
        assert "unsafe" not in policy, page["path"]


def test_the_gateways_own_page_has_its_style_and_nothing_else(report: dict[str, Any]) -> None:
    """44, 52: its style by hash, beside the site's policy; nothing else is loaded or run."""
    page = report["gateway"]
    assert page["status"] == 404
    assert page["seen"] == []
    assert page["display"] == "grid", "the inline style sheet is applied"
    assert page["csp"].startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in page["csp"]
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in page["csp"]


def test_what_is_smuggled_into_a_kept_page_does_not_run(report: dict[str, Any]) -> None:
    """52, D8: no script, handler, style, base, foreign form or javascript: link; no markup from
    text, and no policy that would make some.
    """
    smuggled = report["smuggled"]
    assert "hit" in smuggled["cacheStatus"]
    assert smuggled["ran"] is None
    assert smuggled["style"] == ""
    assert smuggled["base"].endswith("/en/venues/1")
    assert smuggled["isLive"], "the site's own block runs"
    blocked = {text.partition(" ")[0] for text in smuggled["seen"]}
    assert {"script-src-elem", "script-src-attr", "style-src-elem", "base-uri"} <= blocked
    assert "form-action" in blocked
    assert "TrustedHTML" in smuggled["markup"]
    assert "TypeError" in smuggled["ownPolicy"]
