"""``/_poruwa/reports`` of a real gateway: taken without an instance, counted, stored, bounded."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Origin
from fakes.wire import Response
from poruwa.gateway.reports import MAX_PER_CLIENT
from poruwa.observe.report_store import FOLDER, read_reports

POLICY = """
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 1
[trust]
proxies = ["127.0.0.1/32"]
[pools.app]
instances = ["{origin}"]
[[routes]]
path = "/*"
pool = "app"
"""
PATH = "/_poruwa/reports"
REPORT = {
    "type": "csp-violation",
    "url": "https://localhost/a?secret",
    "body": {"effectiveDirective": "img-src", "blockedURL": "https://evil.test/i?k"},
}
NEW = "Content-Type: application/reports+json\r\n"
OLD = "Content-Type: application/csp-report; charset=utf-8\r\n"


@pytest.fixture
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.stop()


@pytest.fixture
def gateway(tmp_path: Path, origin: Origin) -> Iterator[GatewayProcess]:
    process = start(tmp_path, origin)
    yield process
    process.stop()
    assert not origin.seen(PATH)


def start(tmp_path: Path, origin: Origin) -> GatewayProcess:
    policy = POLICY.format(origin=origin.address)
    return GatewayProcess(tmp_path, "--state", str(tmp_path / "state"), policy=policy)


def post(gateway: GatewayProcess, body: bytes, fields: str = NEW, client: str = "1") -> Response:
    fields += f"X-Forwarded-For: 192.0.2.{client}\r\n"
    return gateway.get(PATH, fields, method="POST", body=body)


def test_reports_are_taken_counted_and_stored(gateway: GatewayProcess, tmp_path: Path) -> None:
    """Check 44 (report-to, ASVS 3.4.7): no instance is up; secrets of URLs do not get to disk.

    Nor is where it comes from a reason to refuse: browsers send neither cookies nor an Origin of
    ours.
    """
    body = json.dumps([REPORT, REPORT]).encode()
    cross = NEW + "Origin: https://other.test\r\nSec-Fetch-Site: cross-site\r\n"
    assert post(gateway, body, cross).status == 204
    old = {"csp-report": {"violated-directive": "img-src *", "document-uri": "https://localhost/"}}
    assert post(gateway, json.dumps(old).encode(), OLD).status == 204
    line = 'poruwa_browser_reports_total{directive="img-src",kind="csp-violation"}'
    gateway.until(lambda: gateway.metric(line) == 3, "the count")
    folder = tmp_path / "state" / FOLDER
    gateway.until(lambda: len(list(read_reports(folder))) == 2, "the lines")
    first, second = read_reports(folder)
    assert (first.report.page, first.report.blocked) == (
        "https://localhost/a",
        "https://evil.test/i",
    )
    assert second.report.page == "https://localhost/"


def test_what_is_left_is_written_at_the_end(tmp_path: Path, origin: Origin) -> None:
    gateway = start(tmp_path, origin)
    assert post(gateway, json.dumps([REPORT] * 5).encode()).status == 204
    gateway.stop()
    assert sum(each.count for each in read_reports(tmp_path / "state" / FOLDER)) == 5


def test_what_is_no_report_is_refused(gateway: GatewayProcess) -> None:
    for body, fields, status in (
        (b"[]", "Content-Type: text/plain\r\n", 415),
        (b"[]", "", 415),
        (b"not json", NEW, 400),
        (b"", NEW, 400),
        (b" " * (64 * 1024 + 1), NEW, 413),
    ):
        assert post(gateway, body, fields).status == status
    assert post(gateway, b"[]" + b" " * (64 * 1024 - 2)).status == 204
    assert gateway.metric('poruwa_refusals_total{reason="report-type"}') == 2


def test_a_connection_is_kept_and_bodies_may_come_in_pieces(gateway: GatewayProcess) -> None:
    body = json.dumps([REPORT]).encode()
    half = len(body) // 2
    with gateway.connect() as client:
        start_line = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{NEW}"
        client.send(f"{start_line}Transfer-Encoding: chunked\r\n\r\n".encode())
        for part in (body[:half], body[half:]):
            client.send(b"%x\r\n%b\r\n" % (len(part), part))
        client.send(b"0\r\n\r\n")
        assert client.response(b"POST").status == 204
        head = f"{start_line}Expect: 100-continue\r\n"
        client.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        expected = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert client.sock.recv(len(expected), socket.MSG_WAITALL) == expected
        client.send(body)
        assert client.response(b"POST").status == 204


def test_a_client_that_floods_is_held_back_and_others_are_not(gateway: GatewayProcess) -> None:
    statuses = [post(gateway, b"[]").status for _ in range(MAX_PER_CLIENT + 1)]
    assert statuses == [204] * MAX_PER_CLIENT + [429]
    assert post(gateway, b"[]", client="2").status == 204


def test_without_a_policy_the_path_is_like_any_other(tmp_path: Path, origin: Origin) -> None:
    """A plain proxy takes nothing away from what it forwards."""
    gateway = GatewayProcess(tmp_path, "--upstream", origin.address)
    assert post(gateway, b"[]").status == 200
    gateway.stop()
    assert [call.body for call in origin.seen(PATH)] == [b"[]"]
