"""Key rings: their text, their steps, and who may be removed when (security checks 27, 28)."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

import pytest

from poruwa.app.security.key_source import SessionKeys, kept_secret, key_reader
from poruwa.app.security.keys import CSRF, SESSIONS, KeyRing, derived
from poruwa.errors import ConfigError
from poruwa.rules.change import EVERYTHING, Change

OLD, MIDDLE, NEW = "o" * 43, "m" * 43, "n" * 43
TODAY = date(2026, 11, 26)


def ring(text: str) -> KeyRing:
    return KeyRing.parse(text, "session.keys")


def test_a_ring_is_read_back_as_it_was_written() -> None:
    text = f"{OLD},{MIDDLE}@2026-08-01,next:{NEW}"
    assert ring(text).text() == text
    assert ring(f" {OLD} , ,{MIDDLE}@2026-08-01,next:{NEW}\n").text() == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no key that seals"),
        (f"next:{NEW}", "no key that seals"),
        ("short", "too few"),
        (f"{OLD},{OLD}", "twice"),
        (f"next:{OLD},{NEW}", "only the last"),
        (f"{OLD}@yesterday", "no date"),
        (f"{OLD},Next:{NEW}", "key 2 has a colon, which only the mark next: has"),
        (f"{OLD},next:next:{NEW}", "has a colon"),
    ],
)
def test_a_ring_that_cannot_be_used_is_refused_without_its_keys(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        ring(text)
    assert OLD not in refused.value.message
    assert NEW not in refused.value.message


@pytest.mark.parametrize("first", "+/-_=0aZ")
def test_a_secret_may_begin_with_any_character_of_base64(first: str) -> None:
    """Cause of the regression: ``+`` marked a coming key, and one secret in 64 begins with it."""
    found = ring(f"{OLD},{first}{NEW}")
    assert found.coming is None
    assert found.sealing.secret == f"{first}{NEW}".encode()
    assert ring(found.introduced(f"{first}{MIDDLE}").text()).coming is not None


def test_the_key_that_seals_stands_last_for_each_purpose() -> None:
    found = ring(f"{OLD},{MIDDLE},next:{NEW}")
    assert found.sealing.secret == MIDDLE.encode()
    for purpose in (SESSIONS, CSRF):
        keys = found.derived(purpose)
        assert keys[-1] == derived(MIDDLE.encode(), purpose)
        assert set(keys) == {derived(each.encode(), purpose) for each in (OLD, MIDDLE, NEW)}
    assert not set(found.derived(SESSIONS)) & set(found.derived(CSRF))


def test_a_rotation_introduces_a_key_before_it_seals() -> None:
    first = ring(OLD)
    second = first.introduced(NEW)
    assert second.sealing.name == first.sealing.name
    assert second.coming is not None
    with pytest.raises(ConfigError, match="coming already"):
        second.introduced(MIDDLE)
    third = second.promoted(TODAY)
    assert third.coming is None
    assert third.text() == f"{OLD},{NEW}@2026-11-26"
    assert third.promoted(TODAY) is third


def test_how_long_a_key_is_out_of_use_is_known_from_the_one_after_it() -> None:
    found = ring(f"{OLD},{MIDDLE}@2026-10-01,{NEW}@2026-11-20")
    days = [found.days_out_of_use(key, TODAY) for key in found.keys]
    assert days == [56, 6, None]
    undated = ring(f"{OLD},{NEW}")
    assert undated.days_out_of_use(undated.keys[0], TODAY) is None


def test_the_key_that_seals_cannot_be_removed() -> None:
    found = ring(f"{OLD},{NEW}")
    with pytest.raises(ConfigError, match="rotate first"):
        found.without(found.sealing)
    assert found.without(found.keys[0]).text() == NEW


def test_a_name_is_found_by_its_beginning_if_it_is_the_only_one() -> None:
    found = ring(f"{OLD},{NEW}")
    assert found.named(found.keys[0].name[:6]) is found.keys[0]
    assert found.named("") is None


def test_a_ring_in_a_state_folder_is_read_as_it_is_now(tmp_path: Path) -> None:
    kept = tmp_path / "secrets"
    kept.write_text(f"OTHER=x\nRING={OLD}\nRING_OF_OTHERS=y\n")
    keys = SessionKeys(key_reader("env:RING", {"RING": NEW, "RING_KEPT_IN": str(kept)}, tmp_path))
    assert keys.ring.text() == OLD
    kept.write_text(f"RING={OLD},{NEW}\n")
    assert keys.reread()
    assert not keys.reread()
    assert keys.ring.text() == f"{OLD},{NEW}"
    with pytest.raises(ValueError, match="holds no MISSING"):
        kept_secret(kept, "MISSING")


def test_a_ring_of_a_file_or_the_environment_is_read(tmp_path: Path) -> None:
    (tmp_path / "ring").write_text(OLD + "\n")
    assert key_reader("file:ring", {}, tmp_path)() == OLD
    assert key_reader("env:RING", {"RING": NEW}, tmp_path)() == NEW
    with pytest.raises(ConfigError, match="RING is not set"):
        key_reader("env:RING", {}, tmp_path)()


def test_changes_have_the_ring_read_again_and_a_missing_key_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = [OLD]
    keys = SessionKeys(lambda: text[0])
    text[0] = f"{OLD},next:{NEW}"
    keys.apply(Change(keys=(b"venue\n12",)))
    assert keys.ring.coming is None
    name = ring(NEW).sealing.name
    with caplog.at_level(logging.ERROR, "poruwa.app"):
        keys.apply(Change(keys=(b"keys\n" + name.encode(),)))
        assert keys.ring.coming is not None
        assert not caplog.records
        keys.apply(Change(keys=(b"keys\nunknown",)))
    assert "lacks key unknown" in caplog.text
    text[0] = f"{OLD},{NEW}"
    keys.apply(EVERYTHING)
    assert keys.ring.sealing.name == name


def test_a_ring_that_cannot_be_read_again_leaves_the_one_of_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = [OLD]
    keys = SessionKeys(lambda: text[0])
    text[0] = "broken"
    assert not keys.reread()
    assert "broken" not in caplog.text
    assert keys.ring.text() == OLD
