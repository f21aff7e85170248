"""What every page needs, built once at start and found from a request: the ``Site``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template
from starlette.requests import Request

from poruwa import Assets, CookieForm, InlineBlocks, Sessions
from weddinglk.art.picture import art_url, picture_url
from weddinglk.catalogue import Catalogue
from weddinglk.demand import Demand
from weddinglk.editor import Editor
from weddinglk.people.accounts import Accounts
from weddinglk.people.guessing import Guessing
from weddinglk.web.fragments import calendar_rows, icon_maker, place_namer
from weddinglk.web.static import StaticFiles, load_static_files
from weddinglk.web.texts import Texts, load_texts

TEMPLATES_DIRECTORY = Path(__file__).parent.parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The parts pages are made of.

    ``operator_token`` is what must be shown to edit; empty where nobody may. ``public_url`` is
    ``https://host`` or empty if unknown. ``preload`` is the Link field of every page (RFC 8288):
    what a browser needs before it can draw, so that whoever stands before us can name it in a 103
    while the page is made (RFC 8297). ``sessions`` raises ConfigError where the policy has none;
    ``cookies`` are the named ones of the policy. ``content_security_policy`` is every page's, as
    the policy has it; a page adds the hashes of its inline blocks.
    """

    catalogue: Catalogue
    editor: Editor
    demand: Demand
    accounts: Accounts
    guessing: Guessing
    sessions: Callable[[], Sessions]
    cookies: Mapping[str, CookieForm]
    operator_token: str
    templates: dict[str, Template]
    texts: dict[str, Texts]
    static: StaticFiles
    build: str
    public_url: str
    preload: str
    content_security_policy: str | None


def site_of(request: Request) -> Site:
    """Return the site that answers ``request``."""
    site = request.app.state.site
    assert isinstance(site, Site)
    return site


def build_site(
    catalogue: Catalogue,
    editor: Editor,
    demand: Demand,
    accounts: Accounts,
    *,
    guessing: Guessing,
    sessions: Callable[[], Sessions],
    cookies: Mapping[str, CookieForm],
    assets: Assets,
    build: str,
    public_url: str,
    operator_token: str,
    content_security_policy: str | None,
) -> Site:
    """Load texts and static files and compile every template, so that requests read no file."""
    static = load_static_files(assets)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_DIRECTORY),
        autoescape=True,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        cache_size=-1,
        extensions=[InlineBlocks],
    )
    environment.globals.update(
        static=static.url,
        integrity=static.integrity,
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
        editor=editor,
        demand=demand,
        accounts=accounts,
        guessing=guessing,
        sessions=sessions,
        cookies=cookies,
        operator_token=operator_token,
        templates={name: environment.get_template(name) for name in names},
        texts=load_texts(),
        static=static,
        build=build,
        public_url=public_url.rstrip("/"),
        preload=(
            f"<{static.url('site.css')}>; rel=preload; as=style; "
            f'integrity="{static.integrity("site.css")}"'
        ),
        content_security_policy=content_security_policy,
    )
