"""Pictures of listings, drawn: which there are, their addresses, and the drawing itself.

A picture is decided by its kind, style and seed alone, so that it is the same on every instance.
There is no picture of a person and none of a real place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from weddinglk.art import hero, vendors, vendors_again, venues
from weddinglk.art.canvas import Canvas
from weddinglk.art.palette import FESTIVE, LIGHTS, Festive, Light
from weddinglk.domain import Vendor, VendorCategory, Venue, VenueStyle

SEEDS = 10_000  # different pictures of one style; also bounds what caches can be made to hold

Scene = Callable[[Canvas, Light, Festive], None]

_VENUES: dict[str, tuple[Scene, ...]] = {
    VenueStyle.BALLROOM: (venues.ballroom,),
    VenueStyle.GARDEN: (venues.garden,),
    VenueStyle.BEACH: (venues.beach,),
    VenueStyle.COLONIAL: (venues.colonial,),
    VenueStyle.ESTATE: (venues.estate,),
    VenueStyle.RESORT: (venues.resort,),
    VenueStyle.BOUTIQUE: (venues.boutique,),
    VenueStyle.COMMUNITY: (venues.community,),
}
_VENDORS: dict[str, tuple[Scene, ...]] = {
    VendorCategory.PHOTOGRAPHY: (vendors.photography, vendors_again.prints),
    VendorCategory.CATERING: (vendors.catering, vendors_again.buffet),
    VendorCategory.DECORATION: (vendors.decoration, vendors_again.arch),
    VendorCategory.FLOWERS: (vendors.flowers, vendors_again.garlands),
    VendorCategory.MUSIC_AND_DANCE: (vendors.music_and_dance, vendors_again.twin_drums),
    VendorCategory.MAKE_UP: (vendors.make_up, vendors_again.sarees),
    VendorCategory.CAKES: (vendors.cakes, vendors_again.small_cakes),
    VendorCategory.TRANSPORT: (vendors.transport, vendors_again.three_wheeler),
    VendorCategory.CEREMONY: (vendors.ceremony, vendors_again.tray),
}
_SCENES = {"venue": _VENUES, "vendor": _VENDORS}


def _version() -> str:
    """Return a name for how pictures look: it changes when one of the drawing modules does."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    joined = b"".join(source.read_bytes() for source in sources)
    return hashlib.blake2b(joined, digest_size=4).hexdigest()


ART_VERSION = _version()


def art_url(kind: str, style: str, seed: int) -> str:
    """Return the path of a picture."""
    return f"/art/{ART_VERSION}/{kind}/{style}/{seed % SEEDS}.svg"


def picture_url(listing: Venue | Vendor) -> str:
    """Return the path of the picture of a listing."""
    if isinstance(listing, Venue):
        return art_url("venue", listing.styles[0], listing.art_seed)
    return art_url("vendor", listing.category, listing.art_seed)


def is_known(kind: str, style: str) -> bool:
    """Whether there are pictures of this kind and style."""
    return (kind, style) == ("scene", "home") or style in _SCENES.get(kind, {})


def draw(kind: str, style: str, seed: int) -> str:
    """Return the SVG document; the same arguments give the same bytes.

    Raises:
        KeyError: ``is_known`` says no.
    """
    if (kind, style) == ("scene", "home"):
        return hero.lagoon()
    canvas = Canvas(f"{style} {seed}")
    # From the seed's digits and not its first random numbers, so that neighbours differ in light.
    light = LIGHTS[seed % len(LIGHTS)]
    festive = FESTIVE[seed // len(LIGHTS) % len(FESTIVE)]
    scenes = _SCENES[kind][style]
    canvas.random.choice(scenes)(canvas, light, festive)
    return canvas.finished(mirrored=seed // 36 % 2 == 1)
