"""``poruwa up`` with WeddingLK at ``https://weddinglk.test``, and clients that find it there.

A test's own authority signs the certificate; no name is looked up: clients connect to 127.0.0.1 and
say the name in TLS and in Host. Two workers, three instances, the site's own policy but for ports,
the amount of data, and the doors of ``checked_site``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx

from fakes.authority import HOST, TRUSTED_SOURCE, Authority
from fakes.raw_client import RawClient
from poruwa.app.security.key_source import SessionKeys
from poruwa.config.load import load_policy
from poruwa.config.model import Policy
from poruwa.rules.session import Claims, SessionRules, decode_claims, encode_claims
from poruwa.stack.session_keys import KeptRing

POLICY = Path(__file__).parents[2] / "src" / "weddinglk" / "site.toml"
SESSION = "__Host-Http-weddinglk.session-token"
AFFINITY = "__Host-Http-WEDDINGLK_SESSION"
KEYS = "PORUWA_SESSION_KEYS"
DAY = 86_400
INSTANCES = 3
READY_SECONDS = 120.0
LONG_ENOUGH_SECONDS = 30.0
STOP_SECONDS = 45.0

_LISTENERS = """
tls = { certificate = "server.pem", key = "server.key" }

[listeners.plain]
address = "127.0.0.1:0"
"""
_FURTHER = f"""
[trust]
proxies = ["{TRUSTED_SOURCE}"]

[cookies.named.theme]
max_age = "365d"
http_only = false

[[routes]]
name = "json-door"
path = "/doors/json"
pool = "app"
accepts = ["application/json"]

[rate_limits.door]
requests = 6
window = "1h"

[[routes]]
name = "limited-door"
path = "/doors/limited"
pool = "app"
rate_limit = "door"
"""


def stack_policy(*further: str) -> str:
    """Return the site's policy for the TLS stack; ``further`` parts come at its end."""
    text = POLICY.read_text(encoding="utf-8")
    for pattern, wanted in (
        (r'^domain = "localhost"', f'domain = "{HOST}"'),
        (r'^address = "127\.0\.0\.1:8000"', 'address = "127.0.0.1:0"' + _LISTENERS),
        (r'^address = "127\.0\.0\.1:8001"', 'address = "127.0.0.1:0"'),
        (r'^application = "weddinglk\.app:app"', 'application = "checked_site:app"'),
        (r"weddinglk\.cli:main seed", "weddinglk.cli:main seed --small"),
    ):
        text, count = re.subn(pattern, wanted, text, flags=re.MULTILINE)
        assert count == 1, f"{pattern} stands {count} times in {POLICY}"
    return "\n".join((text, _FURTHER, *further))


class TlsStack:
    """A running stack.

    Attributes:
        origin: ``https://weddinglk.test:PORT``; plain: of the listener without TLS.
        context: trusts the test's authority.
    """

    def __init__(self, folder: Path, *further: str) -> None:
        self.folder, self.state = folder, folder / "state"
        self.authority = Authority(folder)
        self.context = self.authority.context
        self.policy_path = folder / "site.toml"
        self.policy_path.write_text(stack_policy(*further), encoding="utf-8")
        self.log_path = folder / "up.log"
        paths = [str(Path(__file__).parent), *filter(None, (os.environ.get("PYTHONPATH"),))]
        self.environ = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        self._log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            [*self._command("up"), "--policy", str(self.policy_path),
             "--state", str(self.state), "--workers", "2"],
            cwd=folder, env=self.environ,
            stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            self.until(self._is_ready, "the stack", READY_SECONDS)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        secure, plain = (
            next(url for url in self.report()["urls"] if url.startswith(scheme + "://"))
            for scheme in ("https", "http")
        )
        self.port = int(secure.rpartition(":")[2])
        self.plain_port = int(plain.rpartition(":")[2])
        self.origin = f"https://{HOST}:{self.port}"
        self.plain = f"http://{HOST}:{self.plain_port}"
        self._client = self.client(keeps_cookies=False)
        self._instances = [self._instance_client(n) for n in range(1, INSTANCES + 1)]

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "poruwa.cli.main", *arguments]

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.log()
        path = self.state / "stack.json"
        return path.exists() and bool(self.report()["ready"])

    def stop(self) -> int:
        """Stop as Ctrl-C does; return the exit code."""
        for client in (self._client, *self._instances):
            client.close()
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self._log.close()

    # Looking in.

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "stack.json").read_text())
        return found

    def log(self) -> str:
        """Return what the stack and its instances said."""
        return self.log_path.read_text(errors="replace")

    @property
    def password(self) -> str:
        """Of the accounts that the seed made."""
        return (self.state / "seed-password").read_text().strip()

    def access_log(self) -> str:
        return (self.state / "logs" / "access.log").read_text(errors="replace")

    def until(
        self, condition: Callable[[], object], what: str, seconds: float = LONG_ENOUGH_SECONDS
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}: {self.log()[-3000:]}"
            time.sleep(0.05)

    def run(self, *arguments: str, operands: Sequence[str] = ()) -> str:
        """Run a verb of ``poruwa`` on the stack; return what it printed."""
        done = subprocess.run(
            [*self._command(*arguments), "--state", str(self.state), "--", *operands],
            cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # Asking.

    def client(self, *, keeps_cookies: bool = True) -> httpx.Client:
        """Return a browser's likeness: it keeps cookies or has none at all."""
        jar = CookieJar(None if keeps_cookies else DefaultCookiePolicy(allowed_domains=[]))
        return httpx.Client(
            base_url=self.origin, cookies=jar, timeout=30, transport=_Loopback(verify=self.context)
        )

    def async_client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None)
        transport = _AsyncLoopback(verify=self.context, limits=limits)
        return httpx.AsyncClient(base_url=self.origin, timeout=60, transport=transport)

    def _instance_client(self, number: int) -> httpx.Client:
        path = self.state / "run" / f"app.{number}.sock"
        assert path.exists(), f"the instances' sockets are not below {self.state}"
        return httpx.Client(
            base_url=f"http://{HOST}:{self.port}",
            headers={"X-Forwarded-Proto": "https"},
            transport=httpx.HTTPTransport(uds=str(path)),
            timeout=30,
        )

    def raw(self, source: str | None = None) -> RawClient:
        """Return a connection, from a loopback address, that sends the very bytes it is given."""
        return RawClient(f"127.0.0.1:{self.port}", tls=self.context, timeout=30, source=source)

    def get(
        self, path: str, token: str | None = None, fields: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Ask as somebody with a session's cookie, or without any."""
        return self._client.get(path, headers=self._fields(token, fields))

    def post(
        self,
        path: str,
        token: str | None = None,
        fields: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        content: bytes = b"",
    ) -> httpx.Response:
        """Send what a form of the site's own sends; ``fields`` replace what a browser says."""
        said = self._fields(token, {"Origin": self.origin} if fields is None else fields)
        return self._client.request(method, path, headers=said, content=content)

    def _fields(self, token: str | None, fields: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**({} if token is None else {"Cookie": f"{SESSION}={token}"}), **(fields or {})}

    # Sessions.

    def sign_in(self, user: str, token: str | None = None, level: int = 0) -> str:
        """Sign somebody in, in a browser that has ``token``; return the session's new token."""
        response = self.post(f"/doors/sign-in?user={user}&level={level}", token)
        assert response.status_code == 200, response.text
        return token_of(response)

    def who(self, token: str) -> set[str | None]:
        """Return whom a token signs in, by the gateway and by each instance."""
        said = self._fields(token)
        answers = [
            client.get("/doors/me", headers=said) for client in (self._client, *self._instances)
        ]
        assert {each.status_code for each in answers} == {200}, [each.text for each in answers]
        return {each.json().get("user") for each in answers}

    def instance(self, number: int) -> httpx.Client:
        """Return a client of one instance, past the gateway; the first is 1."""
        return self._instances[number - 1]

    def until_certain(self) -> None:
        """Wait until each instance knows its list of revocations to be whole."""

        def is_certain() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return all(each.get("/doors/certain").text == "yes" for each in self._instances)
            return False

        self.until(is_certain, "the instances to be sure")

    @property
    def policy(self) -> Policy:
        secrets = (self.state / "secrets").read_text().splitlines()
        known = dict(line.split("=", 1) for line in secrets)
        return load_policy(self.policy_path, environ=os.environ | known)

    @property
    def ring(self) -> KeptRing:
        return KeptRing(self.state, KEYS)

    @property
    def keys(self) -> SessionKeys:
        """What seals and opens the stack's tokens, as of now."""
        return SessionKeys(lambda: self.ring.read().text())

    def rules(self) -> SessionRules:
        return SessionRules.of(self.policy.session, "weddinglk")

    def claims(self, token: str) -> Claims:
        opened = self.keys.sealer.open(token.encode())
        assert opened is not None
        claims = decode_claims(opened[0])
        assert claims is not None
        return claims

    def seal(self, claims: Claims) -> str:
        return self.keys.sealer.seal(encode_claims(claims)).decode()

    def token(self, user: str, *, days_ago: float = 0, **changes: Any) -> str:
        """Return the token that somebody who signed in so long ago would have now."""
        began = int(time.time() - days_ago * DAY)
        stated: dict[str, Any] = {
            "session_id": os.urandom(16),
            "user_id": user,
            "audience": "weddinglk",
            "started_at": began,
            "authenticated_at": began,
            "issued_at": began,
            "expires_at": began + 30 * DAY,
        }
        return self.seal(Claims(**{**stated, **changes}))


def lines_of(response: httpx.Response) -> list[str]:
    """Return the values of a response's Set-Cookie lines."""
    return list(response.headers.get_list("set-cookie"))


def token_of(response: httpx.Response) -> str:
    """Return the session's token that a response sets."""
    (token,) = tokens_of(response)
    return token


def tokens_of(response: httpx.Response) -> list[str]:
    pairs = (line.partition(";")[0].partition("=") for line in lines_of(response))
    return [value for name, _, value in pairs if name == SESSION]


def _to_loopback(request: httpx.Request) -> httpx.Request:
    """Return the same request to 127.0.0.1; what it says of the host stays."""
    extensions = {**request.extensions, "sni_hostname": HOST}
    return httpx.Request(
        request.method,
        request.url.copy_with(host="127.0.0.1"),
        headers=request.headers,
        stream=request.stream,
        extensions=extensions,
    )


class _Loopback(httpx.HTTPTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return super().handle_request(_to_loopback(request))


class _AsyncLoopback(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await super().handle_async_request(_to_loopback(request))


@contextlib.contextmanager
def running_stack(folder: Path, *further: str) -> Iterator[TlsStack]:
    """Run a stack for the length of a block; it must end well."""
    stack = TlsStack(folder, *further)
    try:
        yield stack
    finally:
        code = stack.stop()
    assert code == 0, stack.log()[-3000:]
