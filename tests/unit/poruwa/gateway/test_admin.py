"""The admin listener: what is told to whom (E1)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from poruwa.errors import ConfigError, StackError
from poruwa.gateway.admin import Access, is_local_name, listener_access, make_admin_app


class Source:
    """An `AdminSource` with fixed answers."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.commands: list[tuple[str, dict[str, Any], str]] = []

    def status(self) -> Mapping[str, Any]:
        return {"ready": not self.missing}

    def not_ready_reasons(self) -> list[str]:
        return self.missing

    async def metrics(self) -> bytes:
        return b"poruwa_workers 2.0\n"

    async def command(self, verb: str, arguments: Mapping[str, Any], *, who: str) -> Any:
        if verb == "refused":
            raise StackError("Not this one.", status_hint=409)
        self.commands.append((verb, dict(arguments), who))
        return {"text": "done"}


OPEN = Access(token=None, reading_is_open=True)
WITH_TOKEN = Access(token="right", reading_is_open=True)
REMOTE = Access(token="right", reading_is_open=False)
OWNER = (f"uid {os.geteuid()}", 4711)
TOKEN = {"Authorization": "Bearer right"}


def client(
    source: Source,
    access: Access = OPEN,
    host: str = "localhost",
    peer: tuple[str, int] = ("127.0.0.1", 50_000),
) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=make_admin_app(source, access), client=peer)
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
    async with client(Source(), REMOTE, host="10.0.0.1") as http:
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
        listener_access("0.0.0.0:8001", None)
    assert listener_access("0.0.0.0:8001", "right") == REMOTE
    assert listener_access("127.0.0.1:8001", "right") == WITH_TOKEN
    assert listener_access("127.0.0.1:8001", "") == OPEN
    assert listener_access("unix:/run/admin.sock", None) == OPEN


async def test_the_owner_of_the_process_commands_by_its_unix_socket() -> None:
    source = Source()
    async with client(source, peer=OWNER) as http:
        answer = await http.post("/v1/drain", json={"instance": "app.1"})
    assert (answer.status_code, answer.json()) == (200, {"text": "done"})
    assert source.commands == [("drain", {"instance": "app.1"}, f"{OWNER[0]}, pid 4711")]


@pytest.mark.parametrize(
    ("access", "peer", "headers", "status", "says"),
    [
        (OPEN, ("127.0.0.1", 1), {}, 403, "admin.socket"),
        (OPEN, ("127.0.0.1", 1), TOKEN, 403, "set admin.token"),
        (WITH_TOKEN, ("127.0.0.1", 1), {}, 401, "PORUWA_ADMIN_TOKEN"),
        (WITH_TOKEN, ("127.0.0.1", 1), {"Authorization": "Bearer wrong"}, 401, "bearer token"),
        (REMOTE, ("10.0.0.2", 1), {}, 401, "bearer token"),
        (OPEN, ("uid 54321", 1), {}, 403, "not uid 54321"),
        (WITH_TOKEN, ("uid 54321", 1), TOKEN, 403, "not uid 54321"),
    ],
)
async def test_others_command_nothing(
    access: Access, peer: tuple[str, int], headers: dict[str, str], status: int, says: str
) -> None:
    source = Source()
    async with client(source, access, peer=peer) as http:
        answer = await http.post("/v1/drain", json={}, headers=headers)
    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert not source.commands


@pytest.mark.parametrize("access", [WITH_TOKEN, REMOTE])
async def test_the_token_commands_at_tcp_addresses(access: Access) -> None:
    source = Source()
    async with client(source, access) as http:
        answer = await http.post("/v1/undrain", json={"instance": "a"}, headers=TOKEN)
    assert answer.status_code == 200
    assert source.commands == [("undrain", {"instance": "a"}, "token, 127.0.0.1")]


@pytest.mark.parametrize(
    ("content", "kind", "status", "says"),
    [
        (b"instance=app.1", "application/x-www-form-urlencoded", 415, "application/json"),
        (b'{"instance": "a"}', "text/plain", 415, "application/json"),
        (b'{"instance": ', "application/json", 400, "not JSON"),
        (b"\xff", "application/json", 400, "not JSON"),
        (b'["a"]', "application/json", 400, "not a JSON object"),
        (b" " * 70_000, "application/json", 413, "at most"),
    ],
)
async def test_what_a_form_could_send_or_is_no_object_is_refused(
    content: bytes, kind: str, status: int, says: str
) -> None:
    """A form of another site reaches a local listener with any body, but not with this type."""
    source = Source()
    async with client(source, peer=OWNER) as http:
        answer = await http.post("/v1/drain", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert not source.commands


async def test_a_command_by_a_rebound_name_is_refused() -> None:
    source = Source()
    async with client(source, WITH_TOKEN, host="attacker.example") as http:
        assert (await http.post("/v1/drain", json={}, headers=TOKEN)).status_code == 421
    assert not source.commands


async def test_a_refusal_is_a_problem_with_its_status() -> None:
    async with client(Source(), peer=OWNER) as http:
        answer = await http.post("/v1/refused", json={})
        assert (await http.get("/v1/refused")).status_code == 405
    assert answer.json() == {
        "type": "about:blank", "title": "Conflict", "status": 409, "detail": "Not this one.",
    }  # fmt: skip
