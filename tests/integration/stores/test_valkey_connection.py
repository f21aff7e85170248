"""Clients of a store: TLS, ACL users, time-outs, the limit of connections, Unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from fakes.valkey_process import BUS, ValkeyProcess
from poruwa.config.model import Coherence, ValkeyStore
from poruwa.config.setting import Secret
from poruwa.rules.change import Change
from poruwa.stores import change_scripts
from poruwa.stores.change_log import ChangeLog
from poruwa.stores.store_url import store_from_url
from poruwa.stores.valkey_connection import FAILURES, cancellable, find_primary, make_client


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path / "valkey", *BUS) as server:
        yield server


@contextlib.asynccontextmanager
async def client_of(store: ValkeyStore) -> AsyncIterator[Redis]:
    client = make_client(store)
    try:
        yield client
    finally:
        await client.aclose()


def tls_options(folder: Path, names: str) -> tuple[list[str], Path]:
    authority = trustme.CA()
    certificate = authority.issue_cert(names)
    for name, blob in (
        ("ca.pem", authority.cert_pem),
        ("server.key", certificate.private_key_pem),
        ("server.pem", certificate.cert_chain_pems[0]),
    ):
        blob.write_to_path(folder / name)
    options = ["--tls-cert-file", str(folder / "server.pem")]
    options += ["--tls-key-file", str(folder / "server.key")]
    options += ["--tls-ca-cert-file", str(folder / "ca.pem"), "--tls-auth-clients", "no"]
    return options, folder / "ca.pem"


async def test_tls_checks_the_server_and_carries_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, authority = tls_options(tmp_path, "127.0.0.1")
    with ValkeyProcess(
        tmp_path / "bus", *BUS, redis=True, tls=options, password="pass word/1"
    ) as server:
        store = store_from_url(f"valkeys://:pass%20word%2F1@{server.address}/0", ValkeyStore())
        async with client_of(store) as client:
            with pytest.raises(FAILURES, match="certificate verify failed"):
                await client.ping()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        async with client_of(store) as client:
            assert await client.ping()
        log = ChangeLog(store, Coherence(), layer="app/1")
        await log.start()
        try:
            assert log.is_sure()
            assert (await log.publish(Change(tags=(b"x",)))).is_complete
        finally:
            await log.close()


async def test_tls_refuses_another_servers_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, authority = tls_options(tmp_path, "elsewhere.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with ValkeyProcess(tmp_path / "bus", *BUS, redis=True, tls=options) as server:
        store = store_from_url(f"valkeys://{server.address}", ValkeyStore())
        async with client_of(store) as client:
            with pytest.raises(FAILURES, match="certificate is not valid"):
                await client.ping()


def documented_acl(namespace: str) -> list[str]:
    """Return the rules that the scripts' documentation gives."""
    _, _, text = (change_scripts.__doc__ or "").partition("needs::")
    rules = text.replace("{ns}", f"{{{namespace}}}").replace("(", "").replace(")", "").split()
    return [rule for rule in rules if rule[0] in "~&+"]


@pytest.mark.parametrize("redis", [False, True], ids=["valkey", "redis"])
async def test_an_acl_user_needs_what_is_documented_and_no_more(
    tmp_path: Path, redis: bool
) -> None:
    with ValkeyProcess(tmp_path / "bus", *BUS, redis=redis) as server:
        with server.client as admin:
            admin.execute_command(
                *("ACL", "SETUSER", "bus", "on", ">secret"), *documented_acl("poruwa")
            )
        store = server.store(username="bus", password=Secret("env:TEST", "secret"))
        log = ChangeLog(store, Coherence(), layer="app/1")
        await log.start()
        try:
            assert log.is_sure()
            for _ in range(3):
                answer = await log.publish(Change(tags=(b"x",)))
                assert answer.is_complete
                assert not answer.layers["app/1"].lapsed
        finally:
            await log.close()
        with server.client as admin:
            refused = [each["username"] for each in admin.acl_log()]
        assert refused == []
        async with client_of(store) as client:
            with pytest.raises(NoPermissionError):
                await client.get("other")
        async with client_of(server.store(username="bus", password=Secret("x", "no"))) as client:
            with pytest.raises(AuthenticationError):
                await client.ping()


async def test_a_frozen_server_costs_no_more_than_the_time_outs(valkey: ValkeyProcess) -> None:
    store = valkey.store(timeout_seconds=0.05, retries=1)
    async with client_of(store) as client:
        assert await client.ping()
        valkey.freeze()
        # Far longer than it should take, far shorter than a default of the library.
        async with asyncio.timeout(3):
            with pytest.raises(FAILURES):
                await client.get("x")
        valkey.thaw()
        assert await client.get("x") is None


async def test_a_burst_shares_the_connections(valkey: ValkeyProcess) -> None:
    async with client_of(valkey.store(connections_per_node=4, timeout_seconds=10)) as client:
        answers = await asyncio.gather(*(client.set(f"k{n}", n) for n in range(500)))
        assert answers == [True] * 500
        with valkey.client as admin:
            assert len(admin.client_list()) <= 5


async def test_a_cancelled_call_is_cancelled(valkey: ValkeyProcess) -> None:
    async with client_of(valkey.store()) as client:

        async def repeat() -> None:
            while True:
                await cancellable(client.get("x"))

        for turn in range(50):
            task = asyncio.create_task(repeat())
            await asyncio.sleep(0.0002 * turn)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=10)
            assert done
            assert task.cancelled()


async def test_a_single_node_is_not_asked_who_it_is(tmp_path: Path) -> None:
    assert await find_primary(ValkeyStore(nodes=("127.0.0.1:1",))) == "127.0.0.1:1"


async def test_a_unix_socket_is_a_node(tmp_path: Path) -> None:
    path = tmp_path / "valkey.sock"
    with ValkeyProcess(tmp_path / "valkey", "--unixsocket", str(path)):
        async with client_of(ValkeyStore(nodes=(f"unix:{path}",))) as client:
            assert await client.ping()


async def test_the_primary_is_found_among_replicas(valkey: ValkeyProcess, tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path / "other") as other:
        store = ValkeyStore(nodes=(other.address, valkey.address))
        with pytest.raises(ConnectionError, match="both say primary"):
            await find_primary(store)
        with other.client as client:
            client.replicaof("127.0.0.1", valkey.port)
        assert await find_primary(store) == valkey.address
        valkey.kill()
        with pytest.raises(ConnectionError, match="none of"):
            await find_primary(store)
