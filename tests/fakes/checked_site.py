"""WeddingLK with further doors, for the security checks; run by `poruwa up` as `checked_site:app`.

Below ``/doors`` anybody signs in as anybody, takes their time, sets cookies of any length and so
on: what a check needs done in the app, while all that stands before it is the site's own. Pages of
the site itself are as they always are.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

import poruwa
from poruwa.app.security.sessions import Session

NO_STORE = {"Cache-Control": "no-store"}
ADMINISTRATOR = 9


def doors(platform: poruwa.Platform) -> Mount:
    """Return what is below ``/doors``."""

    async def sign_in(request: Request) -> Response:
        level = int(request.query_params.get("level", "0"))
        await poruwa.sign_in(request, request.query_params["user"], level=level)
        return PlainTextResponse("in")

    async def sign_out(request: Request) -> Response:
        await poruwa.sign_out(request, everywhere="everywhere" in request.query_params)
        return PlainTextResponse("out")

    async def prove(request: Request) -> Response:
        level = request.query_params.get("level")
        await poruwa.prove_again(request, level=None if level is None else int(level))
        return PlainTextResponse("proved")

    async def password(request: Request) -> Response:
        await poruwa.end_other_sessions(request)
        return PlainTextResponse("changed")

    async def email(request: Request) -> Response:
        """A sensitive act."""
        session = poruwa.session_of(request)
        if session is None or not session.is_fresh():
            return PlainTextResponse("prove who you are", 403, NO_STORE)
        return PlainTextResponse("changed", headers=NO_STORE)

    async def me(request: Request) -> Response:
        await asyncio.sleep(float(request.query_params.get("seconds", "0")))
        session = poruwa.session_of(request)
        told = {} if session is None else {"user": session.user_id, "level": session.level}
        return JSONResponse(told, headers={"Cache-Control": "private"})

    async def account(request: Request) -> Response:
        session = poruwa.session_of(request)
        if session is None:
            return PlainTextResponse("sign in first", 401, NO_STORE)
        return PlainTextResponse(f"account of {session.user_id}", headers=NO_STORE)

    async def devices(request: Request) -> Response:
        found = await platform.sessions.devices_of(_session(request).user_id)
        told = [{"handle": each.handle, "agent": each.agent} for each in found]
        return JSONResponse(told, headers=NO_STORE)

    async def end(request: Request) -> Response:
        session, asked = _session(request), request.query_params
        if "user" in asked:
            if session.level < ADMINISTRATOR:
                return PlainTextResponse("not yours", 403, NO_STORE)
            await platform.sessions.end_all(asked["user"])
            return PlainTextResponse("ended", headers=NO_STORE)
        found = await platform.sessions.end_device(session.user_id, asked["handle"])
        return PlainTextResponse("ended" if found else "none", headers=NO_STORE)

    async def form(request: Request) -> Response:
        return PlainTextResponse(poruwa.csrf_token_of(request), headers=NO_STORE)

    async def note(request: Request) -> Response:
        body = await request.body()
        return PlainTextResponse(f"noted {len(body)} by {request.method}", headers=NO_STORE)

    async def cookie(request: Request) -> Response:
        value = b"v" * int(request.query_params["bytes"])
        poruwa.security_of(request).set_cookie(platform.cookies["theme"].line(value))
        return PlainTextResponse("set")

    async def certain(request: Request) -> Response:
        is_certain = platform.sessions.revocations.is_certain()
        return PlainTextResponse("yes" if is_certain else "no", headers=NO_STORE)

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        session = poruwa.session_of(socket)
        await socket.send_text("nobody" if session is None else session.user_id)
        await socket.close()

    def post(path: str, endpoint: object) -> Route:
        return Route(path, endpoint, methods=["POST"])  # type: ignore[arg-type]

    return Mount(
        "/doors",
        routes=[
            post("/sign-in", sign_in),
            post("/sign-out", sign_out),
            post("/prove", prove),
            post("/password", password),
            post("/email", email),
            post("/end", end),
            Route("/note", note, methods=["GET", "POST", "PUT", "DELETE"]),
            Route("/json", note, methods=["POST"]),
            Route("/limited", note, methods=["GET", "POST"]),
            Route("/me", me),
            Route("/account", account),
            Route("/account/{rest:path}", account),
            Route("/devices", devices),
            Route("/form", form),
            Route("/cookie", cookie),
            Route("/certain", certain),
            WebSocketRoute("/socket", talk),
        ],
    )


def _session(request: Request) -> Session:
    session = poruwa.session_of(request)
    assert session is not None
    return session


def _make_app() -> Starlette:
    from weddinglk.app import create_app

    platform = poruwa.Platform.from_file(Path(os.environ["PORUWA_POLICY"]))
    app = create_app(
        platform,
        database_url=os.environ["WEDDINGLK_DATABASE_URL"],
        build=os.environ["WEDDINGLK_BUILD"],
        operator_token=os.environ["WEDDINGLK_OPERATOR_TOKEN"],
    )
    app.router.routes.insert(0, doors(platform))
    return app


if __name__ == "checked_site":
    app = _make_app()
