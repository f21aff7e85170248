"""The language of a page: prefix, query, Accept-Language, default (requirement F)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weddinglk.domain import LANGUAGES
from weddinglk.web.language import accepted_language, chosen_language, split_prefix


@pytest.mark.parametrize(
    ("field", "language"),
    [
        ("si", "si"),
        ("ta-LK, en;q=0.5", "ta"),
        ("en;q=0.4, si;q=0.9, ta;q=0.8", "si"),
        ("EN-gb", "en"),
        ("fr, de;q=0.8", "en"),
        ("fr, ta;q=0.1", "ta"),
        ("*", "en"),
        ("si;q=0, *", "en"),
        ("en;q=0, si;q=0.3", "si"),
        ("en;q=0", "si"),
        ("en;q=0, si;q=0, ta;q=0", "en"),
        ("si;q=2, ta", "ta"),
        ("si;level=1, ta;q=0.2", "ta"),
        ("si;q=nan, ta;q=0.2", "ta"),
        (",,;;q=,", "en"),
        ("ta;q=0.5, si;q=0.5", "ta"),
    ],
)
def test_accept_language(field: str, language: str) -> None:
    """RFC 9110 section 12.5.4: highest quality wins, the earlier of equals, 0 excludes."""
    assert accepted_language(field) == language


@given(st.text(max_size=200))
def test_any_field_gives_a_language(field: str) -> None:
    """F: no header can break a page."""
    assert accepted_language(field) in LANGUAGES


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/si/venues", ("/si", "/venues")),
        ("/ta", ("/ta", "/")),
        ("/en/", ("/en", "/")),
        ("/sinhala", ("", "/sinhala")),
        ("/fr/venues", ("", "/fr/venues")),
        ("/", ("", "/")),
        ("", ("", "")),
        ("/si/api/v1/venues", ("", "/si/api/v1/venues")),
        ("/si/static/x/site.css", ("", "/si/static/x/site.css")),
        ("/en/si/venues", ("/en", "/si/venues")),
    ],
)
def test_prefix_is_taken_off_once(path: str, parts: tuple[str, str]) -> None:
    """F: a page has one address a language; data and files have none of these."""
    assert split_prefix(path) == parts


def test_query_wins_over_header_and_links_keep_it() -> None:
    """F: ``?lang=ta`` chooses Tamil, and the page's links lead to Tamil pages."""
    scope = {
        "type": "http",
        "path": "/venues",
        "query_string": b"q=x&lang=ta",
        "headers": [(b"accept-language", b"si")],
    }
    choice, path = chosen_language(scope)
    assert (choice.language, choice.prefix, choice.negotiated, path) == (
        "ta", "/ta", False, "/venues",
    )  # fmt: skip
    choice, _ = chosen_language({**scope, "query_string": b"lang=xx"})
    assert (choice.language, choice.prefix, choice.negotiated) == ("si", "", True)
