"""The rule of the coherence checker: what counts as a stale read, and what does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.coherence.client import Answer, Gateway
from tests.coherence.history import Fate, History
from tests.coherence.marks import tagline, versions
from tests.coherence.targets import Target

GATEWAY = Gateway(name="gateway 1", host="127.0.0.1", port=1)
TARGET = Target(path="/si/venues/12", language="si", kind="venue", venues=frozenset({12}))


def page(version: int) -> Answer:
    """Return a page that shows venue 12."""
    body = f"<p>{tagline(12, version)['si']}</p>".encode()
    fields = {"etag": f'"{version}"'}
    return Answer(started=1.0, ended=2.0, status=200, body=body, worker=7, fields=fields)


def written(status: int) -> Answer:
    return Answer(started=0.0, ended=0.5, status=status)


def test_a_read_that_started_after_the_acknowledgement_and_saw_less_is_stale() -> None:
    history = History()
    history.note_write(12, 2, written(200))

    found = history.note_read(GATEWAY, TARGET, page(1), history.floors(TARGET), "reader 0")

    assert [(each.version, each.floor, each.worker) for each in found] == [(1, 2, 7)]
    assert history.violations == found


def test_a_page_without_the_mark_is_stale_too() -> None:
    history = History()
    history.note_write(12, 1, written(200))
    page_of_before = Answer(started=1.0, ended=2.0, status=200, body=b"<p>As seeded.</p>")

    assert history.note_read(GATEWAY, TARGET, page_of_before, history.floors(TARGET), "reader 0")


def test_a_read_that_started_before_the_acknowledgement_may_see_either() -> None:
    history = History()
    floors = history.floors(TARGET)
    history.note_write(12, 2, written(200))

    assert not history.note_read(GATEWAY, TARGET, page(1), floors, "reader 0")
    assert not history.note_read(GATEWAY, TARGET, page(2), floors, "reader 0")


@pytest.mark.parametrize("status", [503, 500, 0])
def test_a_write_without_acknowledgement_promises_nothing(status: int) -> None:
    history = History()
    assert history.note_write(12, 2, written(status)) is Fate.OPEN

    assert not history.note_read(GATEWAY, TARGET, page(1), history.floors(TARGET), "reader 0")


def test_what_was_refused_may_never_be_read() -> None:
    history = History()
    refusal = Answer(started=0.0, ended=0.5, status=503, body=b'{"write": "refused"}')
    assert history.note_write(12, 2, refusal) is Fate.REFUSED

    history.note_read(GATEWAY, TARGET, page(2), history.floors(TARGET), "reader 0")
    assert len(history.halves) == 1


def test_not_modified_shows_what_the_page_of_that_tag_showed() -> None:
    history = History()
    history.note_read(GATEWAY, TARGET, page(1), history.floors(TARGET), "reader 0")
    not_modified = Answer(started=1.0, ended=2.0, status=304, fields={"etag": '"1"'})
    assert not history.note_read(GATEWAY, TARGET, not_modified, history.floors(TARGET), "reader 0")

    history.note_write(12, 2, written(200))
    assert history.note_read(GATEWAY, TARGET, not_modified, history.floors(TARGET), "reader 0")


def test_an_error_is_no_stale_read_but_a_failure() -> None:
    history = History()
    history.note_write(12, 2, written(200))

    assert not history.note_read(GATEWAY, TARGET, written(502), history.floors(TARGET), "reader 0")
    assert history.failures == {"502": 1}


def test_the_history_is_kept_as_lines(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.note_write(12, 2, written(200))
    history.note_read(GATEWAY, TARGET, page(1), history.floors(TARGET), "reader 0")
    history.close()

    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["write", "read", "violation"]
    assert lines[1]["seen"] == {"12": 1}


def test_the_oldest_version_on_a_page_counts() -> None:
    both = (tagline(12, 5)["en"] + tagline(12, 4)["en"]).encode()
    assert versions(both, "en") == {12: 4}


def test_a_text_of_another_language_is_an_error() -> None:
    with pytest.raises(ValueError, match="'ta'"):
        versions(tagline(12, 5)["si"].encode(), "ta")
