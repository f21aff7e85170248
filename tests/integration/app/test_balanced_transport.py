"""H1, A5: httpx over ``poruwa.BalancedTransport`` to real servers that refuse, die and freeze."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import httpx
import pytest
import trustme

import poruwa
from fakes.instance import InstanceProcess
from fakes.origin import Call, Origin

BASE = "http://reviews.internal"
GENEROUS_SECONDS = 20.0
PATIENT = poruwa.Hedge(enabled=False, try_timeout_floor_seconds=GENEROUS_SECONDS)
WARM_UP = 60  # answers of 1 ms: a hedge after `least_seconds`, and three paid for


@pytest.fixture
def origins() -> Iterator[list[Origin]]:
    servers = [Origin(name=f"origin-{number}") for number in range(3)]
    yield servers
    for server in servers:
        server.stop()


@asynccontextmanager
async def client_of(
    transport: poruwa.BalancedTransport, *, limit: float | httpx.Timeout = GENEROUS_SECONDS
) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        asyncio.timeout(2 * GENEROUS_SECONDS),
        httpx.AsyncClient(transport=transport, base_url=BASE, timeout=limit) as client,
    ):
        yield client
    assert in_flight(transport) == 0


def addresses(origins: list[Origin]) -> list[str]:
    return [origin.address for origin in origins]


def in_flight(transport: poruwa.BalancedTransport) -> int:
    return sum(each.in_flight for each in transport.balancer.status())


def state_of(transport: poruwa.BalancedTransport, instance: str) -> poruwa.InstanceStatus:
    return next(each for each in transport.balancer.status() if each.instance == instance)


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


async def called(origin: Origin, path: str, count: int = 1) -> list[Call]:
    return await asyncio.to_thread(origin.await_calls, path, count, GENEROUS_SECONDS)


class Gate:
    """A handler that answers once it is opened, as an instance that hangs."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.is_hit = threading.Event()

    def __call__(self, call: Call) -> None:
        _ = call.body
        self.is_hit.set()
        self.opened.wait(2 * GENEROUS_SECONDS)
        call.reply(b"late")


def status(line: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % line


def one_first(origins: list[Origin]) -> tuple[poruwa.LoadBalancer, Origin, list[Origin]]:
    """Return a balancer whose next first tries go to one origin, that one, and the others."""
    balancer = poruwa.LoadBalancer(addresses(origins), method="sticky-hash")
    first = balancer.get_next_instance("k")
    chosen = next(each for each in origins if each.address == first)
    return balancer, chosen, [each for each in origins if each is not chosen]


def sticky(balancer: poruwa.LoadBalancer, **options: object) -> poruwa.BalancedTransport:
    return poruwa.BalancedTransport(balancer, key=lambda request: "k", **options)  # type: ignore[arg-type]


async def test_requests_are_spread_and_keep_their_host(origins: list[Origin]) -> None:
    transport = poruwa.BalancedTransport(poruwa.LoadBalancer(addresses(origins)))
    async with client_of(transport) as client:
        names: Counter[str] = Counter()
        for _ in range(9):
            response = await client.post("/v1/reviews?page=2&q=a%2Fb%20c", json={"stars": 5})
            account = response.json()
            names[account["origin"]] += 1
            fields = dict(account["fields"])
            assert fields["host"] == "reviews.internal"
            assert account["target"] == "/v1/reviews?page=2&q=a%2Fb%20c"
            assert account["body"] == '{"stars":5}'
            assert response.extensions["poruwa.tries"] == 1
            assert response.extensions["poruwa.instance"] in addresses(origins)
    assert names == {"origin-0": 3, "origin-1": 3, "origin-2": 3}


async def test_connections_are_kept(origins: list[Origin]) -> None:
    async with client_of(poruwa.BalancedTransport([origins[0].address])) as client:
        for _ in range(5):
            assert (await client.get("/")).status_code == 200
    assert len(origins[0].connections) == 1


async def test_unix_socket(tmp_path: Path) -> None:
    origin = Origin(path=tmp_path / "reviews.sock")
    try:
        async with client_of(poruwa.BalancedTransport([origin.address])) as client:
            account = (await client.get("/unix")).json()
        assert dict(account["fields"])["host"] == "reviews.internal"
    finally:
        origin.stop()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refused_connection_is_tried_elsewhere(origins: list[Origin], method: str) -> None:
    refusing = free_port()
    transport = poruwa.BalancedTransport([refusing, origins[0].address])
    async with client_of(transport) as client:
        for _ in range(10):
            assert (await client.request(method, "/", content=b"body")).status_code == 200
        known = state_of(transport, refusing)
        assert "connect" in known.detail
        assert known.slowness > 1.0


async def test_all_refuse() -> None:
    async with client_of(poruwa.BalancedTransport([free_port(), free_port()])) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("/")


async def test_a_streamed_body_goes_elsewhere_if_nobody_took_it(origins: list[Origin]) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"once"

    origins[1].stop()
    origins[2].stop()
    async with client_of(poruwa.BalancedTransport(addresses(origins))) as client:
        for _ in range(3):
            response = await client.post("/", content=body())
            assert response.json()["body"] == "once"


@pytest.mark.parametrize(
    ("method", "fields", "body", "is_repeated"),
    [
        ("GET", {}, b"", True),
        ("PUT", {}, b"x" * 65_536, True),
        ("PUT", {}, b"x" * 65_537, False),
        ("POST", {}, b"x", False),
        ("POST", {"Idempotency-Key": "7"}, b"x", True),
        ("PATCH", {}, b"x", False),
    ],
)
async def test_what_may_have_been_received_is_repeated_only_if_safe(
    origins: list[Origin], method: str, fields: dict[str, str], body: bytes, is_repeated: bool
) -> None:
    balancer, first, others = one_first(origins)

    def die(call: Call) -> None:
        _ = call.body
        call.reset()

    first.on("/book", die)
    async with client_of(sticky(balancer, hedge=PATIENT)) as client:
        if is_repeated:
            response = await client.request(method, "/book", headers=fields, content=body)
            assert response.status_code == 200
            assert response.extensions["poruwa.tries"] == 2
        else:
            with pytest.raises(httpx.ReadError):
                await client.request(method, "/book", headers=fields, content=body)
    assert len(first.seen("/book")) == 1
    assert sum(len(each.seen("/book")) for each in others) == is_repeated


@pytest.mark.parametrize(
    ("line", "method", "seen"),
    [
        (b"503 Service Unavailable", "GET", 2),
        (b"502 Bad Gateway", "DELETE", 2),
        (b"504 Gateway Timeout", "POST", 1),
        (b"500 Internal Server Error", "GET", 2),
        (b"500 Internal Server Error", "PATCH", 1),
        (b"501 Not Implemented", "GET", 1),
    ],
)
async def test_statuses_asked_again_once(
    origins: list[Origin], line: bytes, method: str, seen: int
) -> None:
    for each in origins:
        each.on("/", status(line))
    transport = poruwa.BalancedTransport(addresses(origins), hedge=PATIENT)
    async with client_of(transport) as client:
        response = await client.request(method, "/")
        assert response.status_code == int(line[:3])
        assert response.extensions["poruwa.tries"] == seen
        assert sum(len(each.seen("/")) for each in origins) == seen


async def test_a_503_stands_if_the_second_try_fails(origins: list[Origin]) -> None:
    balancer, first, others = one_first(origins)
    first.on("/", status(b"503 Service Unavailable"))
    for each in others:
        each.stop()
    async with client_of(sticky(balancer)) as client:
        assert (await client.get("/")).status_code == 503


async def test_retries_stay_within_their_budget(origins: list[Origin]) -> None:
    for each in origins:
        each.on("/", status(b"503 Service Unavailable"))
    retry = poruwa.Retry(budget=0.2, budget_minimum_per_second=0.0)
    transport = poruwa.BalancedTransport(addresses(origins), retry=retry, hedge=PATIENT)
    async with client_of(transport) as client:
        for _ in range(100):
            assert (await client.get("/")).status_code == 503
    assert 110 <= sum(len(each.seen("/")) for each in origins) <= 120


async def test_an_erring_instance_is_ejected_and_comes_back(origins: list[Origin]) -> None:
    bad = origins[0]
    bad.default = lambda call: call.reply(status=b"500 Internal Server Error")
    health = poruwa.Health(ejection=poruwa.Ejection(base_seconds=0.5))
    balancer = poruwa.LoadBalancer(addresses(origins), health=health)
    transport = poruwa.BalancedTransport(balancer)
    async with client_of(transport) as client:
        while state_of(transport, bad.address).state is not poruwa.InstanceState.EJECTED:
            await client.get("/")
        known = state_of(transport, bad.address)
        assert known.reason.value == "failures-in-a-row"
        assert known.detail == "status 500"
        assert 0.0 < known.returns_in_seconds <= 0.5
        bad.default = bad.describe
        while state_of(transport, bad.address).state is not poruwa.InstanceState.UP:
            assert (await client.get("/")).status_code == 200
        assert state_of(transport, bad.address).slowness > 1.0  # slow start


async def warmed_up(client: httpx.AsyncClient, path: str = "/warm") -> None:
    for _ in range(WARM_UP):
        assert (await client.get(path)).status_code == 200


async def test_a_hanging_instance_does_not_hold_a_get(origins: list[Origin]) -> None:
    balancer, first, others = one_first(origins)
    gate = Gate()
    first.on("/r/slow", gate)
    transport = sticky(balancer)
    async with client_of(transport) as client:
        await warmed_up(client, "/r/warm")
        # Learned by now; the read of the patience is due.
        response = await client.get("/r/slow")
        assert response.json()["origin"] in {each.name for each in others}
        assert response.extensions["poruwa.tries"] >= 2
        assert gate.is_hit.is_set()
        await transport._sender.aclose()  # what lost is closed
        assert in_flight(transport) == 0
        assert "overtaken" in state_of(transport, first.address).detail
    gate.opened.set()


async def test_the_loser_of_a_hedge_is_closed(origins: list[Origin]) -> None:
    balancer, first, _ = one_first(origins)
    is_closed = threading.Event()

    def hang(call: Call) -> None:
        if call.connection.sock.recv(1) == b"":  # until the client gives up
            is_closed.set()

    first.on("/r/slow", hang)
    async with client_of(sticky(balancer)) as client:
        await warmed_up(client, "/r/warm")
        await client.get("/r/slow")
        assert await asyncio.to_thread(is_closed.wait, GENEROUS_SECONDS)


async def test_an_error_does_not_win_a_race(origins: list[Origin]) -> None:
    balancer, first, others = one_first(origins)
    gate = Gate()
    first.on("/r/slow", gate)
    for each in others:
        each.on("/r/slow", status(b"500 Internal Server Error"))
    transport = sticky(balancer, retry=poruwa.Retry(attempts=0))
    async with client_of(transport) as client:
        await warmed_up(client, "/r/warm")
        waiting = asyncio.create_task(client.get("/r/slow"))
        while not any(each.error_share for each in balancer.status()):  # the hedge has ended
            await warmed_up(client, "/r/warm")
        assert not waiting.done()
        gate.opened.set()
        assert (await waiting).content == b"late"


async def test_hedges_stay_within_their_budget(origins: list[Origin]) -> None:
    """Show 9: with every instance slow, at most one in twenty is sent twice."""
    gate = Gate()
    transport = poruwa.BalancedTransport(addresses(origins), retry=poruwa.Retry(attempts=0))
    async with client_of(transport) as client:
        await warmed_up(client, "/r/warm")
        for each in origins:
            each.on("/r/slow", gate)

        def sent() -> int:
            return sum(len(each.seen("/r/slow")) for each in origins)

        requests = 40
        waiting = [asyncio.create_task(client.get("/r/slow")) for _ in range(requests)]
        while sent() <= requests:  # every one was late, and one of them was afforded a hedge
            await warmed_up(client, "/r/warm")
        gate.opened.set()
        for response in await asyncio.gather(*waiting):
            assert response.content == b"late"
        warm = sum(len(each.seen("/r/warm")) for each in origins)
    assert requests < sent() <= requests + 0.05 * (requests + warm)


async def test_hedging_can_be_left_out(origins: list[Origin]) -> None:
    balancer, first, _ = one_first(origins)
    gate = Gate()
    first.on("/r/poll", gate)
    async with client_of(sticky(balancer)) as client:
        await warmed_up(client, "/r/warm")
        poll = asyncio.create_task(client.get("/r/poll", extensions={"poruwa.hedge": False}))
        events = asyncio.create_task(client.get("/r/poll", headers={"Accept": "text/event-stream"}))
        await called(first, "/r/poll", 2)
        # Others are answered, and late ones hedged, while these two wait.
        await warmed_up(client, "/r/warm")
        gate.opened.set()
        for each in (await poll, await events):
            assert each.content == b"late"
            assert each.extensions["poruwa.tries"] == 1


async def test_a_late_put_ends_before_it_is_sent_again(origins: list[Origin]) -> None:
    balancer, first, _ = one_first(origins)
    is_closed = threading.Event()

    def hang(call: Call) -> None:
        _ = call.body
        if call.connection.sock.recv(1) == b"":
            is_closed.set()

    first.on("/r/put", hang)
    async with client_of(sticky(balancer), limit=1.0) as client:
        response = await client.put("/r/put", content=b"value")
        assert response.json()["body"] == "value"
        assert await asyncio.to_thread(is_closed.wait, GENEROUS_SECONDS)


async def test_a_late_post_waits_for_the_caller_to_give_up(origins: list[Origin]) -> None:
    balancer, first, others = one_first(origins)
    gate = Gate()
    first.on("/r/post", gate)
    transport = sticky(balancer)
    async with client_of(transport, limit=0.5) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/r/post", content=b"value")
        assert state_of(transport, first.address).detail.startswith("first-byte-timeout")
    assert not any(each.seen("/r/post") for each in others)
    gate.opened.set()


async def test_cancelling_gives_everything_back(origins: list[Origin]) -> None:
    balancer, first, _ = one_first(origins)
    is_closed = threading.Event()

    def hang(call: Call) -> None:
        if call.connection.sock.recv(1) == b"":
            is_closed.set()

    first.on("/hang", hang)
    transport = sticky(balancer)
    async with client_of(transport) as client:
        waiting = asyncio.create_task(client.get("/hang"))
        await called(first, "/hang")
        assert in_flight(transport) == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.to_thread(is_closed.wait, GENEROUS_SECONDS)
        await transport._sender.aclose()
        assert in_flight(transport) == 0
        assert state_of(transport, first.address).error_share == 0.0


async def test_a_stream_holds_its_place_until_closed(origins: list[Origin]) -> None:
    transport = poruwa.BalancedTransport(addresses(origins))
    async with client_of(transport) as client:
        async with client.stream("GET", "/"):
            assert in_flight(transport) == 1
        assert in_flight(transport) == 0


async def test_an_answer_that_breaks_off_is_a_failure(origins: list[Origin]) -> None:
    def half(call: Call) -> None:
        call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        call.close()

    origins[0].on("/", half)
    transport = poruwa.BalancedTransport([origins[0].address])
    async with client_of(transport) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")
        known = state_of(transport, origins[0].address)
        assert known.detail.startswith("truncated")
        assert known.error_share == 0.5


async def test_an_idle_connection_that_was_closed_costs_a_get_nothing(
    origins: list[Origin],
) -> None:
    """One instance, so that only itself is left: RFC 9112 section 9.3.1."""
    origin = origins[0]
    is_first = iter([True])

    def close_first(call: Call) -> None:
        if next(is_first, False):
            call.close()
        else:
            call.reply(b"ok")

    origin.on("/", close_first)
    async with client_of(poruwa.BalancedTransport([origin.address])) as client:
        assert (await client.get("/")).content == b"ok"


async def test_callers_own_mistakes_blame_nobody(origins: list[Origin]) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"part"
        raise LookupError("the caller's")

    transport = poruwa.BalancedTransport(addresses(origins))
    async with client_of(transport) as client:
        with pytest.raises(LookupError):
            await client.post("/", content=broken())
        assert all(each.error_share == 0.0 for each in transport.balancer.status())


async def test_hash_by_a_field_of_the_request(origins: list[Origin]) -> None:
    balancer = poruwa.LoadBalancer(addresses(origins), method="consistent-hash")
    transport = poruwa.BalancedTransport(balancer, key=lambda request: request.headers["X-User"])
    async with client_of(transport) as client:
        for user in ("amaya", "ruwan", "7"):
            names = set()
            for _ in range(4):
                response = await client.get("/", headers={"X-User": user})
                names.add(response.json()["origin"])
            assert len(names) == 1


async def test_a_post_is_never_seen_twice(origins: list[Origin]) -> None:
    """Show 9: whatever instances do, a second send needs the certainty that there was no first."""
    random = Random(7)
    deeds = [
        lambda call: call.reset(),
        lambda call: (call.body, call.reset()),
        lambda call: (call.body, call.close()),
        lambda call: (call.body, call.send(b"HTTP/1.1 200 OK\r\nContent-Len"), call.close()),
        lambda call: (call.body, call.send(b"nonsense\r\n\r\n"), call.close()),
        lambda call: (call.body, call.reply(status=b"503 Service Unavailable")),
        lambda call: (call.body, call.reply()),
    ]

    def misbehave(call: Call) -> None:
        random.choice(deeds)(call)

    for each in origins:
        each.default = misbehave
    refusing = free_port()
    transport = poruwa.BalancedTransport([*addresses(origins), refusing])
    answered = 0
    async with client_of(transport) as client:

        async def post(number: int) -> None:
            nonlocal answered
            try:
                await client.post(f"/orders/{number}", content=b"%d" % number)
                answered += 1
            except httpx.TransportError:
                pass

        for batch in range(10):
            await asyncio.gather(*(post(batch * 30 + number) for number in range(30)))
    seen = Counter(call.target for each in origins for call in each.calls)
    assert seen.most_common(1)[0][1] == 1
    assert len(seen) == 300  # refused connections went elsewhere
    assert 0 < answered < 300


async def test_a_full_pool_is_no_instances_fault(origins: list[Origin]) -> None:
    balancer, first, others = one_first(origins)
    gate = Gate()
    first.on("/hang", gate)
    transport = sticky(balancer, limits=httpx.Limits(max_connections=1))
    limit = httpx.Timeout(GENEROUS_SECONDS, pool=0.1)
    async with client_of(transport, limit=limit) as client:
        holding = asyncio.create_task(client.post("/hang"))
        await called(first, "/hang")
        response = await client.post("/", content=b"x")
        assert response.json()["origin"] in {each.name for each in others}
        assert state_of(transport, first.address).error_share == 0.0
        gate.opened.set()
        assert (await holding).content == b"late"


async def test_https_checks_the_name_of_the_service() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(status(b"204 No Content"))
        await writer.drain()
        writer.close()

    issuer = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issuer.issue_cert("reviews.internal").configure_cert(server_side)
    client_side = ssl.create_default_context()
    issuer.configure_trust(client_side)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_side)
    async with server:
        instance = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport = poruwa.BalancedTransport([instance], verify=client_side)
        async with client_of(transport) as client:
            assert (await client.get("https://reviews.internal/")).status_code == 204
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get("https://ratings.internal/")


# --- processes --------------------------------------------------------------------------------


@pytest.fixture
def instances() -> Iterator[list[InstanceProcess]]:
    processes = [InstanceProcess(f"instance-{number}") for number in range(3)]
    yield processes
    for each in processes:
        each.process.send_signal(signal.SIGCONT)
        each.kill()


async def test_a_stopped_process_freezes_no_get(instances: list[InstanceProcess]) -> None:
    """Show 1, from an app: SIGSTOP of one of three under load; no GET fails or waits for it."""
    balancer = poruwa.LoadBalancer([each.address for each in instances])  # everybody has turns
    transport = poruwa.BalancedTransport(balancer)
    frozen = instances[0]
    clock = asyncio.get_running_loop().time
    async with client_of(transport) as client:
        await warmed_up(client)

        async def load() -> Counter[int]:
            pids: Counter[int] = Counter()
            for _ in range(100):
                started = clock()
                pids[int((await client.get("/warm")).content)] += 1
                assert clock() - started < GENEROUS_SECONDS / 4
            return pids

        os.kill(frozen.pid, signal.SIGSTOP)
        while_frozen = await asyncio.gather(*(load() for _ in range(4)))
        # The process gave no answer at all, and all 400 were answered.
        assert frozen.pid not in sum(while_frozen, Counter())
        assert state_of(transport, frozen.address).slowness > 1.0
        os.kill(frozen.pid, signal.SIGCONT)


async def test_a_killed_process_fails_no_get(instances: list[InstanceProcess]) -> None:
    transport = poruwa.BalancedTransport([each.address for each in instances])
    dead = instances[0]
    async with client_of(transport) as client:
        await warmed_up(client)

        async def load() -> None:
            for number in range(100):
                if number == 50 and dead.process.poll() is None:
                    dead.process.kill()
                assert (await client.get("/warm")).status_code == 200

        await asyncio.gather(*(load() for _ in range(4)))
        assert state_of(transport, dead.address).slowness > 1.0
