"""H1, A2-A4: what a ``LoadBalancer`` makes of the outcomes that are reported to it."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from contextlib import AsyncExitStack
from random import Random

import pytest

import poruwa
from poruwa import InstanceState
from poruwa.errors import ConfigError

NAMES = ["a:1", "b:1", "c:1", "d:1"]
METHODS = [
    "round-robin",
    "weighted-round-robin",
    "least-connections",
    "power-of-two",
    "peak-ewma",
    "consistent-hash",
    "sticky-hash",
]


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def wall(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def balancer_of(clock: HandClock, **options: object) -> poruwa.LoadBalancer:
    return poruwa.LoadBalancer(NAMES, clock=clock, random=Random(1).random, **options)  # type: ignore[arg-type]


def work(
    balancer: poruwa.LoadBalancer,
    clock: HandClock,
    count: int,
    *,
    bad: str = "",
    seconds: float = 0.01,
) -> Counter[str]:
    """Do ``count`` pieces of work one after the other; those of ``bad`` fail at once."""
    done: Counter[str] = Counter()
    for number in range(count):
        with balancer.lease(f"key-{number}") as lease:
            done[lease.instance] += 1
            if lease.instance == bad:
                lease.failed("broken")
            else:
                clock.seconds += seconds
    return done


def state_of(balancer: poruwa.LoadBalancer, name: str) -> poruwa.InstanceStatus:
    return next(each for each in balancer.status() if each.instance == name)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_uses_every_instance(method: str, clock: HandClock) -> None:
    done = work(balancer_of(clock, method=method), clock, 400)
    assert set(done) == set(NAMES)


@pytest.mark.parametrize("method", METHODS)
def test_an_instance_that_fails_at_once_gets_next_to_nothing(method: str, clock: HandClock) -> None:
    """Show 3: with the others answering in 10 ms, at most 0.5 % see it after the first second."""
    balancer = balancer_of(clock, method=method)
    work(balancer, clock, 100, bad="b:1")
    done = work(balancer, clock, 1000, bad="b:1")
    assert done["b:1"] <= 5
    assert min(done[name] for name in NAMES if name != "b:1") > 100


def test_a_failing_instance_that_may_not_be_ejected_is_left_alone_by_queueing_callers(
    clock: HandClock,
) -> None:
    """Twenty callers; instances that do eight and one at a time in 50 ms, one that fails in 1 ms.

    Where others queue, an idle instance looks the better: the slowness of errors must outweigh it.
    """
    health = poruwa.Health(ejection=poruwa.Ejection(enabled=False))
    balancer = poruwa.LoadBalancer(
        ["a:1", "b:1", "bad:1"], method="least-connections", health=health, clock=clock
    )
    done: Counter[str] = Counter()
    free_at = {"a:1": [0.0] * 8, "b:1": [0.0]}
    ends: list[tuple[float, int, poruwa.Lease]] = []

    def begin(number: int) -> None:
        lease = balancer.lease()
        done[lease.instance] += 1
        if lease.instance == "bad:1":
            end = clock.seconds + 0.001
        else:
            places = free_at[lease.instance]
            place = places.index(min(places))
            end = places[place] = max(places[place], clock.seconds) + 0.05
        heapq.heappush(ends, (end, number, lease))

    for number in range(20):
        begin(number)
    for number in range(20, 4000):
        clock.seconds, _, lease = heapq.heappop(ends)
        with lease:
            if lease.instance == "bad:1":
                lease.failed("broken")
        begin(number)
        if number == 1000:
            done.clear()
    assert done["bad:1"] <= 15  # of 3,000


@pytest.mark.parametrize("method", ["least-connections", "power-of-two"])
def test_a_slow_instance_gets_less(method: str, clock: HandClock) -> None:
    balancer = balancer_of(clock, method=method)
    done: Counter[str] = Counter()
    for _ in range(500):
        with balancer.lease() as lease:
            done[lease.instance] += 1
            clock.seconds += 0.5 if lease.instance == "c:1" else 0.05
    assert done["c:1"] < 25


def test_peak_latency_is_forgotten(clock: HandClock) -> None:
    balancer = balancer_of(clock, method="peak-ewma")
    with balancer.lease(avoid=NAMES[1:]) as lease:
        assert lease.instance == "a:1"
        clock.seconds += 5.0
    assert work(balancer, clock, 100)["a:1"] == 0
    clock.seconds += 120.0
    assert work(balancer, clock, 100)["a:1"] > 0


def test_ejection_probe_and_slow_start(clock: HandClock) -> None:
    ejection = poruwa.Ejection(failures=3, base_seconds=5.0, slow_start_seconds=10.0)
    balancer = balancer_of(clock, health=poruwa.Health(ejection=ejection))
    work(balancer, clock, 60, bad="b:1")
    known = state_of(balancer, "b:1")
    assert known.state is InstanceState.EJECTED
    assert (known.reason.value, known.detail) == ("failures-in-a-row", "broken")
    assert 0.0 < known.returns_in_seconds <= 5.0
    assert work(balancer, clock, 50)["b:1"] == 0

    clock.seconds += 5.0
    assert state_of(balancer, "b:1").state is InstanceState.PROBING
    with balancer.lease() as probe:
        assert probe.instance == "b:1"
        # One at a time: whether it serves is not known yet.
        assert work(balancer, clock, 20)["b:1"] == 0
        probe.failed("still broken")
    known = state_of(balancer, "b:1")
    assert (known.state, known.reason.value) == (InstanceState.EJECTED, "probe-failed")
    assert known.returns_in_seconds == 10.0  # twice as long

    clock.seconds += 10.1
    with balancer.lease() as probe:
        assert probe.instance == "b:1"
    known = state_of(balancer, "b:1")
    assert (known.state, known.slowness) == (InstanceState.UP, 10.0)
    few = work(balancer, clock, 100)["b:1"]
    clock.seconds += 10.0
    assert 0 < few < 15 < work(balancer, clock, 100)["b:1"] == 25


def test_what_cannot_be_repeated_probes_only_when_nothing_else_comes(clock: HandClock) -> None:
    ejection = poruwa.Ejection(failures=3, base_seconds=5.0)
    balancer = balancer_of(clock, health=poruwa.Health(ejection=ejection))
    work(balancer, clock, 60, bad="b:1")
    clock.seconds += 5.0
    assert state_of(balancer, "b:1").state is InstanceState.PROBING
    names = set()
    for _ in range(8):
        with balancer.lease(probe=False) as lease:
            names.add(lease.instance)
    assert names == {"a:1", "c:1", "d:1"}
    assert "b:1" not in {balancer.get_next_instance() for _ in range(8)}
    clock.seconds += 5.0
    with balancer.lease(probe=False) as lease:
        assert lease.instance == "b:1"


def test_a_probe_without_a_word_leaves_room_for_another(clock: HandClock) -> None:
    balancer = balancer_of(
        clock, health=poruwa.Health(ejection=poruwa.Ejection(failures=3, base_seconds=5.0))
    )
    work(balancer, clock, 60, bad="b:1")
    clock.seconds += 5.1
    lease = balancer.lease()
    assert lease.instance == "b:1"
    lease.close()
    assert balancer.lease().instance == "b:1"


def test_never_more_than_the_largest_share(clock: HandClock) -> None:
    health = poruwa.Health(ejection=poruwa.Ejection(largest_share=0.25, panic_share=0.0))
    balancer = balancer_of(clock, health=health)
    for _ in range(400):
        with balancer.lease() as lease:
            clock.seconds += 0.01
            if lease.instance in ("a:1", "b:1"):
                lease.failed("broken")
    states = Counter(each.state for each in balancer.status())
    assert states[InstanceState.EJECTED] == 1


def test_where_all_fail_nobody_is_ejected(clock: HandClock) -> None:
    balancer = balancer_of(clock)
    for _ in range(200):
        clock.seconds += 0.01
        with pytest.raises(LookupError), balancer.lease():
            raise LookupError("the site's own fault")
    assert {each.state for each in balancer.status()} == {InstanceState.UP}
    assert len({balancer.get_next_instance() for _ in range(4)}) == 4


async def test_panic_when_the_checks_find_too_few(clock: HandClock) -> None:
    """Checks that find nearly all sick are likely wrong, but not of who refuses connections."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        port = writer.get_extra_info("sockname")[1]
        is_well = str(port) == names[0].rpartition(":")[2]
        writer.write(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\n\r\n" % (200 if is_well else 500))
        assert request.startswith(b"GET /healthz ")
        writer.close()

    async with AsyncExitStack() as servers:
        names: list[str] = []
        for _ in range(4):
            server = await servers.enter_async_context(
                await asyncio.start_server(serve, "127.0.0.1", 0)
            )
            names.append(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        absent = "unix:/nonexistent/app.sock"
        balancer = poruwa.LoadBalancer([*names, absent], health_path="/healthz", clock=clock)
        assert await balancer.health_check() == [True, False, False, False, False]
    assert balancer.is_panic  # one of five, below the share of 0.3
    assert {balancer.get_next_instance() for _ in range(5)} == set(names)
    sick, gone = balancer.status()[1], balancer.status()[4]
    assert (sick.state, sick.reason.value) == (InstanceState.DOWN, "unexpected-status")
    assert (gone.state, gone.reason.value) == (InstanceState.DOWN, "connection-refused")


def test_outcomes_of_a_block(clock: HandClock) -> None:
    balancer = poruwa.LoadBalancer(["a:1"], clock=clock)
    with balancer.lease() as lease:
        assert balancer.status()[0].in_flight == 1
        clock.seconds += 0.25
    assert balancer.status()[0].latency_seconds == 0.25
    with pytest.raises(OSError, match="gone"), balancer.next_instance():
        raise OSError("gone")
    known = balancer.status()[0]
    assert (known.in_flight, known.detail) == (0, "OSError: gone")
    assert known.error_share == 0.5
    assert not lease.is_open


def test_being_cancelled_is_no_outcome(clock: HandClock) -> None:
    balancer = poruwa.LoadBalancer(["a:1"], clock=clock)
    with pytest.raises(asyncio.CancelledError), balancer.lease():
        raise asyncio.CancelledError
    known = balancer.status()[0]
    assert (known.in_flight, known.error_share, known.latency_seconds) == (0, 0.0, 0.0)


def test_the_first_byte_is_the_latency_and_a_later_break_a_failure(clock: HandClock) -> None:
    balancer = poruwa.LoadBalancer(["a:1"], clock=clock)
    with balancer.lease() as lease:
        clock.seconds += 0.1
        lease.succeeded()
        clock.seconds += 60.0
        lease.failed("broke off")
        lease.failed("is counted once")
    known = balancer.status()[0]
    assert known.latency_seconds == pytest.approx(0.1)
    assert known.detail == "broke off"
    assert known.error_share == pytest.approx(0.5, abs=0.01)


def test_what_was_tried_is_passed_over(clock: HandClock) -> None:
    balancer = balancer_of(clock)
    tried: list[str] = []
    for _ in NAMES:
        tried.append(balancer.lease(avoid=tried).instance)
    assert sorted(tried) == NAMES
    assert balancer.lease(avoid=tried).instance in NAMES


@pytest.mark.parametrize("method", ["consistent-hash", "sticky-hash"])
def test_keys_stay_with_their_instance(method: str, clock: HandClock) -> None:
    balancer = balancer_of(clock, method=method)
    homes = {f"user-{number}": balancer.get_next_instance(f"user-{number}") for number in range(99)}
    assert homes == {user: balancer.get_next_instance(user.encode()) for user in homes}
    for user, home in homes.items():
        other = balancer.lease(user, avoid=[home])
        assert other.instance != home
        other.close()
    with pytest.raises(ConfigError, match="chooses by a key"):
        balancer.lease()


def test_consistent_hash_is_bounded_and_sticky_hash_is_not(clock: HandClock) -> None:
    for method, most in (("consistent-hash", 13), ("sticky-hash", 40)):
        balancer = balancer_of(clock, method=method)
        leases = Counter(balancer.lease("the same").instance for _ in range(40))
        assert max(leases.values()) == most
