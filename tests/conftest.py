"""What tests of the gateway share: one origin and one real gateway for the whole run."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from fakes.gateway_process import GatewayProcess
from fakes.origin import Origin

HOST = "weddinglk.test"
TRUSTED_SOURCE = "127.0.0.9"  # the loopback address that stands for a front tier

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


class Authority:
    """A certificate authority of the tests, and the files a listener reads."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.pem = self._authority.cert_pem.bytes().decode()
        self.certificate_path = folder / "server.pem"
        self.key_path = folder / "server.key"
        self.issue()
        self.context = ssl.create_default_context()
        self._authority.configure_trust(self.context)
        self.context.set_alpn_protocols(["h2", "http/1.1"])

    def issue(self) -> int:
        """Write a new certificate and key; return its serial number."""
        issued = self._authority.issue_cert(HOST, "127.0.0.1")
        self.key_path.write_bytes(issued.private_key_pem.bytes())
        self.certificate_path.write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
        from cryptography import x509

        return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number


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
