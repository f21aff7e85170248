"""The admin listener: what is told to whom (E1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from poruwa.errors import ConfigError
from poruwa.gateway.admin import is_local_name, make_admin_app, require_token


class Source:
    """An `AdminSource` with fixed answers."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def status(self) -> Mapping[str, Any]:
        return {"ready": not self.missing}

    def not_ready_reasons(self) -> list[str]:
        return self.missing

    async def metrics(self) -> bytes:
        return b"poruwa_workers 2.0\n"


def client(source: Source, token: str | None = None, host: str = "localhost") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=make_admin_app(source, token=token))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


async def test_everything_is_told_on_loopback() -> None:
    source = Source()
    async with client(source) as http:
        assert (await http.get("/status")).json() == {"ready": True}
        page = await http.get("/metrics")
        assert page.text == "poruwa_workers 2.0\n"
        assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        source.missing = ["worker 0 is not accepting"]
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/none")).status_code == 404
        assert (await http.post("/status")).status_code == 405


async def test_elsewhere_the_token_is_needed_but_for_readiness() -> None:
    async with client(Source(), token="right", host="10.0.0.1") as http:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "right"}):
            answer = await http.get("/metrics", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        right = {"Authorization": "Bearer right"}
        assert (await http.get("/metrics", headers=right)).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/healthz")).status_code == 200


async def test_a_name_that_could_be_rebound_is_refused_on_loopback() -> None:
    """A page of another site may point its own name at 127.0.0.1 and read what is told there."""
    async with client(Source(), host="attacker.example") as http:
        assert (await http.get("/status")).status_code == 421


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:8001", True),
        ("127.0.0.1:8001", True),
        ("[::1]:8001", True),
        ("[::1]", True),
        ("", True),
        ("localhost.attacker.example", False),
        ("attacker.example:80", False),
    ],
)
def test_names_that_are_local(host: str, expected: bool) -> None:
    assert is_local_name(host) is expected


def test_an_address_for_others_needs_a_token() -> None:
    with pytest.raises(ConfigError, match="needs a token"):
        require_token("0.0.0.0:8001", None)
    assert require_token("0.0.0.0:8001", "secret") == "secret"
    assert require_token("127.0.0.1:8001", "secret") is None
    assert require_token("unix:/run/admin.sock", None) is None
