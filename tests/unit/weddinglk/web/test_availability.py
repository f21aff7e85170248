"""The calendar of a venue (requirement F)."""

from __future__ import annotations

from datetime import date

import pytest

from weddinglk.web.availability import DayState, months_from, state_of
from weddinglk.web.fragments import calendar_rows

FIRST = date(2027, 11, 23)


def test_twelve_months_over_the_turn_of_the_year() -> None:
    """F: every day once, past before the first, booked as stated, the rest free."""
    months = months_from(FIRST, ("2027-11-25", "2028-02-29"))
    assert [(m.year, m.month) for m in months[:3]] == [(2027, 11), (2027, 12), (2028, 1)]
    assert len(months) == 12
    days = [d for m in months for week in m.weeks for d in week if d.state is not DayState.OUTSIDE]
    assert len({d.iso for d in days}) == len(days) == 366
    assert sum(d.state is DayState.PAST for d in days) == 22
    assert {d.iso for d in days if d.state is DayState.BOOKED} == {"2027-11-25", "2028-02-29"}
    assert months[0].free == 7
    assert all(len(week) == 7 for m in months for week in m.weeks)


@pytest.mark.parametrize(
    ("asked", "state"),
    [("2027-11-25", DayState.BOOKED), ("2027-11-24", DayState.FREE), ("2027-11-22", DayState.PAST)],
)
def test_state_of_a_day(asked: str, state: DayState) -> None:
    """F: the answer to "is it free?"."""
    assert state_of(asked, FIRST, ("2027-11-25",)) == (asked, state)


@pytest.mark.parametrize("asked", ["", "tomorrow", "2027-02-30", "<script>", "0000-00-00"])
def test_what_is_no_day_has_no_state(asked: str) -> None:
    """D8: nonsense is not echoed."""
    assert state_of(asked, FIRST, ()) is None


def test_rows_escape_the_word_for_booked() -> None:
    """D8: markup made in Python escapes what it is given."""
    rows = calendar_rows(months_from(FIRST, ("2027-11-25",), 1)[0], "<b>")
    assert "<b>" not in rows
    assert rows.count("<tr>") == rows.count("</tr>") == 5
    assert '<td class="booked" data-day="2027-11-25">' in rows
