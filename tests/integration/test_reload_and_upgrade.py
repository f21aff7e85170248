"""Reload and upgrade: workers replaced while clients are served (A5, G8; issue 3, Show 6).

Real gateways, instances and WebSockets; the clients take any cut or failed answer as a fault, but
do what ``Connection: close`` asks.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_websocket

import poruwa
from fakes.authority import HOST, TRUSTED_SOURCE, Authority
from fakes.changing_site import DONE_SECONDS, REDIRECT, WORKERS, running_site
from fakes.gateway_process import descendants, is_running, peers_of
from fakes.origin import Origin
from fakes.raw_client import RawClient, account
from fakes.steady_clients import Load, WebSockets
from fakes.wire import Reader
from poruwa.stack.sockets import free_port


@pytest.mark.slow
def test_ten_reloads_and_two_upgrades_lose_nothing(tmp_path: Path) -> None:
    """Show 6: eight clients that keep their connections, twenty WebSockets that talk all along."""
    with running_site(tmp_path) as site:
        first = site.gateway.worker_pids()
        with WebSockets(site.gateway, 20) as sockets, Load(site.gateway) as load:
            for number in range(10):
                site.write(routes=REDIRECT.replace("/new", f"/new-{number}"))
                report = site.reload()
                assert (report["epoch"], report["workers"]) == (site.workers()[0]["epoch"], WORKERS)
                if number in (3, 7):
                    site.upgrade()
                load.await_answers(50)
                sockets.await_rounds(2)
                with site.gateway.connect() as client:
                    moved = client.get("/moved")
                assert moved.get("location") == f"/new-{number}".encode(), "the latest policy"
            status = site.gateway.status()
            assert status["epoch"] == 13
            assert not set(first) & set(site.gateway.worker_pids()[:WORKERS])
            # What the first workers still do is counted with what the present ones do.
            chats = next(each for each in status["instances"] if each["pool"] == "chat")
            assert chats["in_flight"] == sum(chats["in_flight_by_worker"]) == 20
            assert any(each["pid"] in first for each in site.workers("draining"))
            load.await_answers(50)
        assert load.failures == []
        assert sockets.failures == []
        assert load.told_to_close >= 8
        site.await_ended(first)
        site.gateway.until(lambda: site.gateway.in_flight() == 0, "no load")
        site.gateway.until(lambda: len(site.workers()) == WORKERS, "only the present workers", 20)
        # Each request was counted once, by whichever worker, also of those that are gone.
        counted = site.gateway.metric('poruwa_requests_total{instance="127.0.0.1')
        upgraded = 20
        assert counted == load.answers + upgraded


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda text: text.replace('pool = "app"', 'pool = "ap"'), r'site.toml:\d+: .*"app"'),
        (lambda text: text.replace("[gateway]", "[gatewy]"), r"site.toml:\d+: gatewy: .*gateway"),
        (lambda text: text + "[", r"site.toml:\d+: TOML: .*not valid TOML"),
        (
            lambda text: text.replace(
                "[admin]", '[listeners.http.tls]\ncertificate = "no.pem"\nkey = "no.pem"\n[admin]'
            ),
            r"no\.pem",
        ),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused_whole(
    tmp_path: Path, break_it: Callable[[str], str], reason: str
) -> None:
    """Whoever finds the fault, the reader or a new worker: nobody notices that it was tried."""
    with running_site(tmp_path) as site, Load(site.gateway) as load:
        before = site.gateway.worker_pids()
        site.policy_path.write_text(break_it(site.policy(routes=REDIRECT)))
        site.await_refusal(reason)
        load.await_answers(50)
        assert site.gateway.worker_pids() == before
        assert site.gateway.status()["epoch"] == 1
        assert site.gateway.get("/moved").status == 200, "the old policy: an instance has answered"
        site.write(routes=REDIRECT)
        assert site.reload()["epoch"] > 1
        assert site.gateway.get("/moved").status == 308


def test_listeners_come_and_go(tmp_path: Path) -> None:
    """One that is gone refuses at once, also while an old worker lingers, and may come back."""
    port = free_port()
    more = f'[listeners.more]\naddress = "127.0.0.1:{port}"'
    with running_site(tmp_path) as site, WebSockets(site.gateway, 2) as sockets:
        for _ in range(2):
            site.write(listeners=more)
            assert site.reload()["opened"] == [f"more 127.0.0.1:{port}"]
            with RawClient(f"127.0.0.1:{port}") as client:
                assert client.get("/x").status == 200
            assert site.gateway.status()["listeners"][1]["address"] == f"127.0.0.1:{port}"
            site.write()
            assert site.reload()["closed"] == [f"more 127.0.0.1:{port}"]
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
        assert site.gateway.get("/x").status == 200
        sockets.await_rounds(1)


def test_a_busy_port_refuses_the_whole(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, running_site(tmp_path) as site:
        port = taken.getsockname()[1]
        before = site.gateway.worker_pids()
        site.write(listeners=f'[listeners.more]\naddress = "127.0.0.1:{port}"', routes=REDIRECT)
        site.await_refusal(
            rf"127.0.0.1:{port} is in use by pid {os.getpid()}.*listeners.more.address"
        )
        assert site.gateway.worker_pids() == before
        assert site.gateway.get("/moved").status == 200


def test_old_workers_end_within_their_limit(tmp_path: Path) -> None:
    """With a WebSocket that never ends; the limit is that of the new policy."""
    with running_site(tmp_path) as site:
        old = site.gateway.worker_pids()
        url = f"ws://{site.gateway.address}/chat"
        with connect_websocket(url, compression=None) as websocket:
            site.write(old_workers="1s")
            site.reload()
            websocket.send("still there")
            assert websocket.recv(timeout=5) == "still there"
            with pytest.raises(ConnectionClosed):
                websocket.recv(timeout=10)
        site.await_ended(old)
        site.gateway.until(lambda: site.gateway.in_flight() == 0, "no load")


def test_a_request_under_way_is_answered_by_the_old_workers(tmp_path: Path) -> None:
    """Also one whose head or body is still coming; the client is told that it was the last."""
    with running_site(tmp_path) as site:
        may_answer = threading.Event()
        for origin in site.origins:
            origin.on("/slow", lambda call: (may_answer.wait(30), call.reply(b"done"))[1])
        with site.gateway.connect() as slow, site.gateway.connect() as upload:
            slow.send(b"GET /slow HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
            upload.send(b"POST /up HTTP/1.1\r\nHost: weddinglk.test\r\nContent-Length: 4\r\n\r\nab")
            site.gateway.until(lambda: site.gateway.in_flight() == 2, "two requests")
            site.reload()
            may_answer.set()
            upload.send(b"cd")
            for answer in (slow.response(), upload.response()):
                assert (answer.status, answer.get("connection")) == (200, b"close")
            assert slow.is_closed_by_peer()


def test_idle_connections_are_left_alone_for_a_while(tmp_path: Path) -> None:
    """One used again is told to close; one that is not is closed in the end."""
    with running_site(tmp_path, idle="3s") as site:
        old = site.gateway.worker_pids()
        with site.gateway.connect() as used, site.gateway.connect() as unused:
            assert used.get("/a").status == unused.get("/a").status == 200
            site.reload()
            answer = used.get("/b")
            assert (answer.status, answer.get("connection")) == (200, b"close")
            assert any(map(is_running, old)), "somebody must be there for the other connection"
            assert unused.is_closed_by_peer()
        site.await_ended(old)


def test_a_connection_that_has_only_begun_is_served(tmp_path: Path, authority: Authority) -> None:
    """Accepted by an old worker, in its TLS handshake or without its PROXY header yet."""
    listeners = f"""
[listeners.tls]
address = "127.0.0.1:0"
tls = {{ certificate = "{authority.certificate_path}", key = "{authority.key_path}" }}
[listeners.proxied]
address = "127.0.0.1:0"
proxy_protocol = true
[trust]
proxies = ["{TRUSTED_SOURCE}"]
"""
    with running_site(tmp_path, listeners=listeners) as site:
        old = site.gateway.worker_pids()
        silent = site.gateway.connect("tls")
        proxied = site.gateway.connect("proxied", source=TRUSTED_SOURCE)
        with silent, proxied:
            ours = {silent.address, proxied.address}
            site.gateway.until(
                lambda: ours <= set().union(*map(peers_of, old)), "both to be accepted"
            )
            site.reload()
            silent.sock = authority.context.wrap_socket(silent.sock, server_hostname=HOST)
            silent.reader = Reader(silent.sock)
            assert silent.get("/x").status == 200
            proxied.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n")
            assert proxied.get("/x").status == 200
        site.await_ended(old)


def test_the_number_of_workers_follows_the_policy(tmp_path: Path) -> None:
    with running_site(tmp_path) as site, Load(site.gateway, clients=4) as load:
        for count in (3, 1, 2):
            old = site.gateway.worker_pids()
            site.write(workers=count)
            assert site.reload()["workers"] == count
            load.await_answers(20)
            site.await_ended(old)
            assert [each["state"] for each in site.workers()] == ["ready"] * count


def test_a_worker_killed_after_a_reload_comes_back_with_the_new_policy(tmp_path: Path) -> None:
    with running_site(tmp_path, workers=1) as site:
        site.write(workers=1, routes=REDIRECT)
        site.reload()
        (pid,) = [each["pid"] for each in site.workers("ready")]
        os.kill(pid, signal.SIGKILL)
        site.gateway.until(
            lambda: [each["pid"] not in (pid, None) for each in site.workers("ready")] == [True],
            "its replacement",
            DONE_SECONDS,
        )
        assert site.gateway.get("/moved").status == 308


def test_what_is_known_of_instances_stays_known(tmp_path: Path) -> None:
    """One that is down stays down without being asked again; one that comes is checked."""
    absent = free_port()
    slowly = {"interval": "60s", "fast_interval": "30s", "jitter": 0.01}  # once in the whole test
    with running_site(tmp_path) as site:
        addresses = [*(each.address for each in site.origins), f"127.0.0.1:{absent}"]

        def known(address: str) -> tuple[str, str, str]:
            instances = site.gateway.status()["instances"]
            found = next(each for each in instances if each["address"] == address)
            return found["state"], found["reason"], found["since"]

        def write(*chosen: str) -> None:
            site.write(instances=", ".join(f'"{each}"' for each in chosen), **slowly)

        write(addresses[0], addresses[2])
        site.reload()
        site.gateway.until(lambda: known(addresses[2])[0] == "down", "the verdict on nobody")
        before = known(addresses[0]), known(addresses[2])
        revived = Origin(name="revived", port=absent)
        write(*addresses)
        site.reload()
        site.gateway.until(lambda: known(addresses[1])[0] == "up", "the newcomer's check")
        assert (known(addresses[0]), known(addresses[2])) == before
        answers = {account(site.gateway.get("/x"))["origin"] for _ in range(30)}
        assert answers == {"app0", "app1"}
        assert revived.connections == []
        write(addresses[1])
        site.reload()
        assert account(site.gateway.get("/x"))["origin"] == "app1"
        revived.stop()


def test_signals_one_after_the_other_and_before_the_end(tmp_path: Path) -> None:
    """Reloads wait for each other; a stop in the middle of one leaves nothing (`Site` looks)."""
    with running_site(tmp_path) as site:
        process = site.gateway.process
        for number in (signal.SIGHUP, signal.SIGUSR2):
            process.send_signal(number)
        site.gateway.until(lambda: site.events("upgrade done"), "both", DONE_SECONDS)
        site.gateway.until(lambda: site.events("reload done"), "both", DONE_SECONDS)
        done = site.events("reload done") + site.events("upgrade done")
        assert sorted(each["epoch"] for each in done) == [2, 3]
        process.send_signal(signal.SIGHUP)
        site.gateway.until(lambda: len(descendants(process.pid)) > WORKERS, "new workers")


def test_upgrade_takes_the_code_on_disk_or_is_refused(tmp_path: Path) -> None:
    """The gateway runs from a copy of the sources, which changes under it."""
    code = tmp_path / "code"
    source = Path(poruwa.__file__).parent
    shutil.copytree(source, code / "poruwa", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    environment = {"PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1"}
    words = code / "poruwa" / "gateway" / "error_pages.py"
    original = words.read_text()
    with running_site(tmp_path, environment=environment) as site, Load(site.gateway) as load:
        before = site.gateway.worker_pids()
        words.write_text(original + "\nraise SystemExit('half an installation')\n")
        site.await_refusal("half an installation", signal.SIGUSR2)
        load.await_answers(50)
        assert site.gateway.worker_pids() == before
        words.write_text(original.replace("The request could not be understood.", "New words."))
        site.upgrade()
        with site.gateway.connect() as client:
            client.send(b"GET / HTTP/1.1\r\n\r\n")
            assert b"New words." in client.response().body


def test_a_terminal_that_closes_still_ends_the_gateway(tmp_path: Path) -> None:
    """SIGHUP reloads only where no terminal is: else it says that ours was closed."""
    leader, terminal = os.openpty()
    process = subprocess.Popen(
        (sys.executable, "-m", "poruwa.cli.main", "gateway", "--listen", "127.0.0.1:0",
         "--admin", "none", "--upstream", "127.0.0.1:1", "--workers", "1", "--log-format", "json"),
        stdin=terminal,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )  # fmt: skip
    os.close(terminal)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if b'"ready"' in line:
                break
        process.send_signal(signal.SIGHUP)
        _, log = process.communicate(timeout=DONE_SECONDS)
        assert process.returncode == 0, log
    finally:
        process.kill()
        process.wait()
        os.close(leader)
