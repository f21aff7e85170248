"""TLS of a listener against a real client: versions, ALPN, reload."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

import pytest
import trustme
import uvloop

from poruwa.errors import ConfigError
from poruwa.net.tls import ServerTls

HOST = "weddinglk.test"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Pair:
    """A certificate and key in two files."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.certificate, self.key = folder / "site.pem", folder / "site.key"
        self._authority = authority
        self.serial = self.renew()

    def renew(self, *, only_certificate: bool = False) -> int:
        issued = self._authority.issue_cert(HOST)
        # Written aside and renamed, as certificate clients do.
        fresh = self.certificate.with_suffix(".new")
        fresh.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        os.replace(fresh, self.certificate)
        if not only_certificate:
            self.key.write_bytes(issued.private_key_pem.bytes())
        from cryptography import x509

        self.serial = x509.load_pem_x509_certificate(self.certificate.read_bytes()).serial_number
        return self.serial


@pytest.fixture
def pair(tmp_path: Path, authority: trustme.CA) -> Pair:
    return Pair(tmp_path, authority)


async def handshake(
    port: int, authority: trustme.CA, *, alpn: list[str] | None = None, named: bool = True,
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> tuple[int, str | None, str | None]:  # fmt: skip
    """Connect; return the certificate's serial number, the protocol chosen and the TLS version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    context.maximum_version = maximum
    context.check_hostname = named
    if alpn:
        context.set_alpn_protocols(alpn)
    # An address as server name sends no SNI.
    name = HOST if named else "127.0.0.1"
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name
        )
        try:
            connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
            peer = connection.getpeercert()
            assert peer is not None
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            serial = str(peer["serialNumber"])
            return int(serial, 16), connection.selected_alpn_protocol(), connection.version()
        finally:
            writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


async def serve(tls: ServerTls) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=tls.context)
    return server, server.sockets[0].getsockname()[1]


async def check_reload(pair: Pair, authority: trustme.CA) -> None:
    tls = ServerTls(str(pair.certificate), str(pair.key))
    server, port = await serve(tls)
    async with server:
        first = pair.serial
        for named in (True, False):
            assert (await handshake(port, authority, named=named))[0] == first
        assert tls.reload_if_changed() is False
        second = pair.renew()
        assert tls.reload_if_changed() is True
        assert second != first
        for named in (True, False):
            for maximum in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                serial, _, _ = await handshake(port, authority, named=named, maximum=maximum)
                assert serial == second
        # Half renewed: refused, told once, the old pair goes on.
        pair.renew(only_certificate=True)
        with pytest.raises(ConfigError, match="not a PEM certificate and its"):
            tls.reload_if_changed()
        assert tls.reload_if_changed() is False
        assert (await handshake(port, authority))[0] == second
        third = pair.renew()
        assert tls.reload_if_changed() is True
        assert (await handshake(port, authority, alpn=["h2", "http/1.1"]))[:2] == (
            third,
            "http/1.1",
        )


async def test_reload(pair: Pair, authority: trustme.CA) -> None:
    await check_reload(pair, authority)


def test_reload_under_uvloop(pair: Pair, authority: trustme.CA) -> None:
    """The gateway's own event loop has a TLS implementation of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(check_reload(pair, authority))


async def test_versions_and_protocols(pair: Pair, authority: trustme.CA) -> None:
    for minimum, maximum, version in (
        ("1.2", ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ("1.2", ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ("1.3", ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
    ):
        server, port = await serve(ServerTls(str(pair.certificate), str(pair.key), minimum))
        async with server:
            _, chosen, spoken = await handshake(port, authority, maximum=maximum, alpn=["http/1.1"])
            assert (chosen, spoken) == ("http/1.1", version)
            assert (await handshake(port, authority, maximum=maximum))[1] is None
            if minimum == "1.3":
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await handshake(port, authority, maximum=ssl.TLSVersion.TLSv1_2)


def test_expiry_is_known(pair: Pair) -> None:
    tls = ServerTls(str(pair.certificate), str(pair.key))
    assert tls.expires_at is not None
    assert tls.expires_at.year >= 2030


@pytest.mark.parametrize("breakage", ["no file", "garbage", "other key", "encrypted", "unreadable"])
def test_what_cannot_be_used(pair: Pair, authority: trustme.CA, breakage: str) -> None:
    if breakage == "no file":
        pair.key.unlink()
    elif breakage == "garbage":
        pair.certificate.write_text("no certificate")
    elif breakage == "other key":
        pair.key.write_bytes(authority.issue_cert("other").private_key_pem.bytes())
    elif breakage == "encrypted":
        from cryptography.hazmat.primitives import serialization

        key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"word"),
            )
        )
    elif os.geteuid() == 0:  # who may read everything, but not what leads nowhere
        pair.key.unlink()
        pair.key.symlink_to(pair.key)
    else:
        pair.key.chmod(0)
    with pytest.raises(ConfigError, match=r"site\.(pem|key)"):
        ServerTls(str(pair.certificate), str(pair.key))


def test_old_versions_are_not_offered(pair: Pair) -> None:
    with pytest.raises(ConfigError, match=r'"1\.2" or "1\.3"'):
        ServerTls(str(pair.certificate), str(pair.key), "1.1")
