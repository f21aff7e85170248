"""A changed index answers as a new one; and what an answer depends on is what can change it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from weddinglk.documents import vendor_to_document, venue_to_document
from weddinglk.domain import Text, Venue, VenueSetting
from weddinglk.search.dependencies import COLLECTIONS, tags_of_change, tags_of_question
from weddinglk.search.entries import vendor_entry, venue_entry
from weddinglk.search.index import Entry, Found
from weddinglk.search.listings import Listings
from weddinglk.search.query import Kind, SearchQuery, Sort, VenueQuery
from weddinglk.seed.generator import Size, generate

_MARKETPLACE = generate(Size.SMALL)
_VENUES = [venue_entry(venue_to_document(venue)) for venue in _MARKETPLACE.venues]
_VENDORS = [vendor_entry(vendor_to_document(vendor)) for vendor in _MARKETPLACE.vendors[:60]]
_WORDS = ("garden", "gardens", "zebra", "කඳු", "தோட்டம்", "sea", "lanterns", "kandy", "ga", "lan")
_QUESTIONS = ("garden", "gard", "kandy garden", "gardin", "zebra", "zebr", "கடல்", "கடற்கரை kandy",
              "lanterns sea", "lantern", "beech", "කඳු", "x", "ga")  # fmt: skip


def _questions() -> list[VenueQuery | SearchQuery]:
    queries: list[VenueQuery | SearchQuery] = [SearchQuery(text=text) for text in _QUESTIONS]
    queries += [VenueQuery(text=text, guests=150) for text in _QUESTIONS]
    queries += [VenueQuery(sort=sort, per_page=100) for sort in Sort]
    queries += [VenueQuery(guests=300, setting=VenueSetting.INDOOR), VenueQuery(district="kandy")]
    return queries


def _answer(listings: Listings, query: VenueQuery | SearchQuery) -> Found:
    if isinstance(query, SearchQuery):
        return listings.everything(query)
    return listings.venues(query)


def _changed(rng: random.Random, venue: Venue) -> Entry:
    """Return the venue with something else: its words, or what filters and orders go by."""
    line = Text(**{code: " ".join(rng.sample(_WORDS, 3)) for code in ("en", "si", "ta")})
    changes = (
        {"tagline": line}, {"name": f"{venue.name} {rng.choice(_WORDS)}"},
        {"guests_max": rng.randrange(venue.guests_min, 2_000)},
        {"setting": rng.choice(tuple(VenueSetting))},
        {"facilities": ("wifi", "garden"), "tagline": line},
        {"rating": rng.uniform(1.0, 5.0), "review_count": rng.randrange(1, 80)}, {},
    )  # fmt: skip
    return venue_entry(venue_to_document(replace(venue, **rng.choice(changes))))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(8))
def test_a_changed_index_answers_as_a_new_one(seed: int) -> None:
    """After any edits, removals and returns: the same ids, orders, counts and corrections."""
    rng = random.Random(seed)
    listings = Listings(_VENUES + _VENDORS)
    now = {(entry.kind, entry.id): entry for entry in _VENUES + _VENDORS}
    for _ in range(120):
        venue = rng.choice(_MARKETPLACE.venues)
        if rng.random() < 0.25:
            listings.index.remove(Kind.VENUE, venue.id)
            now.pop((Kind.VENUE, venue.id), None)
        else:
            entry = _changed(rng, venue)
            was = now.get((Kind.VENUE, venue.id))
            assert listings.index.replace(entry) == (entry != was)
            now[Kind.VENUE, venue.id] = entry
    fresh = Listings(now.values())
    assert len(listings.index) == len(fresh.index) == len(now)
    for query in _questions():
        assert _answer(listings, query) == _answer(fresh, query), query
    slots = listings.index._ids
    assert len(slots) <= len(_VENUES + _VENDORS), "slots are used again"


@pytest.mark.parametrize("seed", range(12))
def test_an_answer_changes_only_with_a_tag_of_it(seed: int) -> None:
    """G2: an edit that alters an answer changes one of its tags; most answers it leaves alone."""
    rng = random.Random(seed)
    listings = Listings(_VENUES + _VENDORS)
    queries = _questions()
    kept = altered = 0
    for _ in range(40):
        before = [_answer(listings, query) for query in queries]
        venue = rng.choice(_MARKETPLACE.venues)
        old = listings.index.entry(Kind.VENUE, venue.id)
        new = None if rng.random() < 0.1 else _changed(rng, venue)
        changed = set(tags_of_change(old, new))
        if new is None:
            listings.index.remove(Kind.VENUE, venue.id)
        else:
            listings.index.replace(new)
        for query, found in zip(queries, before, strict=True):
            tags = {COLLECTIONS[Kind.VENUE]}
            if found.terms:
                tags |= set(tags_of_question(found.terms, is_corrected=found.is_guessed))
            if _answer(listings, query) != found:
                altered += 1
                assert changed & tags, (query, changed)
            elif not changed & tags:
                kept += 1
    assert altered > 20
    assert kept > 200


def test_a_tagline_changes_no_list() -> None:
    """2 % of writes must not cost every list: only words, spellings and the venue itself."""
    venue = _MARKETPLACE.venues[0]
    line = Text(en="Quiet evenings", si="නිහඬ සන්ධ්‍යා", ta="அமைதியான மாலைகள்")
    edited = venue_entry(venue_to_document(replace(venue, tagline=line)))
    tags = tags_of_change(_VENUES[0], edited)
    assert tags[0] == f"venue:{venue.id}"
    assert tags[-1] == "spellings"
    assert all(tag.startswith("text:") for tag in tags[1:-1])
    assert tags_of_change(_VENUES[0], _VENUES[0]) == [f"venue:{venue.id}"]
    assert tags_of_change(None, None) == []
