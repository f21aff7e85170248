"""A frozen instance is not its clients' misfortune (A3, A5, G7; issue 3, Show 3).

Stopped by SIGSTOP: its kernel goes on accepting connections, so no check of those notices.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.instance import InstanceProcess

DEADLINE_SECONDS = 20.0
LEARNING = 40  # answers until a route's latency is known

POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 2
[timeouts]
drain = "1s"
[pools.app]
instances = [{instances}]
[pools.app.health]
kind = "tcp"
interval = "500ms"
fast_interval = "100ms"
timeout = "400ms"
ejection = {{ failures = 2, base = "500ms", slow_start = "0s" }}
[[routes]]
path = "/*"
pool = "app"
"""


class Site:
    """A gateway with two workers before two instances, each a process that tells its id."""

    def __init__(self, folder: Path) -> None:
        self.a, self.b = InstanceProcess("a"), InstanceProcess("b")
        instances = ", ".join(
            f'{{ name = "{each.name}", address = "{each.address}" }}' for each in (self.a, self.b)
        )
        self.gateway = GatewayProcess(folder, policy=POLICY.format(instances=instances))

    def get(self, path: str = "/x") -> bytes:
        answer = self.gateway.get(path)
        assert answer.status == 200
        return answer.body

    def get_at_once(self, count: int) -> set[bytes]:
        """Return who answered ``count`` GETs that were sent before any was answered."""
        with ExitStack() as stack:
            clients = [stack.enter_context(self.gateway.connect()) for _ in range(count)]
            for client in clients:
                client.send(b"GET /x HTTP/1.1\r\nHost: w.test\r\n\r\n")
            answers = [client.response() for client in clients]
        assert {answer.status for answer in answers} == {200}
        return {answer.body for answer in answers}

    def learn(self) -> None:
        """Let both workers know the route's latency, and both instances answer."""
        found = {self.get() for _ in range(4 * LEARNING)}
        assert found == {who(self.a), who(self.b)}

    def entry(self, instance: InstanceProcess) -> dict[str, Any]:
        return next(
            each
            for each in self.gateway.status()["instances"]
            if each["address"] == instance.address
        )

    def until(self, condition: Callable[[], object], what: str) -> None:
        self.gateway.until(condition, what, DEADLINE_SECONDS)


def who(instance: InstanceProcess) -> bytes:
    return b"%d" % instance.pid


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    try:
        yield made
        made.until(lambda: made.gateway.in_flight() == 0, "no load left behind")
    finally:
        os.kill(made.a.pid, signal.SIGCONT)
        made.gateway.stop()
        for each in (made.a, made.b):
            each.kill()


def test_gets_are_answered_by_another_and_the_frozen_one_is_ejected_until_it_answers(
    site: Site,
) -> None:
    site.learn()
    os.kill(site.a.pid, signal.SIGSTOP)

    def is_ejected() -> bool:
        # Some at a time, or the frozen one would be spared after its first failure already.
        assert site.get_at_once(6) == {who(site.b)}
        return bool(site.entry(site.a)["state"] == "ejected")

    site.until(is_ejected, "the ejection")
    entry = site.entry(site.a)
    assert entry["ejection"]["reason"] in ("failures-in-a-row", "probe-failed")
    assert entry["checks"] == "up"
    assert site.gateway.metric('poruwa_hedges_total{outcome="won"}') >= 1
    os.kill(site.a.pid, signal.SIGCONT)

    def is_back() -> bool:
        return site.get() == who(site.a) and site.entry(site.a)["state"] == "up"

    site.until(is_back, "the return")


def test_a_post_waits_for_the_frozen_instance_that_has_it(site: Site) -> None:
    """It may have been received: it is not sent to another, however long that takes."""
    site.learn()
    os.kill(site.a.pid, signal.SIGSTOP)
    with ExitStack() as stack:
        clients = [stack.enter_context(site.gateway.connect()) for _ in range(2)]
        for number, client in enumerate(clients):  # held by each instance in turn
            client.send(b"POST /wait?3 HTTP/1.1\r\nHost: w.test\r\nContent-Length: 1\r\n\r\nx")
            site.until(lambda number=number: site.gateway.in_flight() > number, "a POST")  # type: ignore[misc]
        assert [site.entry(each)["in_flight"] for each in (site.a, site.b)] == [1, 1]
        assert site.get("/wait?2") == who(site.b)  # longer than any GET would have been left alone
        assert site.entry(site.a)["in_flight"] >= 1
        os.kill(site.a.pid, signal.SIGCONT)
        answers = {client.response(b"POST").body for client in clients}
    assert answers == {who(site.a), who(site.b)}
