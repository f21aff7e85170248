"""Shows 4 and 5: processes killed and frozen under load, and clients that send slowly.

A gateway of two workers before three instances, all of them real processes (A5, G8). ``poruwa up``,
which also restarts instances, has the like in ``test_up.py``.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from types import TracebackType

import pytest

from fakes.gateway_process import GatewayProcess, peers_of
from fakes.instance import InstanceProcess
from fakes.raw_client import RawClient
from fakes.wire import WireError

BACK_SECONDS = 4.0  # Show 5 promises 2 on a machine with time to spare
WORKERS = 2
POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = {workers}
[timeouts]
drain = "1s"
header = "60s"
[pools.app]
instances = [{instances}]
[[routes]]
path = "/*"
pool = "app"
"""


class Site:
    """The processes of one test module."""

    def __init__(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.instances = [InstanceProcess(f"app.{number}") for number in range(3)]
        instances = ", ".join(
            f'{{ name = "{each.name}", address = "{each.address}" }}' for each in self.instances
        )
        self.gateway = GatewayProcess(
            tmp_path_factory.mktemp("faults"),
            policy=POLICY.format(workers=WORKERS, instances=instances),
        )

    def close(self) -> None:
        for instance in self.instances:
            instance.kill()

    def await_quiet(self) -> None:
        """Wait until the counts are those of a site that nobody asks: all zero."""
        self.gateway.until(
            lambda: all(
                load == 0
                for each in self.gateway.status()["instances"]
                for load in (each["in_flight"], *each["in_flight_by_worker"])
            ),
            "no request in flight",
        )

    def await_worker(self, index: int, old_pid: int) -> float:
        """Wait until a worker is replaced and accepts; return the seconds that took."""
        start = time.monotonic()
        self.gateway.until(
            lambda: (
                (worker := self.gateway.status()["workers"][index])["pid"] not in (None, old_pid)
                and worker["state"] == "ready"
            ),
            "the worker's replacement",
            10,
        )
        return time.monotonic() - start


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory)
    yield site
    try:
        site.gateway.stop()
    finally:
        site.close()


class Load:
    """Clients that GET all the time, each on a kept connection; faults are in ``failures``.

    Args:
        resends: whether a client sends a GET again, on a new connection, when its connection ended
            before a byte of the response came. RFC 9110 section 9.2.2 lets any client do so with an
            idempotent request, and browsers do. Only a killed worker makes it necessary: its
            clients' connections end with it, and nobody else can speak on them.
    """

    def __init__(
        self, gateway: GatewayProcess, *, resends: bool, clients: int = 8, path: str = "/load"
    ) -> None:
        self.failures: list[str] = []
        self.answered_by: list[tuple[float, str]] = []
        self.resent = 0
        self.longest_seconds: dict[int, float] = {}
        self._gateway = gateway
        self._resends = resends
        self._path = path
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.await_answers(100)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def await_answers(self, count: int, seconds: float = 10.0) -> None:
        """Wait for so many further answers."""
        target = len(self.answered_by) + count
        deadline = time.monotonic() + seconds
        while len(self.answered_by) < target and not self.failures:
            assert time.monotonic() < deadline, f"{len(self.answered_by)} of {target} answers"
            time.sleep(0.005)

    def pids(self, since: float) -> Counter[str]:
        return Counter(pid for at, pid in self.answered_by if at >= since)

    def _run(self, number: int) -> None:
        client: RawClient | None = None
        resent = 0
        while not self._is_over.is_set():
            start = time.monotonic()
            try:
                client = client or self._gateway.connect()
                client.reader.received.clear()
                answer = client.get(self._path)
            except (OSError, WireError) as error:
                begun = bool(client is not None and client.reader.received)
                if client is not None:
                    client.close()
                    client = None
                if not self._resends or begun or resent > 20:
                    self.failures.append(f"{error!r}, begun: {begun}")
                    return
                resent += 1
                self.resent += 1
                continue
            resent = 0
            end = time.monotonic()
            self.longest_seconds[number] = max(self.longest_seconds.get(number, 0.0), end - start)
            if answer.status != 200:
                self.failures.append(repr(answer.raw + answer.body))
                return
            self.answered_by.append((end, answer.body.decode()))
        if client is not None:
            client.close()


def test_killed_instance_fails_no_get(site: Site) -> None:
    """Show 5: not one GET fails, the others take over; back on its port it gets its share again."""
    victim = site.instances[0]
    with Load(site.gateway, resends=False, path="/wait?0.01") as load:
        for _ in range(2):
            victim.kill()
            load.await_answers(200)
            victim.start()
            started = time.monotonic()
            while not load.pids(started)[str(victim.pid)]:
                assert time.monotonic() - started < BACK_SECONDS, "it gets no requests"
                assert not load.failures, load.failures
                time.sleep(0.01)
            load.await_answers(50)
    assert load.failures == []
    site.await_quiet()


def test_response_that_had_begun_is_seen_to_be_cut(site: Site) -> None:
    """What a head promised cannot be sent again: the client must see that it is not whole."""
    with site.gateway.connect() as client:
        client.send(b"GET /begun HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        head = client.reader.head()
        assert head is not None
        busy = next(each for each in site.gateway.status()["instances"] if each["in_flight"] == 1)
        victim = next(each for each in site.instances if each.address == busy["address"])
        victim.kill()
        with pytest.raises((ConnectionResetError, WireError)):
            client.reader.exactly(10)
    victim.start()
    site.await_quiet()


def test_killed_worker_fails_no_get_that_had_not_begun(site: Site) -> None:
    """Show 5: its clients resend what was not answered (see `Load`); it is back within 2 s."""
    for index in range(WORKERS):
        with Load(site.gateway, resends=True, path="/wait?0.01") as load:
            pid = site.gateway.worker_pids()[index]
            os.kill(pid, signal.SIGKILL)
            took = site.await_worker(index, pid)
            load.await_answers(200)
        assert load.failures == []
        assert took < BACK_SECONDS
        site.await_quiet()
    workers = site.gateway.status()["workers"]
    assert all(worker["heartbeat_age_seconds"] < 1.5 for worker in workers)


def test_load_of_a_killed_worker_is_forgotten(site: Site) -> None:
    """Its requests count nowhere once it is gone, and counting goes on right (DESIGN section 5)."""
    site.await_quiet()
    clients = [site.gateway.connect() for _ in range(12)]
    try:
        for client in clients:
            client.send(b"GET /begun HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        for client in clients:
            assert client.reader.head() is not None
        by_worker = [
            sum(each["in_flight_by_worker"][index] for each in site.gateway.status()["instances"])
            for index in range(WORKERS)
        ]
        assert sum(by_worker) == 12
        index = 0 if by_worker[0] else 1
        pid = site.gateway.worker_pids()[index]
        os.kill(pid, signal.SIGKILL)
        site.await_worker(index, pid)
        assert site.gateway.in_flight() == 12 - by_worker[index]
    finally:
        for client in clients:
            client.reset()
    site.await_quiet()


def worker_of(site: Site, client: RawClient) -> int:
    """Return the index of the worker that holds a connection, by the socket it has open."""
    return next(
        index
        for index, pid in enumerate(site.gateway.worker_pids())
        if client.address in peers_of(pid)
    )


def test_frozen_worker_is_replaced_and_the_others_go_on(site: Site) -> None:
    """SIGSTOP: new and other connections are served all the while; the frozen one is replaced."""
    clients = [site.gateway.connect() for _ in range(40)]
    try:
        assert {client.get("/x").status for client in clients} == {200}
        places = [worker_of(site, client) for client in clients]
        frozen = max(set(places), key=places.count) if len(set(places)) > 1 else places[0]
        pid = site.gateway.worker_pids()[frozen]
        os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        others = [client for client, place in zip(clients, places, strict=True) if place != frozen]
        longest = 0.0
        while site.gateway.worker_pids()[frozen] == pid:
            assert time.monotonic() - start < 10, "it is not replaced"
            for client in others[:5]:
                before = time.monotonic()
                assert client.get("/x").status == 200
                longest = max(longest, time.monotonic() - before)
            # A new connection is taken by whoever is awake.
            before = time.monotonic()
            assert site.gateway.get("/x").status == 200
            longest = max(longest, time.monotonic() - before)
        assert longest < 1.0
        site.await_worker(frozen, pid)
        for client in others:
            assert client.get("/x").status == 200
        assert site.gateway.get("/x").status == 200
    finally:
        for client in clients:
            client.close()
    site.await_quiet()


@pytest.mark.parametrize("frozen", range(WORKERS))
def test_a_frozen_worker_takes_no_share_of_new_connections(site: Site, frozen: int) -> None:
    """Issue 3, Show 8: all kept open, so that what the frozen one holds looks like too few.

    Whoever is awake must not pause in its favour. Afterwards it is replaced and counts are right.
    """
    with Load(site.gateway, resends=True, path="/wait?0.01") as load:
        pid = site.gateway.worker_pids()[frozen]
        os.kill(pid, signal.SIGSTOP)
        waits: list[float] = []
        clients: list[RawClient] = []
        try:
            for number in range(200):
                start = time.monotonic()
                client = site.gateway.connect()
                clients.append(client)
                assert client.get("/x").status == 200
                waits.append(time.monotonic() - start)
                if number < 150 and waits[-1] < 0.01:
                    time.sleep(0.01)  # spread over the whole time it is frozen
            assert max(waits) < 1.0, sorted(waits)[-5:]
            site.await_worker(frozen, pid)
            assert {client.get("/x").status for client in clients} == {200}
            load.await_answers(100)
        finally:
            for client in clients:
                client.close()
    assert load.failures == []
    site.await_quiet()


def test_slow_heads_hold_up_nobody(site: Site) -> None:
    """Show 4, scaled down: beside 600 connections that trickle a head, everybody is answered.

    How fast is measured by ``bench/connections.py``, with 2,000: machines that run tests are noisy.
    """
    slow = []
    try:
        for _ in range(600):
            client = site.gateway.connect()
            client.send(b"GET /slow HTTP/1.1\r\nHost: weddinglk.test\r\nX-Slow: ")
            slow.append(client)
        is_over = threading.Event()

        def trickle() -> None:
            while not is_over.is_set():
                for client in slow:
                    client.send(b"a")
                    if is_over.wait(0.0005):
                        return

        trickling = threading.Thread(target=trickle)
        trickling.start()
        for _ in range(8):
            with site.gateway.connect() as client:
                assert all(client.get("/x").status == 200 for _ in range(50))
        is_over.set()
        trickling.join()
        # All of them are still there, and each could still be served.
        slow[-1].send(b"\r\n\r\n")
        assert slow[-1].response().status == 200
    finally:
        for client in slow:
            client.close()
