"""What people's security costs an app: one validation, and a private page's middleware in total.

ASGI apps are called by hand: no socket, no server, no gateway. The peers are what a Starlette site
would take from the shelf: ``SessionMiddleware`` (a signed cookie), ``secure`` (fields) and
``slowapi`` (a limit in memory). They check neither revocations nor where a form comes from.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import uvloop
from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

import poruwa
from bench.charts import draw_bars, new_figure, save_figure
from bench.errors import BenchError
from bench.pinning import choose_cores, pinned
from bench.report import Report, Table, Target
from bench.samples import Spread, spread
from bench.settings import Settings, say

VALIDATION_MOST = 10.0  # microseconds
MIDDLEWARE_MOST = 60.0
REVOCATIONS = 10_000  # that an instance holds
_CALLS = 5_000  # of one measurement
_WARM_UP = 1_000
_REPETITIONS = 9
_HOST = "weddinglk.test"
_PAGE = "<!doctype html>" + "x" * 8_000
_OTHERS = "consent=all; theme=dark; lang=en; __Host-site-seen=123.abcdef"

Call = Callable[[], Awaitable[object]]


def run(settings: Settings) -> Report:
    """Measure on the proxy's core.

    Raises:
        BenchError: a peer is not installed, or an app does not answer as it should.
    """
    with pinned(choose_cores().proxy):
        times = uvloop.run(_measure())
    spreads = {name: spread(values) for name, values in times.items()}
    alone = spreads["private page alone"].low
    ours = spreads["page, platform.install"].low - alone
    security = spreads["page, SecurityMiddleware alone"].low - alone
    peers = spreads["page, peers"].low - alone
    validation = spreads["validation"].low
    return Report(
        name="sessions",
        title="What sessions cost an app",
        method=(
            f"ASGI apps called by hand on one core; {_REPETITIONS} measurements of {_CALLS:,} "
            f"calls, taking turns, of which the lowest counts; processor time of the thread. "
            f"Validation: a Cookie field with four others to a session that is neither expired nor "
            f"among {REVOCATIONS:,} revocations. Page: a private page of 8 kB of somebody signed "
            f"in, with a token for its form."
        ),
        tables=[
            Table(
                title="Microseconds a call",
                header=("what", "lowest", "median", "highest"),
                rows=[
                    [name, f"{each.low:.2f}", f"{each.median:.2f}", f"{each.high:.2f}"]
                    for name, each in spreads.items()
                ],
            ),
            Table(
                title="A private page's middleware",
                header=("stack", "microseconds", "does"),
                rows=[
                    [
                        "platform.install",
                        f"{ours:.1f}",
                        "session, revocation, origin, form token, renewal, tags, ETag",
                    ],
                    [
                        "SecurityMiddleware alone",
                        f"{security:.1f}",
                        "session, revocation, origin, form token, renewal, security fields",
                    ],
                    [
                        "SessionMiddleware + secure + slowapi",
                        f"{peers:.1f}",
                        "signed session, security fields, a limit in memory",
                    ],
                ],
            ),
        ],
        targets=[
            Target(
                text=f"validation takes at most {VALIDATION_MOST:g} us: {validation:.1f}",
                met=validation <= VALIDATION_MOST,
            ),
            Target(
                text=f"a private page's middleware takes at most {MIDDLEWARE_MOST:g} us: "
                f"{max(ours, security):.1f}",
                met=max(ours, security) <= MIDDLEWARE_MOST,
            ),
        ],
        notes=[
            "Rate limits are the gateway's here and have no share in it; in the peers' stack "
            "slowapi has.",
            "platform.install leaves the security fields to the gateway, which keeps them ready.",
        ],
        samples={"microseconds": {name: each.as_dict() for name, each in spreads.items()}},
        draw=lambda path: _draw(spreads, path),
    )


async def _measure() -> dict[str, list[float]]:
    cases = await _cases()
    for call in cases.values():
        for _ in range(_WARM_UP):
            await call()
    gc.collect()
    gc.freeze()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(_REPETITIONS):
        for name, call in cases.items():
            started = time.thread_time()
            for _ in range(_CALLS):
                await call()
            times[name].append((time.thread_time() - started) / _CALLS * 1e6)
            await asyncio.sleep(0)
    gc.unfreeze()
    for name, values in times.items():
        say(f"  {name:<34} {min(values):6.2f} us at least, {max(values):6.2f} at most")
    return times


async def _cases() -> dict[str, Call]:
    from poruwa.config.model_security import Headers
    from poruwa.rules.change import Change
    from poruwa.rules.security_headers import SecurityFields

    ring = {"PORUWA_SESSION_KEYS": "k" * 43}
    platform = poruwa.Platform.from_file(
        Path(__file__).parents[1] / "src" / "weddinglk" / "site.toml", environ=ring
    )
    sessions = platform.sessions
    ends = int(time.time()) + 86_400
    for number in range(REVOCATIONS):
        key = f"revocations\ns:{number:032x} 0 {ends}".encode()
        sessions.revocations.apply(Change(keys=(key,)))
    session, line = await sessions.begin("u1")
    pair = line.removeprefix(b"Set-Cookie: ").partition(b";")[0].decode()
    cookie = f"{_OTHERS}; {pair}"
    field = cookie.encode()
    found = await sessions.of(field)
    if not isinstance(found, poruwa.Session) or found.session_id != session.session_id:
        raise BenchError(f"the session is not valid: {found}")

    async def private(request: Request) -> Response:
        known = poruwa.session_of(request)
        if known is None or not poruwa.csrf_token_of(request):
            raise BenchError("the page does not know who asks")
        return HTMLResponse(_PAGE, headers={"Cache-Control": "private"})

    installed = Starlette(routes=[Route("/me", private)])
    platform.install(installed)
    alone = Starlette(routes=[Route("/me", private)])
    alone.add_middleware(
        poruwa.SecurityMiddleware,
        sessions=sessions,
        fields=SecurityFields(Headers(), domain=_HOST),
    )
    plain = Starlette(routes=[Route("/me", _plain)])
    peers, peers_cookie = await _peers()
    return {
        "validation": lambda: sessions.of(field),
        "private page alone": _caller(plain, cookie),
        "page, platform.install": _caller(installed, cookie),
        "page, SecurityMiddleware alone": _caller(alone, cookie),
        "page, peers": _caller(peers, f"{_OTHERS}; {peers_cookie}"),
    }


async def _plain(request: Request) -> Response:
    return HTMLResponse(_PAGE, headers={"Cache-Control": "private"})


async def _peers() -> tuple[Starlette, str]:
    """Return the peers' app and the cookie of somebody signed in."""
    try:
        from secure import Secure
        from secure.middleware import SecureASGIMiddleware
        from slowapi import Limiter
        from slowapi.middleware import SlowAPIASGIMiddleware
        from slowapi.util import get_remote_address
    except ImportError as error:
        raise BenchError(f"{error}; install the group dev") from error

    async def sign_in(request: Request) -> Response:
        request.session["user"] = "u1"
        return HTMLResponse("")

    async def private(request: Request) -> Response:
        if request.session.get("user") != "u1":
            raise BenchError("the peers' page does not know who asks")
        return HTMLResponse(_PAGE, headers={"Cache-Control": "private"})

    app = Starlette(routes=[Route("/me", private), Route("/in", sign_in)])
    app.state.limiter = Limiter(
        key_func=get_remote_address, default_limits=["100000000/minute"], headers_enabled=True
    )
    app.add_middleware(SlowAPIASGIMiddleware)
    app.add_middleware(SecureASGIMiddleware, secure=Secure.with_default_headers())
    app.add_middleware(SessionMiddleware, secret_key="k" * 43, https_only=True)
    fields: list[tuple[bytes, bytes]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        fields.extend(message.get("headers", ()))

    await app(_scope("/in", ""), _receive, send)
    (line,) = [value for name, value in fields if name == b"set-cookie"]
    return app, line.decode().partition(";")[0]


def _caller(app: Starlette, cookie: str) -> Call:
    """Return what asks an app for the private page once; it must answer with all of it."""

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            if message["status"] != 200:
                raise BenchError(f"the page answered {message['status']}")
        elif len(message["body"]) != len(_PAGE):
            raise BenchError("the page is not whole")

    scope = _scope("/me", cookie)

    async def call() -> None:
        await app({**scope, "state": {}}, _receive, send)

    return call


def _scope(path: str, cookie: str) -> Mapping[str, Any]:
    from bench.browser_headers import CHROMIUM

    headers = [(name.lower().encode(), value.encode()) for name, value in CHROMIUM.items()]
    headers += [(b"host", _HOST.encode()), (b"cookie", cookie.encode())]
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "https", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": headers, "client": ("192.0.2.1", 5000),
        "server": (_HOST, 443), "state": {},
    }  # fmt: skip


async def _receive() -> MutableMapping[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def _draw(spreads: Mapping[str, Spread], path: Path) -> None:
    figure = new_figure(1, 1, title="A private page", width=7, height=3)
    values = [(each.median, each.low, each.high) for each in spreads.values()]
    draw_bars(
        figure.axes[0], list(spreads), {"": values},
        title="median, lowest and highest", unit="microseconds", form="{:.1f}",
    )  # fmt: skip
    save_figure(figure, path)
