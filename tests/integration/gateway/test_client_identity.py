"""Who the client is: forwarding fields, PROXY protocol, TLS, Unix sockets (checks 49 and 53)."""

from __future__ import annotations

import ssl
import time
from typing import Any

import pytest

from fakes.authority import TRUSTED_SOURCE, Authority
from fakes.gateway_process import GatewayProcess
from fakes.origin import Origin
from fakes.raw_client import account, field
from poruwa.net.proxy_protocol import TLV_SSL, encode_v1, encode_v2

CLAIMS = (
    "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n"
    "X-Forwarded-Port: 444\r\nForwarded: for=203.0.113.7;proto=https;host=evil.test\r\n"
    "X-Real-IP: 203.0.113.7\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n"
    "X-Host: evil.test\r\nX-HTTP-Method-Override: DELETE\r\nTrue-Client-IP: 203.0.113.7\r\n"
    "X_Forwarded_For: 203.0.113.7\r\nX-Forwarded-Prefix: /evil\r\nProxy: http://evil.test\r\n"
)


def told(answer: dict[str, Any]) -> dict[str, str | None]:
    """Return what the instance was told about the client."""
    names = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded")
    return {name: field(answer, name) for name in names}


def test_claims_of_untrusted_peers_are_dropped(gateway: GatewayProcess) -> None:
    answer = account(gateway.get("/claims", CLAIMS))
    assert told(answer) == {
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "weddinglk.test",
        "forwarded": None,
    }
    assert field(answer, "x-forwarded-port") == gateway.address.rpartition(":")[2]
    text = str(answer["fields"])
    assert "203.0.113.7" not in text
    assert "evil" not in text
    assert "/admin" not in text


def test_each_request_of_a_connection_is_judged_alike(gateway: GatewayProcess) -> None:
    """What is remembered for a connection is not what one request claimed, nor its host."""
    with gateway.connect() as client:
        first = account(client.get("/claims", CLAIMS))
        client.send(b"GET /claims HTTP/1.1\r\nHost: other.test\r\n\r\n")
        second = account(client.response())
        third = account(client.get("/claims"))
    assert told(second)["x-forwarded-host"] == "other.test"
    assert told(first) == told(third)


@pytest.mark.parametrize(
    ("fields", "address", "scheme"),
    [
        ("X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n", "203.0.113.7", "https"),
        ("X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\n", "203.0.113.7", "http"),
        ("X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.1.2.3\r\n", "203.0.113.7", "http"),
        ("X-Forwarded-For: 203.0.113.7, fd00::1, 10.1.2.3\r\n", "203.0.113.7", "http"),
        ("X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7", "http"),
        ('Forwarded: for="[2001:db8::7]:81";proto=https\r\n', "2001:db8::7", "https"),
        ("Forwarded: for=203.0.113.7, for=10.0.0.1;proto=http\r\n", "203.0.113.7", "http"),
        ("X-Forwarded-For: nonsense\r\n", TRUSTED_SOURCE, "http"),
        ("X-Forwarded-For: 203.0.113.7\r\nForwarded: for=198.51.100.9\r\n", TRUSTED_SOURCE, "http"),
        ("", TRUSTED_SOURCE, "http"),
    ],
)
def test_trusted_hops_are_believed(
    gateway: GatewayProcess, fields: str, address: str, scheme: str
) -> None:
    """Walked from the right to the first hop that is not trusted (IPv4, IPv6, networks)."""
    answer = account(gateway.get("/trusted", fields, source=TRUSTED_SOURCE))
    chain = [each.strip() for each in (told(answer)["x-forwarded-for"] or "").split(",")]
    assert chain[0] == address
    assert chain[-1] == TRUSTED_SOURCE
    assert told(answer)["x-forwarded-proto"] == scheme
    assert "198.51.100.1" not in chain


def test_request_id_of_a_trusted_hop_is_kept(gateway: GatewayProcess) -> None:
    answer = gateway.get("/ids", "X-Request-Id: front-42\r\n", source=TRUSTED_SOURCE)
    assert answer.get("x-request-id") == b"front-42"
    assert field(account(answer), "x-request-id") == "front-42"


def test_harmful_request_id_of_a_trusted_hop_is_replaced(gateway: GatewayProcess) -> None:
    answer = gateway.get("/ids", 'X-Request-Id: a"b<c>\r\n', source=TRUSTED_SOURCE)
    assert b"<" not in (answer.get("x-request-id") or b"<")


# PROXY protocol.

SSL_USED = (TLV_SSL, b"\x01\x00\x00\x00\x00")
GREETINGS = {
    "v1": (encode_v1("203.0.113.7", "192.0.2.1", 40000, 443), "203.0.113.7", "http"),
    "v1 over IPv6": (encode_v1("2001:db8::7", "2001:db8::1", 40000, 443), "2001:db8::7", "http"),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", TRUSTED_SOURCE, "http"),
    "v2": (encode_v2("203.0.113.7", "192.0.2.1", 40000, 443), "203.0.113.7", "http"),
    "v2 over IPv6": (encode_v2("2001:db8::7", "2001:db8::1", 1, 2), "2001:db8::7", "http"),
    "v2 with checksum": (
        encode_v2("203.0.113.7", "192.0.2.1", 1, 443, checksum=True), "203.0.113.7", "http",
    ),
    "v2 after TLS": (
        encode_v2("203.0.113.7", "192.0.2.1", 1, 443, tlvs=[SSL_USED]), "203.0.113.7", "https",
    ),
    "v2 local": (encode_v2(None, None), TRUSTED_SOURCE, "http"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GREETINGS)
def test_proxy_header(gateway: GatewayProcess, kind: str) -> None:
    greeting, address, scheme = GREETINGS[kind]
    with gateway.connect("proxied", source=TRUSTED_SOURCE, first=greeting) as client:
        for _ in range(2):  # and it holds for the connection
            answer = account(client.get("/proxied", CLAIMS if "203" in address else ""))
            assert told(answer)["x-forwarded-for"] == address
            assert told(answer)["x-forwarded-proto"] == scheme


def test_proxy_header_and_request_in_one_segment_or_in_single_bytes(
    gateway: GatewayProcess,
) -> None:
    greeting = GREETINGS["v2"][0]
    request = b"GET /proxied HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n"
    with gateway.connect("proxied", source=TRUSTED_SOURCE) as client:
        client.send(greeting + request)
        assert told(account(client.response()))["x-forwarded-for"] == "203.0.113.7"
    with gateway.connect("proxied", source=TRUSTED_SOURCE) as client:
        for at in range(len(greeting)):
            client.send(greeting[at : at + 1])
        client.send(request)
        assert told(account(client.response()))["x-forwarded-for"] == "203.0.113.7"


@pytest.mark.parametrize(
    ("greeting", "source"),
    [
        (GREETINGS["v1"][0], "127.0.0.1"),  # a sender that nobody trusts
        (b"", TRUSTED_SOURCE),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n", TRUSTED_SOURCE),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\n", TRUSTED_SOURCE),
        (b"PROXY " + b"A" * 200, TRUSTED_SOURCE),
        (GREETINGS["v2"][0][:12] + b"\x31" + GREETINGS["v2"][0][13:], TRUSTED_SOURCE),
    ],
)
def test_bad_proxy_header_ends_the_connection(
    gateway: GatewayProcess, origin: Origin, greeting: bytes, source: str
) -> None:
    before = len(origin.seen("/proxied-bad"))
    with gateway.connect("proxied", source=source) as client:
        try:
            client.send(greeting + b"GET /proxied-bad HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        except ConnectionError:
            return
        assert client.rest() == b""
    assert len(origin.seen("/proxied-bad")) == before


def test_tls_behind_proxy_header(gateway: GatewayProcess, authority: Authority) -> None:
    with gateway.connect(
        "proxied-tls", source=TRUSTED_SOURCE, first=GREETINGS["v2"][0], tls=authority.context
    ) as client:
        answer = account(client.get("/proxied"))
    assert told(answer)["x-forwarded-for"] == "203.0.113.7"
    assert told(answer)["x-forwarded-proto"] == "https"


# TLS.


def test_tls(gateway: GatewayProcess, authority: Authority) -> None:
    with gateway.connect("tls", tls=authority.context) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.selected_alpn_protocol() == "http/1.1"
        answer = account(client.get("/secure", "X-Forwarded-Proto: http\r\n"))
        assert told(answer)["x-forwarded-proto"] == "https"
        assert account(client.get("/secure", method="POST", body=b"x" * 100_000))["body"] != ""


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_versions(
    gateway: GatewayProcess, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cadata=authority.pem)
    context.minimum_version = context.maximum_version = version
    with gateway.connect("tls", tls=context) as client:
        assert client.get("/secure").status == 200


def test_plain_request_to_a_tls_listener_ends(gateway: GatewayProcess) -> None:
    with gateway.connect("tls") as client:
        client.send(b"GET /secure HTTP/1.1\r\nHost: weddinglk.test\r\n\r\n")
        assert b"HTTP/1.1 200" not in client.rest()


def test_framing_is_refused_over_tls_too(gateway: GatewayProcess, authority: Authority) -> None:
    with gateway.connect("tls", tls=authority.context) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.response().status == 400
        assert client.rest() == b""


def test_large_download_over_tls(
    gateway: GatewayProcess, origin: Origin, authority: Authority
) -> None:
    body = bytes(range(256)) * 40_000
    origin.on("/big/tls", lambda call: call.reply(body))
    with gateway.connect("tls", tls=authority.context) as client:
        assert client.get("/big/tls").body == body
        assert client.get("/after").status == 200


def test_certificate_is_reloaded(gateway: GatewayProcess, authority: Authority) -> None:
    """New connections get the new certificate; those that are open live on."""

    def serial() -> int:
        with gateway.connect("tls", tls=authority.context) as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            found = client.sock.getpeercert()
            assert found is not None
            return int(str(found["serialNumber"]), 16)

    before = serial()
    with gateway.connect("tls", tls=authority.context) as old:
        assert old.get("/secure").status == 200
        expected = authority.issue()
        assert expected != before
        deadline = time.monotonic() + 6
        while serial() != expected:
            assert time.monotonic() < deadline, "the new certificate is not in use"
            time.sleep(0.1)
        assert old.get("/secure").status == 200


# Unix sockets.


def test_unix_listener(gateway: GatewayProcess) -> None:
    with gateway.connect("local") as client:
        answer = account(client.get("/by-socket", CLAIMS))
    assert told(answer)["x-forwarded-for"] is None
    assert "203.0.113.7" not in str(answer["fields"])


def test_unix_upstream(gateway: GatewayProcess) -> None:
    with gateway.connect() as client:
        first = account(client.get("/local/a"))
        second = account(client.get("/local/b", method="POST", body=b"hello"))
    assert (first["origin"], second["origin"], second["body"]) == ("local", "local", "hello")
    assert first["connection"] == second["connection"]
