"""H1: ``LoadBalancer(instances)`` against real sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import poruwa
from poruwa.errors import ConfigError

SEED = ["app1.weddinglk.com:3000", "app2.weddinglk.com:3000", "app3.weddinglk.com:3000"]


def answer(status_line: bytes, *, before: bytes = b"") -> bytes:
    return before + status_line + b"\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def instance(reply: bytes | None, *, path: Path | None = None) -> AsyncIterator[str]:
    """Serve ``reply`` after each request head; None never answers."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            if reply is None:
                await reader.read()
            else:
                writer.write(reply)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    if path is not None:
        server = await asyncio.start_unix_server(handle, path)
        name = f"unix:{path}"
    else:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        name = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield name


def closed_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_round_robin_as_in_the_seed() -> None:
    balancer = poruwa.LoadBalancer(SEED)
    assert [balancer.get_next_instance() for _ in range(5)] == [*SEED, *SEED[:2]]


def test_weights() -> None:
    balancer = poruwa.LoadBalancer(SEED, method="weighted-round-robin", weights=[5, 1, 1])
    taken = [balancer.get_next_instance() for _ in range(7)]
    assert [SEED.index(name) for name in taken] == [0, 0, 1, 0, 2, 0, 0]


def test_least_connections_counts_what_is_in_use() -> None:
    balancer = poruwa.LoadBalancer(SEED, method="least_conn")
    with balancer.next_instance() as one, balancer.next_instance() as two:
        with balancer.next_instance() as three:
            assert {one, two, three} == set(SEED)
        assert {balancer.get_next_instance() for _ in range(6)} == {three}
    assert Counter(balancer.get_next_instance() for _ in range(9)) == dict.fromkeys(SEED, 3)


async def test_health_check_connects() -> None:
    async with instance(None) as up:
        down = closed_port()
        balancer = poruwa.LoadBalancer([down, up])
        assert await balancer.health_check() == [False, True]
        assert {balancer.get_next_instance() for _ in range(4)} == {up}


async def test_health_check_asks_for_a_path(tmp_path: Path) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    async with (
        instance(answer(b"HTTP/1.1 200 OK")) as good,
        instance(answer(b"HTTP/1.1 503 Service Unavailable")) as bad,
        instance(answer(b"HTTP/1.1 204 No Content", before=early)) as hinting,
        instance(b"SSH-2.0-OpenSSH_9\r\n") as other,
        instance(b"") as closing,
        instance(answer(b"HTTP/1.0 200 OK"), path=tmp_path / "app.sock") as local,
    ):
        names = [good, bad, hinting, other, closing, local]
        balancer = poruwa.LoadBalancer(names, health_path="/healthz", timeout_seconds=5)
        assert await balancer.health_check() == [True, False, True, False, False, True]
        assert {balancer.get_next_instance() for _ in range(6)} == {good, hinting, local}


async def test_a_frozen_instance_costs_one_timeout() -> None:
    async with instance(None) as frozen, instance(None) as also:
        balancer = poruwa.LoadBalancer([frozen, also], health_path="/", timeout_seconds=0.2)
        started = time.monotonic()
        assert await balancer.health_check() == [False, False]
        assert time.monotonic() - started < 2.0
        # All failed: better to try somebody than nobody.
        assert {balancer.get_next_instance() for _ in range(2)} == {frozen, also}


async def test_recovery() -> None:
    port = int(closed_port().rpartition(":")[2])
    name = f"http://127.0.0.1:{port}/"
    balancer = poruwa.LoadBalancer([name, SEED[0]], timeout_seconds=0.5)
    assert (await balancer.health_check())[0] is False
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
    async with server:
        assert (await balancer.health_check())[0] is True
        assert balancer.get_next_instance() == name


@pytest.mark.parametrize(
    ("instances", "options"),
    [
        ([], {}),
        (["a:1", "a:1"], {}),
        (["nonsense"], {}),
        ([":80"], {}),
        (["a:0"], {}),
        (["https://a:1"], {}),
        (["a:1"], {"weights": [1, 2]}),
        (["a:1"], {"weights": [0]}),
        (["a:1"], {"method": "fastest"}),
        ("a:1", {}),
        (["a:1"], {"timeout_seconds": 0}),
        (["a:1"], {"health": poruwa.Health(rise=0)}),
        (["a:1"], {"health": poruwa.Health(path="healthz")}),
        (["a:1"], {"health": poruwa.Health(ejection=poruwa.Ejection(largest_share=1.5))}),
        (["a:1"], {"health": poruwa.Health(), "health_path": "/healthz"}),
        (["a:1"], {"health_path": "/a b"}),
        (["a:1"], {"health_path": "/\r\nX: y"}),
        (["a:1"], {"health_path": "healthz"}),
    ],
)
def test_what_cannot_be_used(instances: list[str], options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        poruwa.LoadBalancer(instances, **options)  # type: ignore[arg-type]


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = poruwa.nothing  # type: ignore[attr-defined]
