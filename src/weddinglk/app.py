"""The WeddingLK application: FastAPI around the pages, the JSON API and the catalogue.

``uvicorn weddinglk.app:app`` serves the one described by the environment:
``WEDDINGLK_DATABASE_URL`` (default: MongoDB's usual port on this machine), ``WEDDINGLK_BUILD``
(the build's name, on every page; default ``dev``), ``WEDDINGLK_PUBLIC_URL`` (``https://host``
for links that must be absolute; default: none) and ``WEDDINGLK_OPERATOR_TOKEN`` (what must be shown
to edit; default: nobody edits). ``PORUWA_POLICY`` names the policy (default: the site's own),
``PORUWA_CACHE_URL`` and ``PORUWA_BUS_URL`` the servers it shares caches and changes over; without
them each process keeps to itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException

from poruwa import Platform, Session, Writes
from weddinglk.catalogue import Catalogue
from weddinglk.database import open_database
from weddinglk.demand import Demand
from weddinglk.documents import Document
from weddinglk.editor import Editor, Transactions
from weddinglk.local_writes import LocalWrites
from weddinglk.midnight import declare_days_over
from weddinglk.people.accounts import Accounts
from weddinglk.people.guessing import Guessing
from weddinglk.web import (
    account,
    api,
    compare,
    discovery,
    editing,
    home,
    pictures,
    search,
    shortlist,
    sign_in,
    vendors,
    venues,
)
from weddinglk.web.errors import on_database_failure, on_failure, on_http_exception
from weddinglk.web.language import LanguageMiddleware
from weddinglk.web.private import WrongForm, on_wrong_form
from weddinglk.web.problem import describe_problems, on_invalid_request
from weddinglk.web.site import build_site

DEFAULT_DATABASE_URL = "mongodb://127.0.0.1:27017/weddinglk?retryWrites=false&directConnection=true"
_API_DESCRIPTION = (
    "Venues and vendors for weddings in Sri Lanka. Texts come in English, Sinhala or Tamil "
    "(`?lang=` or Accept-Language); amounts are whole rupees (LKR); errors are "
    "`application/problem+json`."
)


@asynccontextmanager
async def _transactions(
    platform: Platform, database: AsyncDatabase[Document]
) -> AsyncIterator[Transactions]:
    """Give who writes, with a bus or without."""
    writes = platform.writes(database) or LocalWrites(database, platform)
    try:
        yield writes
    finally:
        await writes.close()


def create_app(
    platform: Platform,
    *,
    database_url: str = DEFAULT_DATABASE_URL,
    build: str = "dev",
    public_url: str = "",
    operator_token: str = "",
) -> FastAPI:
    """Return the application; it opens the database when its lifespan starts.

    Args:
        platform: the caches, and what tells them of changes; runs as long as the application.
        database_url: ``mongodb://host:port/database?options``.
        build: the name of this build; pages carry it.
        public_url: ``https://host`` under which visitors know the site; empty if unknown.
        operator_token: what who edits must show; empty: nobody may.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # The database outlives the platform: what the platform still loads needs it.
        async with (
            open_database(database_url) as database,
            platform.running(),
            _transactions(platform, database) as transactions,
            platform.people(database, transactions if isinstance(transactions, Writes) else None),
        ):
            tally = platform.tally("views")
            catalogue = Catalogue(database, platform, when_complete=transactions.start)
            demand = Demand(tally, catalogue.load_tagged)
            platform.on_change(demand.note)
            app.state.site = build_site(
                catalogue,
                Editor(database, transactions),
                demand,
                Accounts(database, transactions, platform),
                guessing=Guessing(
                    platform.limiter("sign-in-account"), platform.limiter("sign-in-source")
                ),
                sessions=lambda: platform.sessions,
                cookies=platform.cookies,
                assets=platform.assets,
                build=build,
                public_url=public_url,
                operator_token=operator_token,
                content_security_policy=platform.policy.headers.content_security_policy,
            )
            await app.state.site.static.share()  # before a page names them
            await catalogue.ready()  # builds the index now if it can, else with a later check
            behind = [
                asyncio.create_task(declare_days_over(platform)),
                asyncio.create_task(tally.run()),
            ]
            try:
                yield
            finally:
                for task in behind:
                    task.cancel()
                await asyncio.gather(*behind, return_exceptions=True)
                await demand.close()
                await catalogue.close()

    app = FastAPI(
        title="WeddingLK",
        version="1",
        description=_API_DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # Starlette's redirect would lose the language prefix
    )
    # Plain Starlette routes: pages have no use for FastAPI's validation and pay nothing for it.
    shared = (discovery, pictures, home, venues, vendors, search, compare)
    for noun in (*shared, sign_in, account, shortlist):
        app.router.routes.extend(noun.routes)
    app.include_router(api.router)
    app.include_router(editing.router)
    describe_problems(app)
    app.add_middleware(LanguageMiddleware)

    async def badges(session: Session) -> dict[str, Any]:
        return await shortlist.badges_of(app.state.site, session)

    platform.install(app, badges=badges)  # the last added is the outermost
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_invalid_request)
    app.add_exception_handler(WrongForm, on_wrong_form)
    app.add_exception_handler(PyMongoError, on_database_failure)
    app.add_exception_handler(Exception, on_failure)
    return app


app = create_app(
    Platform.from_file(Path(__file__).with_name("site.toml")),
    database_url=os.environ.get("WEDDINGLK_DATABASE_URL") or DEFAULT_DATABASE_URL,
    build=os.environ.get("WEDDINGLK_BUILD") or "dev",
    public_url=os.environ.get("WEDDINGLK_PUBLIC_URL", ""),
    operator_token=os.environ.get("WEDDINGLK_OPERATOR_TOKEN", ""),
)
