"""The example of docs/security.md, "Alone in any ASGI app", does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

import poruwa
from poruwa.rules.csp import parse_csp

PAGE = Path(__file__).parents[3] / "docs" / "security.md"
SECTIONS = [
    "Where a request is judged",
    "Forged requests",
    "Cookies",
    "Sessions and devices",
    "Keys",
    "Limits",
    "Fields and reports",
    "Audit",
    "Alone in any ASGI app",
]
OWN = {"Origin": "https://my-site.example", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SESSION_KEYS", "k" * 43)
    (source,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(source, str(PAGE), "exec", dont_inherit=True), names)
    transport = httpx.ASGITransport(names["app"], raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="https://my-site.example") as opened:
        yield opened


def test_the_page_has_its_sections() -> None:
    assert re.findall(r"^## (.*)$", PAGE.read_text(), re.MULTILINE) == SECTIONS


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"poruwa\.([A-Za-z_]+)\(", PAGE.read_text())))
)
def test_what_the_page_calls_is_there(name: str) -> None:
    assert name in poruwa.__all__


@pytest.mark.check(2, 13, 23)
async def test_the_example_signs_in_and_out(client: httpx.AsyncClient) -> None:
    assert "Sign in" in (await client.get("/")).text
    entered = await client.post("/sign-in", headers=OWN)
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith("__Host-Http-poruwa.session-token=")
    assert {"HttpOnly", "Secure", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    held = dict(client.cookies)
    page = await client.get("/")
    assert "<p>ann</p>" in page.text
    assert page.headers["cache-control"] == "private"
    left = await client.post("/sign-out", headers=OWN)
    assert left.headers["clear-site-data"] == '"cache", "storage"'
    replayed = {"Cookie": "; ".join(f"{name}={value}" for name, value in held.items())}
    assert "Sign in" in (await client.get("/", headers=replayed)).text


@pytest.mark.check(30, 31, 32)
async def test_the_example_refuses_forged_requests(client: httpx.AsyncClient) -> None:
    for fields in (
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://www.my-site.example", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
        {"Cookie": "a=1"},
        {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"},
    ):
        assert (await client.post("/sign-in", headers=fields)).status_code == 403, fields
    await client.post("/sign-in", headers=OWN)
    page = await client.get("/")
    (token,) = re.findall(r'value="([^"]+)"', page.text)
    assert (await client.post("/sign-out", data={"csrf_token": "x" * 32})).status_code == 403
    assert (await client.post("/sign-out", data={"csrf_token": token})).status_code == 303


@pytest.mark.check(43, 44)
async def test_the_example_sets_the_fields_on_every_answer(client: httpx.AsyncClient) -> None:
    for response in (
        await client.get("/"),
        await client.get("/nowhere"),
        await client.put("/", headers=OWN),
        await client.post("/sign-in"),
        await client.post("/sign-in", headers={"Sec-Fetch-Site": "cross-site"}),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["strict-transport-security"].startswith("max-age=31536000")
        policy = parse_csp(response.headers["content-security-policy"])
        assert policy["frame-ancestors"] == policy["base-uri"] == ("'none'",)


async def test_without_keys_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SESSION_KEYS", raising=False)
    with pytest.raises(poruwa.ConfigError, match="SESSION_KEYS is not set"):
        poruwa.Sessions.alone("my-site", "env:SESSION_KEYS")
