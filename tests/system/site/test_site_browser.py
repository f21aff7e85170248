"""The site in a real browser: axe-core, a strict CSP, nobody else's servers, no sideways scroll."""

from __future__ import annotations

from fakes.chromium import in_a_browser, run_script

pytestmark = in_a_browser


def test_six_pages_are_accessible(base_url: str) -> None:
    """F, D7: 0 violations on six pages, light and dark, 390 and 1440 px; si and ta at 390."""
    report = run_script("run.mjs", base_url)
    assert report["runs"] == 6 * 2 * 2 + 3 * 2
    assert report["violations"] == []
    assert report["refusals"] == []
    assert report["foreign"] == []
    assert report["overflow"] == []


def test_the_script_helps_and_is_not_needed(base_url: str) -> None:
    """F: filters in place, comparison, calendar, suggestions; and all of it without a script."""
    assert len(run_script("behave.mjs", base_url)) == 9
