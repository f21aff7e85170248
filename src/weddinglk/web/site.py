"""What every page needs, built once at start and found from a request: the ``Site``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from jinja2 import Environment, FileSystemLoader, Template
from starlette.requests import Request

from poruwa import collect_tags, tag
from weddinglk.art.picture import art_url, picture_url
from weddinglk.catalogue import Catalogue, Featured, Overview
from weddinglk.web.fragments import calendar_rows, icon_maker, place_namer
from weddinglk.web.static import StaticFiles, load_static_files
from weddinglk.web.texts import Texts, load_texts

OVERVIEW_LIFETIME_SECONDS = 60.0  # totals: nobody notices a minute
FEATURED_LIFETIME_SECONDS = 10.0  # full records: an edit shows soon
_FEATURED_VENUES, _FEATURED_VENDORS = 8, 4  # full rows of four cards
ValueT = TypeVar("ValueT")

TEMPLATES_DIRECTORY = Path(__file__).parent.parent / "templates"


class Remembered(Generic[ValueT]):
    """One value that many pages need, loaded at most once per ``lifetime_seconds``.

    For counts and choices that may lag: the database counts a collection in 0.3 s. Concurrent
    callers wait for one load; a failed load is raised to them and not remembered. What the load
    tagged is remembered with the value and tagged for each caller.
    """

    def __init__(self, load: Callable[[], Awaitable[ValueT]], *, lifetime_seconds: float) -> None:
        self._load = load
        self._lifetime_seconds = lifetime_seconds
        self._value: ValueT | None = None
        self._tags: tuple[str, ...] = ()
        self._deadline = 0.0
        self._loading = asyncio.Lock()

    async def get(self) -> ValueT:
        """Return the value; cancelling leaves the next caller to load it."""
        value = self._value
        if value is None or monotonic() >= self._deadline:
            value = await self._loaded()
        tag(*self._tags)
        return value

    async def _loaded(self) -> ValueT:
        async with self._loading:
            if self._value is None or monotonic() >= self._deadline:
                with collect_tags() as tags:
                    value = await self._load()
                self._value, self._tags = value, tuple(tags)
                self._deadline = monotonic() + self._lifetime_seconds
            return self._value


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The parts pages are made of.

    ``public_url`` is ``https://host`` or empty if unknown. ``preload`` is the Link field of every
    page (RFC 8288): what a browser needs before it can draw, so that whoever stands before us can
    name it in a 103 while the page is made (RFC 8297).
    """

    catalogue: Catalogue
    overview: Remembered[Overview]
    featured: Remembered[Featured]
    templates: dict[str, Template]
    texts: dict[str, Texts]
    static: StaticFiles
    build: str
    public_url: str
    preload: str


def site_of(request: Request) -> Site:
    """Return the site that answers ``request``."""
    site = request.app.state.site
    assert isinstance(site, Site)
    return site


def build_site(catalogue: Catalogue, *, build: str, public_url: str) -> Site:
    """Load texts and static files and compile every template, so that requests read no file."""
    static = load_static_files()
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_DIRECTORY),
        autoescape=True,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=-1,
    )
    environment.globals.update(
        static=static.url,
        build=build,
        picture_url=picture_url,
        art=art_url,
        icon=icon_maker(static.url("icons.svg")),
        place_line=place_namer(catalogue),
        calendar_rows=calendar_rows,
        catalogue=catalogue,
    )
    names = [name for name in environment.list_templates() if name.endswith(".html")]
    return Site(
        catalogue=catalogue,
        overview=Remembered(catalogue.overview, lifetime_seconds=OVERVIEW_LIFETIME_SECONDS),
        featured=Remembered(
            partial(catalogue.featured, _FEATURED_VENUES, _FEATURED_VENDORS),
            lifetime_seconds=FEATURED_LIFETIME_SECONDS,
        ),
        templates={name: environment.get_template(name) for name in names},
        texts=load_texts(),
        static=static,
        build=build,
        public_url=public_url.rstrip("/"),
        preload=f"<{static.url('site.css')}>; rel=preload; as=style",
    )
