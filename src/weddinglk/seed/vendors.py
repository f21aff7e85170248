"""Makes the vendors: sixteen trades in the nine categories, each with its own words and prices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from random import Random

from weddinglk.domain import Place, PriceLine, Text, Vendor, VendorCategory
from weddinglk.places import place_table
from weddinglk.seed.fragments import Deck, filled, paragraph, sections, texts, words
from weddinglk.seed.geography import place_in
from weddinglk.seed.people import Community, NameMaker, community_in, spoken_languages

ISLAND_WIDE_CHANCE = 0.05
_EVERYONE = frozenset(Community)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What a vendor does. ``key`` names sections of ``vendors.txt``; ``weight`` is per mille."""

    key: str
    category: VendorCategory
    weight: float
    practised_by: frozenset[Community] = _EVERYONE


TRADES = (
    Trade(key="photo", category=VendorCategory.PHOTOGRAPHY, weight=215),
    Trade(key="caterer", category=VendorCategory.CATERING, weight=130),
    Trade(key="decor", category=VendorCategory.DECORATION, weight=115),
    Trade(key="florist", category=VendorCategory.FLOWERS, weight=75),
    Trade(
        key="dancers",
        category=VendorCategory.MUSIC_AND_DANCE,
        weight=32,
        practised_by=frozenset({Community.SINHALA}),
    ),
    Trade(key="band", category=VendorCategory.MUSIC_AND_DANCE, weight=42),
    Trade(key="dj", category=VendorCategory.MUSIC_AND_DANCE, weight=38),
    Trade(
        key="nadaswaram",
        category=VendorCategory.MUSIC_AND_DANCE,
        weight=40,
        practised_by=frozenset({Community.TAMIL}),
    ),
    Trade(key="bridal", category=VendorCategory.MAKE_UP, weight=125),
    Trade(
        key="mehendi",
        category=VendorCategory.MAKE_UP,
        weight=45,
        practised_by=frozenset({Community.TAMIL, Community.MUSLIM}),
    ),
    Trade(key="cake", category=VendorCategory.CAKES, weight=80),
    Trade(key="cars", category=VendorCategory.TRANSPORT, weight=55),
    Trade(key="coaches", category=VendorCategory.TRANSPORT, weight=25),
    Trade(
        key="ashtaka",
        category=VendorCategory.CEREMONY,
        weight=32,
        practised_by=frozenset({Community.SINHALA}),
    ),
    Trade(
        key="nekath",
        category=VendorCategory.CEREMONY,
        weight=16,
        practised_by=frozenset({Community.SINHALA, Community.TAMIL}),
    ),
    Trade(key="registrar", category=VendorCategory.CEREMONY, weight=18),
    Trade(
        key="kurukkal",
        category=VendorCategory.CEREMONY,
        weight=60,
        practised_by=frozenset({Community.TAMIL}),
    ),
    Trade(
        key="nikah",
        category=VendorCategory.CEREMONY,
        weight=60,
        practised_by=frozenset({Community.MUSLIM}),
    ),
)


def make_vendor(
    rng: Random,
    names: NameMaker,
    deck: Deck,
    vendor_id: int,
    district: str,
    quality: float,
    category: VendorCategory | None = None,
) -> Vendor:
    """Return a vendor based in ``district``, without reviews.

    Args:
        rng: where chance comes from.
        names: makes its name, unlike all others.
        deck: deals its tagline.
        vendor_id: its id.
        district: a district's id.
        quality: 0.0-1.0, never shown: prices, and later reviews, follow it.
        category: what it must be, if that matters; any trade of it.
    """
    place = place_in(rng, district, towns=0.78)
    trade, community = _trade(rng, district, category)
    years = max(1, min(38, round(rng.gammavariate(2.0, 4.5))))
    prices = _prices(rng, trade.key, quality)
    return Vendor(
        id=vendor_id,
        name=names.name(rng, words("vendors", f"{trade.key}.names"), community, place.name.en),
        category=trade.category,
        tagline=filled(
            deck.tagline(
                rng,
                trade.key,
                texts("vendors", f"{trade.key}.opening"),
                texts("vendors", f"{trade.key}.promise"),
            ),
            place.name,
        ),
        description=_description(rng, trade.key, place, years),
        district=district,
        place=place.id,
        serves_districts=_served(rng, district),
        price_from_lkr=prices[0].amount_lkr,
        prices=prices,
        languages=spoken_languages(rng, community),
        years_in_business=years,
        rating=0.0,
        review_count=0,
        art_seed=rng.getrandbits(31),
    )


def _trade(rng: Random, district: str, category: VendorCategory | None) -> tuple[Trade, Community]:
    while True:
        community = community_in(rng, district)
        possible, weights = _trades_of(community, category)
        if possible:
            return rng.choices(possible, weights)[0], community


@cache
def _trades_of(
    community: Community, category: VendorCategory | None
) -> tuple[tuple[Trade, ...], tuple[float, ...]]:
    possible = tuple(
        trade
        for trade in TRADES
        if community in trade.practised_by and category in (None, trade.category)
    )
    return possible, tuple(trade.weight for trade in possible)


def _description(rng: Random, trade: str, place: Place, years: int) -> Text:
    kinds = [f"{trade}.about", "where", "service"]
    if years >= 4:
        kinds.insert(rng.randint(1, 2), "years")
    return paragraph(
        [filled(rng.choice(texts("vendors", kind)), place.name, years=years) for kind in kinds]
    )


def _prices(rng: Random, trade: str, quality: float) -> tuple[PriceLine, ...]:
    level = min(1.0, max(0.0, rng.gauss(0.12 + 0.5 * quality, 0.17)))
    lines = []
    for row in sections("vendors")[f"{trade}.prices"]:
        low, high = int(row[3]), int(row[4])
        own = min(1.0, max(0.0, level + rng.uniform(-0.06, 0.06)))
        lines.append(
            PriceLine(
                label=Text(en=row[0], si=row[1], ta=row[2]),
                amount_lkr=_as_quoted(low * (high / low) ** own),
                per_guest=len(row) > 5,
            )
        )
    return tuple(lines)


def _as_quoted(amount: float) -> int:
    """Round as people quote prices: 2,650 and 12,500 and 185,000."""
    step = (
        50 if amount < 10_000 else 500 if amount < 50_000 else 2_500 if amount < 150_000 else 5_000
    )
    return max(step, round(amount / step) * step)


def _served(rng: Random, district: str) -> tuple[str, ...]:
    """Return the districts served, sorted: the own one and near ones, seldom all."""
    near = _by_distance(district)
    reach = (
        len(near) if rng.random() < ISLAND_WIDE_CHANCE else 1 + min(8, int(rng.expovariate(0.4)))
    )
    return tuple(sorted(near[:reach]))


@cache
def _by_distance(district: str) -> tuple[str, ...]:
    table = place_table()
    here = table.district_by_id[district].position

    def distance(other: str) -> float:
        there = table.district_by_id[other].position
        return math.hypot(there.latitude - here.latitude, there.longitude - here.longitude)

    return tuple(sorted(table.district_by_id, key=lambda other: (distance(other), other)))
