"""What tests of the gateway share: one origin and one real gateway for the whole run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.authority import TRUSTED_SOURCE, Authority
from fakes.gateway_process import GatewayProcess
from fakes.origin import Origin

SITE_POLICY = f"""
[site]
name = "protocol-tests"
[listeners.http]
address = "127.0.0.1:0"
[listeners.tls]
address = "127.0.0.1:0"
tls = {{ certificate = "server.pem", key = "server.key" }}
[listeners.proxied]
address = "127.0.0.1:0"
proxy_protocol = true
[listeners.proxied-tls]
address = "127.0.0.1:0"
proxy_protocol = true
tls = {{ certificate = "server.pem", key = "server.key" }}
[listeners.local]
address = "unix:{{folder}}/gateway.sock"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 1
queue = "2s"
[limits]
header = "16KiB"
body = "1MiB"
[timeouts]
drain = "2s"
[trust]
proxies = ["{TRUSTED_SOURCE}", "10.0.0.0/8", "fd00::/8"]
[pools.app]
instances = ["{{origin}}"]
[pools.local]
instances = ["{{local_origin}}"]
[[routes]]
path = "/*"
pool = "app"
[[routes]]
path = "/big/*"
pool = "app"
body = 0
[[routes]]
path = "/local/*"
pool = "local"
"""


@pytest.fixture(scope="session")
def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="session")
def authority(site_folder: Path) -> Authority:
    return Authority(site_folder)


@pytest.fixture(scope="session")
def origin() -> Iterator[Origin]:
    """The instance behind ``/``."""
    server = Origin()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def local_origin(site_folder: Path) -> Iterator[Origin]:
    """The instance behind ``/local/``, on a Unix socket."""
    server = Origin(name="local", path=site_folder / "origin.sock")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def gateway(
    site_folder: Path, authority: Authority, origin: Origin, local_origin: Origin
) -> Iterator[GatewayProcess]:
    """A gateway with every kind of listener; one worker, so that order is sure."""
    policy = SITE_POLICY.replace("{folder}", str(site_folder))
    policy = policy.replace("{origin}", origin.address)
    policy = policy.replace("{local_origin}", local_origin.address)
    process = GatewayProcess(site_folder, policy=policy)
    yield process
    process.stop()
