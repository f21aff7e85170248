"""`poruwa explain` of a running gateway: who it names is who answers (G6)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Origin
from fakes.raw_client import account
from poruwa.stack.admin_client import send_command

WAIT_SECONDS = 20.0
TOKEN = "t" * 32
POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
token = "env:ADMIN_TOKEN"
[gateway]
workers = 2
[hedge]
enabled = false
[timeouts]
drain = "1s"
{pools}
[[routes]]
path = "/*"
pool = "app"
[[routes]]
path = "/tenants/*"
pool = "tenants"
[[routes]]
path = "/old"
redirect = {{ to = "/new" }}
[[routes]]
name = "edit"
path = "/edit"
pool = "app"
accepts = ["application/json"]
rate_limit = "edits"
cors = {{ origins = ["https://partner.example"], methods = ["POST"] }}
[rate_limits.edits]
requests = 1000
window = "1min"
burst = 500
"""
POOL = """
[pools.{name}]
instances = [{instances}]
{settings}
[pools.{name}.health]
interval = "500ms"
fast_interval = "100ms"
timeout = "400ms"
fall = 1
rise = 1
"""
SETTINGS = {
    "app": "",
    "tenants": 'method = "sticky-hash"\nhash_key = "header:X-Tenant"',
}
AFFINITY = '[pools.app.affinity]\nkeys = "env:AFFINITY_KEYS"\n'


class Site:
    """A gateway with a state folder before two origins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.origins = {name: Origin(name=name) for name in "ab"}
        instances = ", ".join(
            f'{{ name = "{name}", address = "{each.address}" }}'
            for name, each in self.origins.items()
        )
        pools = "".join(
            POOL.format(name=name, instances=instances, settings=settings)
            for name, settings in SETTINGS.items()
        )
        self.gateway = GatewayProcess(
            folder,
            "--state",
            "state",
            policy=POLICY.format(pools=pools + AFFINITY),
            environment={"AFFINITY_KEYS": "k" * 32, "ADMIN_TOKEN": TOKEN},
        )

    def ask(self, url: str, **question: Any) -> dict[str, Any]:
        """Ask by the control socket, as the command line does."""
        socket = f"unix:{self.folder}/state/control.sock"
        return asyncio.run(send_command(socket, "explain", {"url": url, **question}))

    def run(self, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
        """Use the command line, as an operator in the site's folder does."""
        return subprocess.run(
            (sys.executable, "-m", "poruwa.cli.main", "explain", *arguments),
            cwd=self.folder,
            env=os.environ | {"PORUWA_ADMIN_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def await_state(self, name: str, state: str) -> None:
        def has_state() -> bool:
            instances = self.gateway.status()["instances"]
            return {each["state"] for each in instances if each["name"] == name} == {state}

        self.gateway.until(has_state, f"{name} {state}", WAIT_SECONDS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("explain"))
    for name in made.origins:
        made.await_state(name, "up")
    yield made
    made.gateway.stop()
    for each in made.origins.values():
        each.stop()


def test_who_is_named_by_hash_is_who_answers(site: Site) -> None:
    named, answered = {}, {}
    for tenant in map(str, range(20)):
        named[tenant] = site.ask("/tenants/x", headers={"x-tenant": tenant})["instance"]
        answer = site.gateway.get("/tenants/x", f"X-Tenant: {tenant}\r\n")
        answered[tenant] = account(answer)["origin"]
    assert named == answered
    assert set(named.values()) == {"a", "b"}


def test_nothing_is_sent_for_it(site: Site) -> None:
    before = [len(each.calls) for each in site.origins.values()]
    assert site.ask("/unseen")["instance"] in {"a", "b"}
    assert [len(each.calls) for each in site.origins.values()] == before


def test_the_affinity_cookie_of_a_real_answer_is_understood(site: Site) -> None:
    for each in site.origins.values():
        each.on(
            "/me",
            lambda call: call.reply(
                call.connection.origin.name.encode(), fields=b"Cache-Control: private\r\n"
            ),
        )
    answer = site.gateway.get("/me")
    cookie = (answer.get("set-cookie") or b"").decode().partition(";")[0]
    found = site.run("/me", "--header", f"Cookie: {cookie}", "--json")
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["bound_to"] == told["instance"] == answer.body.decode()


@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("GET", "/edit", {}, 200),
        ("POST", "/edit", {}, 200),
        ("POST", "/edit", {"Origin": "https://elsewhere.example"}, 403),
        ("POST", "/edit", {"Origin": "https://partner.example"}, 200),
        ("POST", "/edit", {"Origin": "https://partner.example", "Cookie": "a=b"}, 403),
        ("PUT", "/edit", {"Origin": "https://partner.example"}, 403),
        ("POST", "/edit", {"Origin": "http://{host}", "Sec-Fetch-Site": "same-origin"}, 200),
        ("POST", "/edit", {"Origin": "null"}, 403),
        ("DELETE", "/x", {"Sec-Fetch-Site": "same-site"}, 403),
        ("POST", "/old", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/edit", {"Content-Type": "text/plain"}, 415),
        ("POST", "/edit", {"Content-Type": "Application/JSON; charset=utf-8"}, 200),
        ("GET", "/x", {"Cookie": ";".join("a=b" for _ in range(400))}, 431),
        ("GET", "/_poruwa/metrics", {}, 404),
        ("GET", "//_poruwa;x/metrics", {}, 404),
        ("POST", "/_poruwa/session", {}, 404),
        ("GET", "/old", {}, 308),
    ],
)
def test_what_it_says_is_refused_is_refused(
    site: Site, method: str, path: str, fields: dict[str, str], status: int
) -> None:
    """The same table asked of the gateway and of explain (checks 9, 30, 31, 34)."""
    host = "weddinglk.test"  # the Host field that is sent
    fields = {name: value.format(host=host) for name, value in fields.items()}
    body = b"" if method == "GET" else b"{}"
    sent = (
        fields
        if "Content-Type" in fields or not body
        else fields | {"Content-Type": "application/json"}
    )
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    assert site.gateway.get(path, lines, method=method, body=body).status == status
    asked = {name.lower(): value for name, value in fields.items()}
    told = site.ask(f"http://{host}{path}", method=method, headers=asked)
    assert (told.get("status") or 200) == (200 if status == 308 else status)
    assert (told["guard"]["status"] is None) == (status in (200, 308))


def test_the_limit_of_a_route_is_told(site: Site) -> None:
    reads, writes = site.run("/edit").stdout, site.run("/edit", "--method", "POST").stdout
    limit = "  limit      edits: 1000 in 1min, 500 at once, per client; counted "
    assert limit + "on this machine\n" in reads
    assert limit + "by the bus for all machines" in writes
    assert "  guard      passed: of no browser" in writes
    assert "limit" not in site.run("/x").stdout


def test_in_words(site: Site) -> None:
    found = site.run("http://weddinglk.test/venues?x=1")
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0] == "GET http://weddinglk.test/venues?x=1"
    words = [line.split() for line in lines]
    assert ["route", "/*"] in words
    assert ["pool", "app,", "least-connections"] in words
    assert "  affinity   WEDDINGLK_SESSION is not there" in lines
    marked = [line for line in lines if line.startswith("  * ")]
    assert len(marked) == 1
    assert "up  in flight 0, weight 1" in marked[0]
    redirected = site.run("/old")
    assert "the gateway redirects (308) to /new" in redirected.stdout


def test_who_is_down_is_told_with_its_reason_until_it_is_back(site: Site) -> None:
    site.origins["a"].stop()
    site.await_state("a", "down")
    try:
        found = site.run("/x")
        assert "down by the checks (connection-refused)" in found.stdout
        told = site.ask("/x")
        assert told["instance"] == "b"
        assert [each["ready"] for each in told["candidates"]] == [False, True]
    finally:
        site.origins["a"] = Origin(name="a", port=site.origins["a"].port)
        site.await_state("a", "up")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("/a/../b",), "answered with 400"),
        (("http://[::1/x",), "is no URL"),
        (("/x", "--header", "no colon"), "write NAME: VALUE"),
        (("/x", "--state", "elsewhere"), "elsewhere"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    site: Site, arguments: tuple[str, ...], told: str
) -> None:
    found = site.run(*arguments)
    assert found.returncode != 0
    assert told in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("token", ["", "wrong", TOKEN])
def test_the_admin_address_answers_who_has_the_token(site: Site, token: str) -> None:
    found = site.run("/old", "--admin", site.gateway.admin, "--json", token=token)
    if token == TOKEN:
        assert json.loads(found.stdout)["route"] == "/old", found.stderr
    else:
        assert found.returncode != 0
        assert "token" in found.stderr
        assert not found.stdout
