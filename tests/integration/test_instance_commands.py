"""Instances added, weighed, drained and removed while real gateways serve clients (issue 3)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin
from fakes.raw_client import RawClient, account
from fakes.wire import WireError
from poruwa.errors import StackError
from poruwa.stack.admin_client import send_command

WAIT_SECONDS = 20.0
KEY = "k" * 32
POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
{admin}
[gateway]
workers = 2
queue = "2s"
[timeouts]
drain = "1s"
[pools.app]
instances = [{instances}]
method = "{method}"
[pools.app.health]
interval = "1s"
fast_interval = "100ms"
timeout = "900ms"
{affinity}
[[routes]]
path = "/*"
pool = "app"
{routes}
"""
AFFINITY = (
    '[pools.app.affinity]\ncookie = "SID"\nkeys = "env:TEST_AFFINITY_KEYS"\n'
    'without_cookie = "method"\n'
)


class Site:
    """Origins, of which the policy lists the first ones, behind a gateway with a state folder."""

    def __init__(self, folder: Path, *, listed: int = 2, **settings: str) -> None:
        self.folder = folder
        self.origins = [Origin(name=f"app{number}") for number in range(1, 4)]
        self.by_name = {each.name: each for each in self.origins}
        entries = [
            f'{{ name = "{each.name}", address = "{each.address}" }}'
            for each in self.origins[:listed]
        ]
        self._settings = {
            "instances": ", ".join(entries),
            "method": "least-connections",
            "affinity": "",
            "admin": "",
            "routes": "",
        } | settings
        self.gateway = self._start()

    def _start(self) -> GatewayProcess:
        return GatewayProcess(
            self.folder,
            "--state",
            "state",
            policy=POLICY.format(**self._settings),
            environment={"TEST_AFFINITY_KEYS": KEY, "TEST_TOKEN": "right"},
        )

    def restart(self) -> None:
        self.gateway.stop()
        self.gateway = self._start()

    def command(self, verb: str, **arguments: Any) -> dict[str, Any]:
        socket = f"unix:{self.folder}/state/control.sock"
        return asyncio.run(send_command(socket, verb, arguments))

    def refusal(self, verb: str, **arguments: Any) -> tuple[int, str]:
        with pytest.raises(StackError) as caught:
            self.command(verb, **arguments)
        return caught.value.status_hint, caught.value.message

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Use the command line, as an operator in the site's folder does."""
        return subprocess.run(
            (sys.executable, "-m", "poruwa.cli.main", *arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def instance(self, name: str) -> dict[str, Any]:
        found = [each for each in self.gateway.status()["instances"] if each["name"] == name]
        return found[0] if found else {}

    def pool(self) -> dict[str, Any]:
        pool: dict[str, Any] = self.gateway.status()["pools"][0]
        return pool

    def await_state(self, name: str, state: str) -> None:
        self.gateway.until(
            lambda: self.instance(name).get("state") == state, f"{name} {state}", WAIT_SECONDS
        )

    def await_gone(self, name: str) -> None:
        self.gateway.until(lambda: not self.instance(name), f"{name} removed", WAIT_SECONDS)

    def origins_asked(self, count: int, fields: str = "") -> Counter[str]:
        """Ask on a few connections, one request at a time; return who answered how often."""
        found: Counter[str] = Counter()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(self.gateway.connect()) for _ in range(4)]
            for number in range(count):
                found[account(clients[number % 4].get("/", fields))["origin"]] += 1
        return found

    def close(self) -> None:
        try:
            self.gateway.stop()
        finally:
            for origin in self.origins:
                origin.stop()


@contextlib.contextmanager
def running_site(folder: Path, **settings: Any) -> Iterator[Site]:
    site = Site(folder, **settings)
    try:
        yield site
    except BaseException:
        site.gateway.kill()
        raise
    site.close()


class Load:
    """Clients that ask all the time on kept connections; counts answers, keeps failures."""

    def __init__(self, gateway: GatewayProcess, *, clients: int = 6) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._address = gateway.address
        self._is_over = threading.Event()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()
        if kind is None:
            assert not self.failures, self.failures

    def await_answers(self, count: int, by: Sequence[str] | None = None) -> Counter[str]:
        """Wait for ``count`` more answers, of each of ``by``; return all that came meanwhile."""
        before = self.answers.copy()

        def are_there() -> bool:
            came = self.answers - before
            enough = [came[name] for name in by] if by is not None else [came.total()]
            return bool(self.failures) or min(enough) >= count

        with self._changed:
            assert self._changed.wait_for(are_there, WAIT_SECONDS), self.answers - before
        assert not self.failures, self.failures
        return self.answers - before

    def _run(self) -> None:
        try:
            with RawClient(self._address) as client:
                while not self._is_over.is_set():
                    name = account(client.get("/load"))["origin"]
                    with self._changed:
                        self.answers[name] += 1
                        self._changed.notify_all()
        except (OSError, WireError, AssertionError) as error:
            with self._changed:
                self.failures.append(repr(error))
                self._changed.notify_all()


def hold(origin: Origin, path: str) -> threading.Event:
    """Let ``origin`` answer requests for ``path`` only once the event is set."""
    released = threading.Event()

    def answer(call: Call) -> None:
        assert released.wait(WAIT_SECONDS)
        call.reply(b"late")

    origin.on(path, answer)
    return released


def test_an_instance_is_added_drained_and_removed_under_load(tmp_path: Path) -> None:
    """No client notices: each request is answered, by who should have it at the time."""
    with running_site(tmp_path) as site, Load(site.gateway) as load:
        third = site.origins[2]
        load.await_answers(50)
        added = site.command("add", address=third.address, name="app3")
        assert added["text"] == "app3 is added to pool app"
        load.await_answers(50, by=["app1", "app2", "app3"])

        site.command("drain", instance="app1")
        site.await_state("app1", "draining")
        site.gateway.until(lambda: site.instance("app1")["in_flight"] == 0, "none in flight")
        came = load.await_answers(200, by=["app2", "app3"])
        assert came["app1"] <= 6  # each client may have had one answer on its way
        assert site.instance("app1")["drain"]["empty"]

        site.command("undrain", instance="app1")
        load.await_answers(50, by=["app1"])

        site.command("remove", instance="app2")
        site.await_gone("app2")
        came = load.await_answers(200, by=["app1", "app3"])
        assert came["app2"] <= 6
        site.command("remove", instance="app3", now=True)
        site.await_gone("app3")
        load.await_answers(100, by=["app1"])
    second = site.by_name["app2"]
    assert all(each.is_closed for each in second.connections), "connections are left behind"


def test_a_weight_changes_shares_at_once(tmp_path: Path) -> None:
    with running_site(tmp_path, method="weighted-round-robin") as site:
        before = site.origins_asked(40)
        assert before["app1"] == before["app2"] == 20
        answer = site.command("weight", instance="app1", weight=4)
        assert answer["text"] == "app1 has weight 4, it was 1"
        assert site.instance("app1")["changes"] == {"weight": 4}
        shares = site.origins_asked(100)
        assert 70 <= shares["app1"] <= 90, shares
        site.command("weight", instance="app1", weight=None)
        assert site.instance("app1")["weight"] == 1


def bound_cookie(site: Site, name: str) -> str:
    """Return the Cookie line of a client that is bound to an instance."""
    for _ in range(50):
        answer = site.gateway.get("/cookie", method="POST")
        if account(answer)["origin"] == name:
            line = answer.get("set-cookie")
            assert line is not None
            return "Cookie: " + line.decode().split(";")[0] + "\r\n"
    raise AssertionError(f"{name} was never chosen")


def test_bound_clients_stay_while_an_instance_drains_and_leave_at_its_limit(tmp_path: Path) -> None:
    """Show 7: no failure, bound clients stay, others go elsewhere."""
    with running_site(tmp_path, affinity=AFFINITY) as site:
        cookie = bound_cookie(site, "app1")
        site.command("drain", instance="app1", limit_seconds=600)
        site.await_state("app1", "draining")
        assert site.origins_asked(20, cookie) == {"app1": 20}
        assert site.origins_asked(20) == {"app2": 20}
        drain = site.instance("app1")["drain"]
        assert not drain["empty"]  # a bound client may come back
        assert 500 < drain["remaining_seconds"] <= 600

        site.command("drain", instance="app1", limit_seconds=0)
        site.await_state("app1", "drained")
        answer = site.gateway.get("/cookie", cookie, method="POST")
        assert account(answer)["origin"] == "app2"
        assert answer.get("set-cookie"), "the client is bound to another one now"
        assert site.instance("app1")["drain"]["empty"]

        site.command("undrain", instance="app1")
        site.await_state("app1", "up")
        assert site.origins_asked(5, cookie) == {"app1": 5}


def test_what_is_under_way_at_a_removed_instance_comes_to_its_end(tmp_path: Path) -> None:
    """A cookie is not set for it then: nobody is to be bound to who is gone."""
    with running_site(tmp_path, affinity=AFFINITY, listed=1) as site:
        first = site.origins[0]
        released = hold(first, "/slow")
        with site.gateway.connect() as client:
            client.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            first.await_calls("/slow", 1, WAIT_SECONDS)
            site.command("add", address=site.origins[1].address, name="app2")
            site.command("remove", instance="app1", now=True)
            site.await_gone("app1")
            site.await_state("app2", "up")
            assert site.origins_asked(4) == {"app2": 4}
            released.set()
            answer = client.response(b"POST")
        assert (answer.status, answer.body) == (200, b"late")
        assert answer.get("set-cookie") is None
        site.gateway.until(
            lambda: all(each.is_closed for each in first.connections), "closed connections"
        )


def test_requests_wait_for_the_instance_that_is_added(tmp_path: Path) -> None:
    """The last one removed, the queue holds requests until there is another."""
    with running_site(tmp_path, listed=1) as site:
        site.command("remove", instance="app1", now=True)
        assert site.gateway.ask_admin("/readyz")[0] == 503
        assert site.gateway.status()["missing"] == ["no instance of pool app is up"]
        with site.gateway.connect() as client:
            client.send(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
            site.command("add", address=site.origins[1].address, name="app2")
            assert account(client.response())["origin"] == "app2"
        assert site.command("add", name="app1")["text"] == "app1 is back in pool app"


def test_changes_are_kept_when_workers_and_gateways_are_replaced(tmp_path: Path) -> None:
    with running_site(tmp_path) as site:
        site.command("add", address=site.origins[2].address, name="app3", weight=2)
        site.command("remove", instance="app1", now=True)
        answer = site.command("drain", instance="app2", limit_seconds=3600)
        assert answer["kept"] == str(tmp_path / "state" / "runtime.json")
        assert stat.S_IMODE((tmp_path / "state" / "runtime.json").stat().st_mode) == 0o600
        assert site.origins_asked(8) == {"app3": 8}
        since = site.instance("app2")["drain"]["since"]

        killed = site.gateway.worker_pids()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        site.gateway.until(
            lambda: (
                not {None, *killed} & set(site.gateway.worker_pids())
                and site.gateway.ask_admin("/readyz")[0] == 200
            ),
            "new workers",
            WAIT_SECONDS,
        )
        assert site.origins_asked(8) == {"app3": 8}

        site.restart()
        assert site.origins_asked(8) == {"app3": 8}
        assert site.instance("app3")["weight"] == 2
        assert site.instance("app3")["source"] == "added"
        assert site.instance("app2")["drain"]["since"] == since
        assert site.pool()["removed"] == ["app1"]


def test_changes_are_kept_over_a_reload_and_told_when_without_effect(tmp_path: Path) -> None:
    with running_site(tmp_path) as site:
        site.command("weight", instance="app2", weight=7)
        site.command("drain", instance="app1")
        path = tmp_path / "site.toml"
        path.write_text(path.read_text().replace('name = "app2"', 'name = "other"'))
        site.command("reload")
        assert site.instance("app1")["state"] == "draining"
        assert site.instance("other")["weight"] == 1
        assert site.pool()["changes_without_effect"] == ["app2"]
        site.await_state("other", "up")
        assert site.origins_asked(8) == {"app2": 8}  # the process of that name
        path.write_text(path.read_text().replace('name = "other"', 'name = "app2"'))
        site.command("reload")
        assert site.instance("app2")["weight"] == 7
        site.command("weight", instance="app2", weight=None)

        kept = tmp_path / "state" / "runtime.json"
        kept.write_text(kept.read_text().replace('"drain"', '"darin"'))
        status, reason = site.refusal("reload")
        assert (status, "unknown field `darin`" in reason) == (500, True)
        assert site.instance("app1")["state"] == "draining"
        kept.unlink()
        site.command("reload")
        site.await_state("app1", "up")


def test_a_broken_file_stops_the_start_with_a_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "runtime.json").write_text('{"version": 1, "pools": {"app": {"a": {"weight": 0}}}}')
    result = subprocess.run(
        (
            sys.executable, "-m", "poruwa.cli.main", "gateway", "--listen", "127.0.0.1:0",
            "--upstream", "127.0.0.1:1", "--admin", "none", "--state", str(folder),
        ),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    line = result.stderr.splitlines()[-1]
    assert "runtime.json cannot be used: Expected `int` >= 1" in line
    assert "$.pools" in line
    assert "delete it to go by the policy alone" in line


def test_commands_are_refused_with_what_would_be_right(tmp_path: Path) -> None:
    with running_site(tmp_path, method="round-robin") as site:
        first, third = site.origins[0].address, site.origins[2].address
        for verb, arguments, status, says in (
            ("drain", {"instance": "app4"}, 404, 'did you mean "app'),
            ("drain", {"instance": "zzz"}, 404, "known: app1, app2"),
            ("drain", {"instance": "app1", "pool": "apps"}, 404, 'did you mean "app"?'),
            ("drain", {"instanze": "app1"}, 422, "unknown field `instanze`"),
            ("drain", {"instance": 1}, 422, "Expected `str`, got `int` - at `$.instance`"),
            ("drain", {"instance": "app1", "limit_seconds": -1}, 422, ">= 0"),
            ("drain", {}, 422, "instance, pool (optional), limit_seconds (optional)"),
            ("weight", {"instance": "app1", "weight": 257}, 422, "<= 256"),
            ("weight", {"instance": "app1", "weight": 2}, 409, "weighted-round-robin"),
            ("add", {}, 422, "name the address"),
            ("add", {"address": "10.0.0.1"}, 422, '"host:port"'),
            ("add", {"address": third, "name": "a b"}, 422, "not an address"),
            ("add", {"address": third, "name": "app1"}, 409, "app1 is in pool app already"),
            ("add", {"address": first, "name": "x"}, 409, "as app1"),
            ("remove", {"instance": "app1", "now": True, "limit_seconds": 1}, 422, "or now"),
            ("explode", {}, 404, "no command 'explode'"),
        ):
            answer = site.refusal(verb, **arguments)
            assert (answer[0], says in answer[1]) == (status, True), answer
        assert not (tmp_path / "state" / "runtime.json").exists()


def test_commands_by_tcp_need_a_token(tmp_path: Path) -> None:
    def post(site: Site, headers: dict[str, str]) -> tuple[int, str]:
        request = urllib.request.Request(
            f"http://{site.gateway.admin}/v1/drain",
            data=b'{"instance": "app1"}',
            headers={"Content-Type": "application/json"} | headers,
        )
        try:
            with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
                return answer.status, json.load(answer)["text"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["detail"]

    right = {"Authorization": "Bearer right"}
    (tmp_path / "without").mkdir()
    with running_site(tmp_path / "without") as site:
        status, detail = post(site, right)
        assert (status, "admin.socket" in detail) == (403, True)
        assert site.instance("app1")["drain"] is None
    (tmp_path / "with").mkdir()
    with running_site(tmp_path / "with", admin='token = "env:TEST_TOKEN"') as site:
        assert post(site, {})[0] == 401
        assert post(site, {"Authorization": "Bearer wrong"})[0] == 401
        assert site.instance("app1")["drain"] is None
        assert post(site, right) == (200, "app1 takes no new clients")
        line = site.gateway.await_log(lambda event: event["event"] == "command done")
        assert (line["who"], line["verb"]) == ("token, 127.0.0.1", "drain")
        # The command line takes the same way.
        os.environ["PORUWA_ADMIN_TOKEN"] = "right"
        try:
            result = site.run("undrain", "app1", "--admin", site.gateway.admin, "--json")
        finally:
            del os.environ["PORUWA_ADMIN_TOKEN"]
        assert json.loads(result.stdout)["text"] == "app1 takes new clients again"


def test_the_command_line_changes_the_gateway_of_a_state_folder(tmp_path: Path) -> None:
    with running_site(tmp_path) as site:
        socket = tmp_path / "state" / "control.sock"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        third = site.origins[2].address
        result = site.run("add", third, "--name", "app3", "--weight", "2")
        assert (result.returncode, result.stdout) == (0, "app3 is added to pool app.\n")
        result = site.run("weight", "app3", "default")
        assert result.stdout == "app3 has weight 1, it was 2.\n"
        result = site.run("drain", "app1", "--wait")
        assert result.stdout == "app1 takes no new clients.\napp1 is empty.\n"
        site.await_state("app3", "up")
        result = site.run("status")
        assert result.returncode == 0
        assert "pool       app  least-connections  2 of 3 up" in result.stdout
        assert "    app3  up (passed: status 200)  since" in result.stdout
        assert "weight 1  in flight 0  from added" in result.stdout
        assert "draining since" in result.stdout
        assert site.run("undrain", "app1").stdout == "app1 takes new clients again.\n"
        result = site.run("remove", "app3", "--now", "--json")
        assert json.loads(result.stdout)["text"] == "app3 is removed from pool app"
        result = site.run("remove", "app9")
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == "poruwa: There is no instance 'app9'; did you mean \"app2\"?\n"
        line = site.gateway.await_log(lambda event: event["event"] == "command refused")
        assert line["who"].startswith(f"uid {os.geteuid()}, pid ")
        result = site.run("drain", "app1", "--state", "elsewhere")
        assert (result.returncode, "No gateway runs in elsewhere" in result.stderr) == (2, True)


def test_without_a_folder_a_change_is_said_not_to_be_kept(tmp_path: Path) -> None:
    origin = Origin()
    gateway = GatewayProcess(
        tmp_path, "--upstream", origin.address, "--control", str(tmp_path / "c.sock")
    )
    try:
        answer = asyncio.run(
            send_command(f"unix:{tmp_path}/c.sock", "drain", {"instance": origin.address})
        )
        assert answer["kept"] is None
        assert "--state" in answer["note"]
    finally:
        gateway.stop()
        origin.stop()


def test_two_gateways_do_not_share_a_folder(tmp_path: Path) -> None:
    with running_site(tmp_path) as site:
        result = site.run(
            "gateway", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:1", "--admin", "none",
            "--state", "state", "--control", "other.sock",
        )  # fmt: skip
        assert result.returncode == 2
        assert "Another gateway keeps its changes in" in result.stderr
