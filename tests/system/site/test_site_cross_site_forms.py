"""Issue 6, Show 7: what pages of other origins can have a real browser do, on the whole stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_site_accounts import Stack

from fakes.chromium import in_a_browser, run_script

EMAIL = "nimali@example.com"
ORIGINS = ("cross-site", "same-site")
FORMS, ENCODINGS = 10, 3

pytestmark = in_a_browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    stack = Stack(tmp_path_factory.mktemp("forms"))
    try:
        site = stack.url.replace("127.0.0.1", "localhost")
        yield run_script("forms.mjs", site, further=(EMAIL, stack.password))
    finally:
        stack.stop()


def test_forms_of_other_origins_are_refused(report: dict[str, Any]) -> None:
    """30-32, D4: cross-site and cross-port, each form of the site in each encoding a form has.

    Chromium says which they are, and sends cookies with those of the same site: SameSite is no
    help there.
    """
    assert len(report["forms"]) == len(ORIGINS) * FORMS * ENCODINGS
    for each in report["forms"]:
        assert each["status"] == 403, each
        assert each["said"] == each["kind"], each
        assert each["origin"].startswith("http://"), each
        assert each["hasCookies"] == (each["kind"] == "same-site"), each


def test_scripts_of_other_origins_are_refused(report: dict[str, Any]) -> None:
    """30, D4: what a page sends without being allowed to read the answer."""
    assert len(report["scripts"]) == len(ORIGINS) * FORMS
    for each in report["scripts"]:
        assert (each["status"], each["said"]) == (403, each["kind"]), each
        assert each["hasCookies"] == (each["kind"] == "same-site"), each


def test_nothing_changed_meanwhile(report: dict[str, Any]) -> None:
    """The session, its cookie, the shortlist and the password are those of before."""
    assert report["before"]["user"], report["before"]
    assert report["unchanged"]


def test_the_sites_own_pages_do_the_same_things(report: dict[str, Any]) -> None:
    """Else the refusals would prove nothing."""
    own = report["own"]
    assert own["heart"]
    assert own["signOut"] == 303
    assert not own["session"].get("user")
    assert own["signIn"].get("user")


def test_other_origins_can_link_but_not_frame_nor_connect(report: dict[str, Any]) -> None:
    """35, 44, D7: frame-ancestors, and the Origin of a WebSocket's handshake."""
    assert [(each["kind"], each["status"]) for each in report["links"]] == [
        ("cross-site", 200), ("same-site", 200),
    ]  # fmt: skip
    assert len(report["frames"]) == len(ORIGINS) * 2
    for each in report["frames"]:
        assert each["url"].startswith("chrome-error:"), each
        assert "WeddingLK" not in each["text"], each
    assert [each["ended"] for each in report["sockets"]] == ["refused"] * len(ORIGINS)
