"""The words of the site: complete in three languages, plural-safe, amounts and dates (F)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from weddinglk.domain import FACILITIES, LANGUAGES, VendorCategory, VenueSetting, VenueStyle
from weddinglk.search.query import Kind, Sort
from weddinglk.web.formatting import plural_form
from weddinglk.web.site import TEMPLATES_DIRECTORY
from weddinglk.web.texts import MESSAGES_DIRECTORY, Texts, load_texts

SCRIPTS = {"si": re.compile(r"[\u0d80-\u0dff]"), "ta": re.compile(r"[\u0b80-\u0bff]")}
SAME_EVERYWHERE = {"facility.wifi"}


@pytest.fixture(scope="module")
def texts() -> dict[str, Texts]:
    return load_texts()


@pytest.mark.parametrize("language", ["si", "ta"])
def test_every_text_is_translated(texts: dict[str, Texts], language: str) -> None:
    """F: no English left in Sinhala or Tamil."""
    untranslated = [
        key
        for key, text in texts[language]._messages.items()
        if not SCRIPTS[language].search(text) and key not in SAME_EVERYWHERE
    ]
    assert untranslated == []


def test_languages_do_not_leak_into_each_other(texts: dict[str, Texts]) -> None:
    """F: a Tamil text holds no Sinhala letters, and the other way round."""
    for language, foreign in (("si", "ta"), ("ta", "si"), ("en", "si"), ("en", "ta")):
        messages = texts[language]._messages
        assert [key for key, text in messages.items() if SCRIPTS[foreign].search(text)] == []


def test_texts_are_in_normal_form(texts: dict[str, Texts]) -> None:
    """F: one way to write each letter, or the search and the eye find two."""
    import unicodedata

    for table in texts.values():
        for key, text in table._messages.items():
            assert unicodedata.normalize("NFC", text) == text, key


def test_every_key_of_the_templates_exists(texts: dict[str, Texts]) -> None:
    """F: a key written in a template is a key of the messages (plurals by their forms)."""
    used = set()
    for template in Path(TEMPLATES_DIRECTORY).glob("*.html"):
        used |= set(re.findall(r"\bt\('([\w.-]+)'[,)]", template.read_text("utf-8")))
    known = texts["en"]._messages
    assert {key for key in used if key not in known and f"{key}.other" not in known} == set()
    assert len(used) > 100


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_value_of_the_domain_has_words(texts: dict[str, Texts], language: str) -> None:
    """F: styles, settings, categories, facilities, sorts and kinds have names."""
    table = texts[language]
    groups = {"style": VenueStyle, "setting": VenueSetting, "sort": Sort, "kind": Kind}
    keys = [f"{group}.{value}" for group, values in groups.items() for value in values]
    keys += [f"category.{value}.{part}" for value in VendorCategory for part in ("name", "lead")]
    keys += [f"facility.{value}" for value in FACILITIES]
    keys += [f"art.{value}" for value in (*VenueStyle, *VendorCategory)]
    assert [key for key in keys if key not in table] == []


@pytest.mark.parametrize(
    ("language", "count", "form"),
    [("en", 0, "other"), ("en", 1, "one"), ("en", 2, "other"), ("si", 0, "one"), ("si", 1, "one"),
     ("si", 2, "other"), ("ta", 0, "other"), ("ta", 1, "one"), ("ta", 11, "other")],
)  # fmt: skip
def test_plural_forms_are_those_of_cldr(language: str, count: int, form: str) -> None:
    """F: CLDR cardinal rules of the three languages."""
    assert plural_form(language, count) == form


def test_amounts_numbers_and_dates(texts: dict[str, Texts]) -> None:
    """F: LKR with the currency's sign of each language; days written out."""
    assert texts["en"].money(1_250_000) == "Rs\u00a01,250,000"
    assert texts["si"].money(1_250_000) == "රු.\u00a01,250,000"
    assert texts["ta"].money(0) == "ரூ.\u00a00"
    assert texts["en"].number(4.666) == "4.7"
    assert texts["en"].date("2027-02-14") == "14 February 2027"
    assert texts["si"].date("2027-02-14") == "2027 පෙබරවාරි 14"
    assert texts["ta"].date("2027-02-14") == "14 பெப்ரவரி 2027"
    assert texts["en"]("rating.reviews", count=1) == "1 review"
    assert texts["en"]("rating.reviews", count=1200) == "1,200 reviews"
    with pytest.raises(ValueError):
        texts["en"].date("2027-02-30")


def test_a_text_with_braces_from_a_visitor_stays_text(texts: dict[str, Texts]) -> None:
    """D8: a search for ``{count}`` is shown, not filled in."""
    assert "{asked.__class__}" in texts["en"]("search.results_for", text="{asked.__class__}")


def test_incomplete_messages_are_refused(tmp_path: Path) -> None:
    """F: a missing key or another placeholder stops the start, naming the file and the key."""
    for language in LANGUAGES:
        (tmp_path / f"{language}.toml").write_text(
            (MESSAGES_DIRECTORY / f"{language}.toml").read_text()
        )
    tamil = tmp_path / "ta.toml"
    whole = tamil.read_text()
    tamil.write_text(whole.replace('skip = "', 'skipped = "', 1))
    with pytest.raises(ValueError, match=r"ta\.toml.*nav\.skip"):
        load_texts(tmp_path)
    tamil.write_text(whole.replace("{guests} விருந்தினர்கள்", "{people}", 1))
    with pytest.raises(ValueError, match=r"filter\.guests_value"):
        load_texts(tmp_path)
