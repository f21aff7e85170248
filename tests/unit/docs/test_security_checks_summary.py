"""The line about security checks at the end of a run counts what was shown, and no more."""

from __future__ import annotations

from security_checks import IN_SCOPE, shown, summary


def test_a_check_counts_where_each_of_its_tests_passed() -> None:
    outcomes = [(1, "passed"), (1, "passed"), (2, "passed"), (2, "failed"), (3, "skipped")]
    outcomes += [(4, "passed"), (4, "skipped"), (5, "error"), (6, "xfailed")]
    assert shown(outcomes) == {1}


def test_the_summary_says_how_many_of_how_many_and_which_not() -> None:
    assert len(IN_SCOPE) == 50
    assert summary([]) == []
    assert summary((number, "passed") for number in IN_SCOPE) == ["security checks: 50 of 50"]
    some = [(number, "passed") for number in sorted(IN_SCOPE)[:-2]]
    assert summary([*some, (41, "passed")]) == [
        "security checks: 48 of 50", "  not shown: 55, 56", "  besides: 41",
    ]  # fmt: skip
