"""Where venues of which kind can be: coasts, hills, old towns; and how many each district has."""

from __future__ import annotations

from functools import cache
from random import Random

from weddinglk.domain import Place, VenueStyle
from weddinglk.places import place_table

# Shares of all listings, roughly by people and by guests from abroad.
DISTRICT_WEIGHTS = {
    "ampara": 2.4, "anuradhapura": 3.0, "badulla": 4.0, "batticaloa": 2.4, "colombo": 20.0,
    "galle": 9.0, "gampaha": 12.0, "hambantota": 3.0, "jaffna": 4.0, "kalutara": 6.5,
    "kandy": 10.0, "kegalle": 2.5, "kilinochchi": 0.7, "kurunegala": 5.0, "mannar": 0.9,
    "matale": 3.2, "matara": 5.0, "monaragala": 1.4, "mullaitivu": 0.6, "nuwara-eliya": 4.8,
    "polonnaruwa": 2.0, "puttalam": 3.2, "ratnapura": 2.6, "trincomalee": 3.0, "vavuniya": 1.2,
}  # fmt: skip

COAST = frozenset(
    "mount-lavinia dehiwala negombo wattala kalutara panadura beruwala aluthgama wadduwa galle "  # noqa: SIM905 -- read as text
    "unawatuna hikkaduwa bentota ambalangoda koggala talpe ahangama balapitiya matara weligama "
    "mirissa dickwella dondra hambantota tangalle jaffna point-pedro valvettithurai mannar pesalai "
    "talaimannar mullaitivu batticaloa pasikudah kalmunai akkaraipattu arugam-bay pottuvil "
    "trincomalee nilaveli uppuveli kalpitiya chilaw marawila wennappuwa".split()
)
HILLS = frozenset(
    "nuwara-eliya hatton talawakele nanu-oya ramboda ginigathena ragala bandarawela ella haputale "  # noqa: SIM905 -- read as text
    "welimada diyatalawa badulla gampola nawalapitiya digana rattota balangoda belihuloya deniyaya "
    "kitulgala kotapola pussellawa passara haldummulla lunugala maskeliya bogawanthalawa".split()
)
OLD_TOWNS = frozenset(
    "galle colombo kandy nuwara-eliya jaffna negombo matara trincomalee batticaloa kalutara matale "  # noqa: SIM905 -- read as text
    "ratnapura kurunegala mannar bentota balapitiya peradeniya kadugannawa mawanella chilaw "
    "ambalangoda sri-jayewardenepura-kotte panadura badulla anuradhapura".split()
)
HOLIDAY_TOWNS = frozenset(
    "dambulla sigiriya habarana giritale polonnaruwa anuradhapura kandy digana nuwara-eliya ella "  # noqa: SIM905 -- read as text
    "bandarawela tissamaharama kataragama belihuloya kitulgala negombo bentota beruwala wadduwa "
    "hikkaduwa unawatuna koggala weligama mirissa tangalle hambantota pasikudah nilaveli uppuveli "
    "trincomalee arugam-bay kalpitiya marawila jaffna".split()
)
CITIES = frozenset(
    "colombo mount-lavinia dehiwala sri-jayewardenepura-kotte battaramulla nugegoda maharagama "  # noqa: SIM905 -- read as text
    "moratuwa gampaha negombo wattala kandana ja-ela kelaniya kandy katugastota peradeniya galle "
    "matara kurunegala jaffna batticaloa ratnapura badulla anuradhapura kalutara panadura".split()
)

_STYLES = tuple(VenueStyle)


def shares(total: int, weights: dict[str, float]) -> dict[str, int]:
    """Divide ``total`` by ``weights``, at least one each; largest remainders get the rest.

    ``total`` must be at least the number of weights.
    """
    spare = total - len(weights)
    whole = sum(weights.values())
    exact = {name: spare * weight / whole for name, weight in weights.items()}
    counts = {name: 1 + int(amount) for name, amount in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def place_in(rng: Random, district: str, *, towns: float) -> Place:
    """Return a place of ``district``; ``towns`` (0.0-1.0) is the chance that it is a town."""
    named, others = _places(district)
    if not others or rng.random() < towns:
        # Towns are listed by importance nowhere; the district's capital is by far the largest.
        capital = next((place for place in named if place.id == district), named[0])
        return capital if rng.random() < 0.22 else rng.choice(named)
    return rng.choice(others)


def style_at(rng: Random, place: Place) -> VenueStyle:
    """Return what kind of venue may stand at ``place``."""
    return rng.choices(_STYLES, _style_weights(place.id))[0]


@cache
def _places(district: str) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
    table = place_table()
    places = table.places_by_district[district]
    named = tuple(place for place in places if place.id in table.towns)
    return named, tuple(place for place in places if place.id not in table.towns)


@cache
def _style_weights(place: str) -> tuple[float, ...]:
    coast, hills = place in COAST, place in HILLS
    is_town = place in place_table().towns
    weights = {
        VenueStyle.BALLROOM: 5.0 if place in CITIES else 3.0 if is_town else 1.5,
        VenueStyle.GARDEN: 2.4,
        VenueStyle.BEACH: 6.0 if coast else 0.0,
        VenueStyle.COLONIAL: 2.2 if place in OLD_TOWNS else 0.15,
        VenueStyle.ESTATE: 6.0 if hills else 0.0,
        VenueStyle.RESORT: 3.0 if place in HOLIDAY_TOWNS else 0.3,
        VenueStyle.BOUTIQUE: 1.8 if place in HOLIDAY_TOWNS or place in OLD_TOWNS else 0.5,
        VenueStyle.COMMUNITY: 1.4 if place in CITIES else 1.8 if is_town else 4.0,
    }
    return tuple(weights[style] for style in _STYLES)
