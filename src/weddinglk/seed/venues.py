"""Makes the venues: style by place, price by style, place and quality, words by style."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from weddinglk.domain import (
    FACILITIES,
    Place,
    Position,
    PriceLine,
    Text,
    Venue,
    VenueSetting,
    VenueStyle,
)
from weddinglk.seed.fragments import Deck, filled, paragraph, texts, words
from weddinglk.seed.geography import COAST, HILLS, place_in, style_at
from weddinglk.seed.people import NameMaker, community_in

MENU_MIN_LKR, MENU_MAX_LKR = 3_500, 18_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    """What venues of a style are like: ranges of guests and menu prices, and second styles."""

    guests: tuple[int, int]
    menu_lkr: tuple[int, int]
    settings: tuple[int, int, int]  # chances of indoor, outdoor, both
    also: tuple[VenueStyle, ...]
    facilities: tuple[str, ...]  # nearly always there


_STYLES = {
    VenueStyle.BALLROOM: _Style(
        guests=(150, 1000),
        menu_lkr=(4_200, 11_000),
        settings=(8, 0, 2),
        also=(VenueStyle.RESORT,),
        facilities=("air-conditioning", "car-park", "generator", "sound-system", "dance-floor"),
    ),
    VenueStyle.GARDEN: _Style(
        guests=(80, 400),
        menu_lkr=(3_900, 9_000),
        settings=(0, 5, 5),
        also=(VenueStyle.BOUTIQUE, VenueStyle.COLONIAL),
        facilities=("garden", "car-park"),
    ),
    VenueStyle.BEACH: _Style(
        guests=(60, 280),
        menu_lkr=(6_200, 14_500),
        settings=(0, 5, 5),
        also=(VenueStyle.RESORT, VenueStyle.BOUTIQUE),
        facilities=("beach-access", "guest-rooms"),
    ),
    VenueStyle.COLONIAL: _Style(
        guests=(60, 260),
        menu_lkr=(5_800, 15_000),
        settings=(2, 1, 7),
        also=(VenueStyle.GARDEN, VenueStyle.BOUTIQUE),
        facilities=("garden", "bridal-suite"),
    ),
    VenueStyle.ESTATE: _Style(
        guests=(40, 180),
        menu_lkr=(5_500, 13_000),
        settings=(1, 3, 6),
        also=(VenueStyle.GARDEN, VenueStyle.COLONIAL),
        facilities=("hill-view", "garden", "guest-rooms"),
    ),
    VenueStyle.RESORT: _Style(
        guests=(120, 500),
        menu_lkr=(6_800, 16_500),
        settings=(1, 1, 8),
        also=(VenueStyle.GARDEN,),
        facilities=("swimming-pool", "guest-rooms", "wifi", "car-park", "air-conditioning"),
    ),
    VenueStyle.BOUTIQUE: _Style(
        guests=(30, 120),
        menu_lkr=(8_000, 18_000),
        settings=(1, 2, 7),
        also=(VenueStyle.GARDEN,),
        facilities=("wifi", "bridal-suite", "guest-rooms"),
    ),
    VenueStyle.COMMUNITY: _Style(
        guests=(120, 600),
        menu_lkr=(3_500, 5_200),
        settings=(8, 0, 2),
        also=(),
        facilities=("outside-catering", "car-park"),
    ),
}
_DEAR = {"colombo": 1.14, "galle": 1.06, "nuwara-eliya": 1.05, "kandy": 1.03, "gampaha": 1.0}
_USUAL_DEAR = 0.92
# Facilities that depend on the place or exclude one another are decided one by one.
_DECIDED = {"beach-access", "hill-view", "lake-view", "halal-kitchen", "liquor-licence"}

_LABELS = {
    "hall": Text(en="Hall for a day", si="ශාලාව, දිනකට", ta="மண்டபம், ஒரு நாள்"),
    "silver": Text(en="Menu, Silver", si="රිදී මෙනුව", ta="வெள்ளி உணவுப் பட்டியல்"),
    "gold": Text(en="Menu, Gold", si="රන් මෙනුව", ta="தங்க உணவுப் பட்டியல்"),
    "feast": Text(en="Menu, Grand feast", si="මහා මංගල භෝජනය", ta="பெரும் விருந்துப் பட்டியல்"),
    "poruwa": Text(en="Poruwa with flowers", si="මල් සමඟ පෝරුව", ta="பூக்களுடன் மணமேடை"),
    "suite": Text(en="Bridal suite, a night", si="මනාල කාමරය, රාත්‍රියකට", ta="மணமக்கள் அறை, ஓர் இரவு"),
    "hour": Text(en="Each further hour", si="සෑම අමතර පැයකටම", ta="ஒவ்வொரு கூடுதல் மணிக்கும்"),
    "house": Text(
        en="Whole house, two nights", si="මුළු නිවස, රාත්‍රී දෙකකට", ta="முழு இல்லம், இரண்டு இரவுகள்"
    ),
}


def make_venue(
    rng: Random, names: NameMaker, deck: Deck, venue_id: int, district: str, quality: float
) -> Venue:
    """Return a venue of ``district`` without reviews and bookings.

    Args:
        rng: where chance comes from.
        names: makes its name, unlike all others.
        deck: deals its tagline.
        venue_id: its id.
        district: a district's id.
        quality: 0.0-1.0, never shown: prices, and later reviews and bookings, follow it.
    """
    place = place_in(rng, district, towns=0.86)
    main = style_at(rng, place)
    style = _STYLES[main]
    styles = _styles(rng, main, place)
    guests_max = _round_to(_skewed(rng, *style.guests), 10)
    setting = rng.choices(tuple(VenueSetting), style.settings)[0]
    facilities = _facilities(rng, styles, setting, place, quality)
    menu = _menu_price(rng, style, district, quality)
    community = community_in(rng, district)
    return Venue(
        id=venue_id,
        name=names.name(rng, words("names", f"venue.{main}"), community, place.name.en),
        tagline=_tagline(rng, deck, main, place),
        description=_description(rng, main, place, guests_max),
        district=district,
        place=place.id,
        position=_position(rng, place, is_beach=VenueStyle.BEACH in styles),
        styles=styles,
        setting=setting,
        guests_min=_round_to(guests_max * rng.uniform(0.12, 0.35), 5),
        guests_max=guests_max,
        price_per_guest_lkr=menu,
        prices=_prices(rng, main, menu, guests_max, facilities),
        facilities=facilities,
        booked_dates=(),
        rating=0.0,
        review_count=0,
        art_seed=rng.getrandbits(31),
    )


def _styles(rng: Random, main: VenueStyle, place: Place) -> tuple[VenueStyle, ...]:
    also = list(_STYLES[main].also)
    if main is VenueStyle.RESORT and place.id in COAST:
        also = [VenueStyle.BEACH]
    if also and rng.random() < 0.36:
        return main, rng.choice(also)
    return (main,)


def _facilities(
    rng: Random,
    styles: tuple[VenueStyle, ...],
    setting: VenueSetting,
    place: Place,
    quality: float,
) -> tuple[str, ...]:
    chosen = {facility for style in styles for facility in _STYLES[style].facilities}
    common = 0.18 if VenueStyle.COMMUNITY in styles else 0.26 + 0.2 * quality
    chosen.update(
        facility for facility in FACILITIES if facility not in _DECIDED and rng.random() < common
    )
    if VenueStyle.BEACH not in styles:
        chosen.discard("beach-access")
    if place.id in HILLS and rng.random() < 0.6:
        chosen.add("hill-view")
    elif place.id not in COAST and rng.random() < 0.12:
        chosen.add("lake-view")
    if VenueStyle.COMMUNITY not in styles:
        chosen.add("liquor-licence" if rng.random() < 0.55 else "halal-kitchen")
    if setting is VenueSetting.OUTDOOR:
        chosen.discard("air-conditioning")
    if rng.random() < 0.5:
        chosen.add("poruwa")
    return tuple(sorted(chosen))


def _menu_price(rng: Random, style: _Style, district: str, quality: float) -> int:
    low, high = style.menu_lkr
    level = min(1.0, max(0.0, rng.gauss(0.2 + 0.45 * quality, 0.18)))
    amount = (low + (high - low) * level) * _DEAR.get(district, _USUAL_DEAR)
    return min(MENU_MAX_LKR, max(MENU_MIN_LKR, _round_to(amount, 50)))


def _prices(
    rng: Random, main: VenueStyle, menu: int, guests_max: int, facilities: tuple[str, ...]
) -> tuple[PriceLine, ...]:
    def line(key: str, amount: float, step: int, *, per_guest: bool = False) -> PriceLine:
        return PriceLine(
            label=_LABELS[key], amount_lkr=_round_to(amount, step), per_guest=per_guest
        )

    gold = menu * rng.uniform(1.18, 1.38)
    lines = [
        PriceLine(label=_LABELS["silver"], amount_lkr=menu, per_guest=True),
        line("gold", gold, 50, per_guest=True),
    ]
    if rng.random() < 0.6:
        lines.append(line("feast", gold * rng.uniform(1.15, 1.35), 50, per_guest=True))
    if main is VenueStyle.BOUTIQUE or (main is VenueStyle.ESTATE and rng.random() < 0.7):
        lines.append(line("house", menu * guests_max * rng.uniform(0.35, 0.6), 5_000))
    else:
        lines.append(line("hall", menu * guests_max * rng.uniform(0.06, 0.14), 2_500))
    if "poruwa" in facilities:
        lines.append(line("poruwa", rng.uniform(35_000, 160_000), 2_500))
    if "bridal-suite" in facilities:
        lines.append(line("suite", rng.uniform(12_000, 65_000), 500))
    if rng.random() < 0.5:
        lines.append(line("hour", rng.uniform(8_000, 45_000), 500))
    return tuple(lines)


def _tagline(rng: Random, deck: Deck, main: VenueStyle, place: Place) -> Text:
    promises = texts("venues", f"{main}.promise") + texts("venues", "any.promise")
    return filled(deck.tagline(rng, main, texts("venues", f"{main}.opening"), promises), place.name)


def _description(rng: Random, main: VenueStyle, place: Place, guests_max: int) -> Text:
    order = ["size", "food", "service"]
    rng.shuffle(order)
    kinds = [f"{main}.about", "where", *order[: rng.randint(2, 3)]]
    return paragraph(
        [filled(rng.choice(texts("venues", kind)), place.name, guests=guests_max) for kind in kinds]
    )


def _position(rng: Random, place: Place, *, is_beach: bool) -> Position:
    """Scatter venues around their town (1 km, beaches 300 m): honest only as approximate."""
    spread = 0.003 if is_beach else 0.009
    return Position(
        latitude=round(place.position.latitude + rng.uniform(-spread, spread), 5),
        longitude=round(place.position.longitude + rng.uniform(-spread, spread), 5),
        approximate=True,
    )


def _skewed(rng: Random, low: int, high: int) -> float:
    """Return a size between ``low`` and ``high``, more often small than large."""
    return low + (high - low) * rng.betavariate(1.6, 2.6)


def _round_to(amount: float, step: int) -> int:
    return max(step, round(amount / step) * step)
