"""Instances of a small site with sessions, as processes, over a real database and a real bus.

Run by uvicorn as ``session_site:app`` with this folder on PYTHONPATH. ``/slow?seconds=1`` is a
private page that takes its time; ``/end?user=`` and ``/end?handle=`` are an administrator's and an
owner's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from pymongo import AsyncMongoClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import poruwa
from poruwa.app.security.devices import Device

TESTS = Path(__file__).parents[1]
URL_VARIABLE = "SESSION_SITE_DATABASE_URL"
NAME = "__Host-Http-site.session"
READY_SECONDS = 30.0
POLICY = """
[site]
name = "site"
[pools.app]
instances = ["127.0.0.1:9"]
[[routes]]
path = "/*"
pool = "app"
[session]
cookie = "site.session"
keys = "env:PORUWA_SESSION_KEYS"
[classes.session]
scope = "none"
strategy = "write-through"
tags = ["session:{session_id}"]
lifetimes = { application = "24h" }
[stores.cache]
mode = "embedded"
[stores.bus]
mode = "embedded"
"""


class SessionInstance:
    """One instance: started, stopped with SIGSTOP, killed. ``token`` in calls is the cookie's."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = int(listener.getsockname()[1])
        self._log = folder / f"instance-{self.port}.log"
        self._environment = environment
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                (sys.executable, "-m", "uvicorn", "session_site:app", "--port", str(self.port),
                 "--log-level", "warning", "--no-access-log"),
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
                | self._environment,
                stdout=log,
                stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + READY_SECONDS
        while True:
            assert self.process.poll() is None, self.log()
            with contextlib.suppress(httpx.HTTPError):
                if self.client.get("/ready").text == "yes":
                    return
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def log(self) -> str:
        return self._log.read_text()[-3000:]

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        return self.client.get(path, headers=self.headers(token))

    def post(self, path: str, token: str | None = None) -> httpx.Response:
        return self.client.post(path, headers=self.headers(token))

    def who(self, token: str) -> str | None:
        """Return whom a cookie signs in here; None for nobody."""
        response = self.get("/me", token)
        assert response.status_code == 200, (response.status_code, response.text)
        found: str | None = response.json()
        return found

    def sign_in(self, user: str) -> str:
        response = self.post(f"/sign-in?user={user}")
        assert response.status_code == 200, response.text
        return token_of(response)

    def headers(self, token: str | None) -> dict[str, str]:
        fields = {"Origin": f"http://127.0.0.1:{self.port}", "User-Agent": "test"}
        return fields if token is None else {**fields, "Cookie": f"{NAME}={token}"}


def token_of(response: httpx.Response) -> str:
    (line,) = response.headers.get_list("set-cookie")
    name, _, value = line.partition(";")[0].partition("=")
    assert name == NAME
    return str(value)


# In the instance.


def _make_app() -> Starlette:
    platform = poruwa.Platform.from_file(os.environ["PORUWA_POLICY"])

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            os.environ[URL_VARIABLE], serverSelectionTimeoutMS=500, socketTimeoutMS=2000,
            connectTimeoutMS=500,
        )  # fmt: skip
        async with platform.running(), platform.people(client["sessions"]):
            yield
        await client.close()

    async def ready(request: Request) -> Response:
        is_certain = platform.sessions.revocations.is_certain()
        return PlainTextResponse("yes" if is_certain else "no")

    async def sign_in(request: Request) -> Response:
        await poruwa.sign_in(request, request.query_params["user"])
        return PlainTextResponse("in")

    async def sign_out(request: Request) -> Response:
        await poruwa.sign_out(request, everywhere="everywhere" in request.query_params)
        return PlainTextResponse("out")

    async def prove(request: Request) -> Response:
        await poruwa.prove_again(request, level=1)
        return PlainTextResponse("proved")

    async def password(request: Request) -> Response:
        await poruwa.end_other_sessions(request)
        return PlainTextResponse("changed")

    async def me(request: Request) -> Response:
        await asyncio.sleep(float(request.query_params.get("seconds", "0")))
        session = poruwa.session_of(request)
        told = None if session is None else session.user_id
        return JSONResponse(told, headers={"Cache-Control": "private"})

    async def devices(request: Request) -> Response:
        session = poruwa.session_of(request)
        assert session is not None
        found = await platform.sessions.devices_of(session.user_id)
        told = [{"handle": each.handle, "agent": each.agent} for each in found]
        return JSONResponse(told, headers={"Cache-Control": "no-store"})

    async def kept(request: Request) -> Response:
        found = await platform.cache.get("session", request.query_params["handle"], Device)
        return JSONResponse(found is not None, headers={"Cache-Control": "no-store"})

    async def end(request: Request) -> Response:
        parameters = request.query_params
        if "user" in parameters:
            await platform.sessions.end_all(parameters["user"])
            return PlainTextResponse("ended")
        session = poruwa.session_of(request)
        assert session is not None
        found = await platform.sessions.end_device(session.user_id, parameters["handle"])
        return PlainTextResponse("ended" if found else "none")

    async def asked(request: Request) -> Response:
        return PlainTextResponse(str(platform.sessions.revocations.asked))

    app = Starlette(
        routes=[
            Route("/ready", ready),
            Route("/me", me),
            Route("/devices", devices),
            Route("/kept", kept),
            Route("/asked", asked),
            Route("/sign-in", sign_in, methods=["POST"]),
            Route("/sign-out", sign_out, methods=["POST"]),
            Route("/prove", prove, methods=["POST"]),
            Route("/password", password, methods=["POST"]),
            Route("/end", end, methods=["POST"]),
        ],
        lifespan=lifespan,
    )
    platform.install(app)
    return app


if __name__ == "session_site":
    app = _make_app()
