"""`poruwa up` with WeddingLK's own policy: the walk a visitor takes, and a front tier before it.

The whole stack runs on real parts: embedded database, three instances, gateway (A1, A3, A4, F),
and a rendered HAProxy in front of it that speaks TLS and HTTP/2 (A8).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

POLICY = Path(__file__).parents[2] / "src" / "weddinglk" / "site.toml"
READY_SECONDS = 90.0
HOST = "weddinglk.test"
PAGES = ("/", "/venues?district=Kandy", "/venues/1", "/search?q=beach", "/api/v1/venues")


def site_policy() -> str:
    """Return the site's policy with free ports, a twentieth of the data, and a trusted front."""
    text = POLICY.read_text(encoding="utf-8")
    text = re.sub(r'address = "127\.0\.0\.1:800[01]"', 'address = "127.0.0.1:0"', text)
    text = text.replace("weddinglk.cli:main seed", "weddinglk.cli:main seed --small")
    return text + '\n[trust]\nproxies = ["127.0.0.1"]\n'


class SiteStack:
    """A running `poruwa up`."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.policy = folder / "site.toml"
        self.policy.write_text(site_policy(), encoding="utf-8")
        self._log = (folder / "up.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "poruwa.cli.main", "up", "--policy", str(self.policy),
             "--state", str(self.state), "--workers", "2"],
            cwd=folder, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            text = (folder / "up.log").read_text(errors="replace")
            assert self.process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        path = self.state / "stack.json"
        return path.exists() and bool(self.report()["ready"])

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "stack.json").read_text())
        return found

    @property
    def url(self) -> str:
        return str(self.report()["urls"][0])

    @property
    def address(self) -> str:
        return self.url.partition("://")[2].replace("localhost", "127.0.0.1")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self._log.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteStack]:
    running = SiteStack(tmp_path_factory.mktemp("weddinglk"))
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("language", ["en", "si", "ta"])
@pytest.mark.parametrize("page", PAGES)
def test_pages_answer_in_every_language(stack: SiteStack, page: str, language: str) -> None:
    answer = httpx.get(stack.url + page, headers={"Accept-Language": language}, timeout=20)
    assert answer.status_code == 200
    assert len(answer.headers["x-request-id"]) == 32
    if not page.startswith("/api/"):
        assert answer.headers["content-language"] == language
        assert f'lang="{language}"' in answer.text


def test_an_edit_is_seen_by_the_next_read_of_anybody(stack: SiteStack) -> None:
    """G2, G3: acknowledged means that no worker, instance, page, list or search is older."""
    token = (stack.state / "operator-token").read_text()
    assert (stack.state / "operator-token").stat().st_mode & 0o777 == 0o600
    fields = {
        "Authorization": f"Bearer {token}", "Content-Type": "application/merge-patch+json",
    }  # fmt: skip
    name = httpx.get(f"{stack.url}/api/v1/venues/5", timeout=20).json()["name"]
    for version in range(5):
        taglines = {code: f"{code}xq{version} under the palms" for code in ("en", "si", "ta")}
        answer = httpx.patch(
            f"{stack.url}/api/v1/venues/5", json={"tagline": taglines}, headers=fields, timeout=20
        )
        assert answer.status_code == 200, answer.text
        assert float(answer.headers["poruwa-acknowledged"]) > 0
        assert "-seen=" in answer.headers["set-cookie"]
        for code, tagline in taglines.items():
            paths = [
                f"/{code}/venues/5", f"/{code}/search?q={name}", f"/{code}/compare?venue=5",
                f"/api/v1/venues/5?lang={code}", f"/{code}/search?q={tagline}",
            ]  # fmt: skip
            for path in paths:
                for _ in range(3):  # each on a connection of its own, to whichever worker accepts
                    assert tagline in httpx.get(stack.url + path, timeout=20).text, path
    refused = httpx.patch(
        f"{stack.url}/api/v1/venues/5", json={"name": "Mine"}, timeout=20,
        headers=fields | {"Authorization": "Bearer guessed"},
    )  # fmt: skip
    assert refused.status_code == 401


def test_status_names_every_part_as_ready(stack: SiteStack) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "poruwa.cli.main", "status", "--json", "--state", str(stack.state)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    status = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert status["ready"] is True


@pytest.fixture(scope="module")
def front(stack: SiteStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a rendered HAProxy before the stack's gateway."""
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not installed")
    folder = tmp_path_factory.mktemp("front")
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    certificate = folder / "site.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    configuration = folder / "haproxy.cfg"
    rendered = subprocess.run(
        [sys.executable, "-m", "poruwa.cli.main", "config", "render", "haproxy",
         str(stack.policy), "--https", address, "--http", "none",
         "--certificate", str(certificate), "--gateway", stack.address,
         "--output", str(configuration)],
        capture_output=True, text=True, timeout=30, check=False,
        env=os.environ | {"PORUWA_AFFINITY_KEYS": "k" * 40, "PORUWA_SESSION_KEYS": "s" * 40},
    )  # fmt: skip
    assert rendered.returncode == 0, rendered.stderr
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(configuration)], stdout=log, stderr=log
        )
        try:
            _await_port(address, process)
            yield f"{address} {folder / 'ca.pem'}"
        finally:
            process.terminate()
            process.wait(10)


def _await_port(address: str, process: subprocess.Popen[bytes]) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None, "haproxy ended"
        assert time.monotonic() < deadline, "haproxy did not listen"
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.05)


@pytest.mark.parametrize("page", ["/", "/si/venues/1", "/api/v1/venues"])
def test_rendered_haproxy_serves_the_site_by_tls_and_http2(front: str, page: str) -> None:
    address, authority = front.split()
    context = ssl.create_default_context(cafile=authority)
    with httpx.Client(http2=True, verify=context, timeout=20) as client:
        answer = client.get(
            f"https://{address}{page}",
            headers={"Host": HOST},
            extensions={"sni_hostname": HOST},
        )
    assert (answer.status_code, answer.http_version) == (200, "HTTP/2")


def test_behind_the_front_tier_the_affinity_cookie_is_one_for_secure_origins(front: str) -> None:
    """The gateway believes the trusted hop that the client used https (A4, D1)."""
    address, authority = front.split()
    context = ssl.create_default_context(cafile=authority)
    with httpx.Client(http2=True, verify=context, timeout=20) as client:
        answer = client.post(
            f"https://{address}/nothing-here",
            headers={"Host": HOST},
            extensions={"sni_hostname": HOST},
        )
    cookies = answer.headers.get_list("set-cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == ["__Host-Http-WEDDINGLK_SESSION"]
    assert "Secure" in cookies[0]
    assert "127.0.0.1" not in cookies[0]
