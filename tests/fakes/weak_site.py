"""A small HTTPS site on a thread: a safe one, of which one thing can be made weak."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fakes.authority import HOST, Authority

ETAG = '"1"'
FIELDS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "public, max-age=60",
    "ETag": ETAG,
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "0",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PAGE = '<!doctype html><title>x</title><script src="/site.js" integrity="sha256-AA="></script>'
SESSION = "__Host-session=abc; Path=/; HttpOnly; Secure; SameSite=Lax"


@dataclass
class Asked:
    """A request as a weakness sees it."""

    method: str
    path: str
    fields: dict[str, str]
    status: int


@dataclass
class Answer:
    """What the site is about to answer."""

    fields: list[tuple[str, str]]
    body: str = PAGE

    def set(self, name: str, value: str | None) -> None:
        """Replace a field; None takes it out."""
        self.fields = [each for each in self.fields if each[0] != name]
        if value is not None:
            self.add(name, value)

    def add(self, name: str, value: str) -> None:
        self.fields.append((name, value))


Weakness = Callable[[Asked, Answer], None]


@dataclass(frozen=True)
class WeakSite:
    """Where it listens, ``ADDRESS:PORT``; both are ``weddinglk.test`` to whoever asks."""

    secure: str
    plain: str
    url: str = field(default=f"https://{HOST}/")


def nothing(asked: Asked, answer: Answer) -> None:
    """Leave it safe."""


@contextmanager
def weak_site(
    weakness: Weakness = nothing, *, authority: Authority, redirects: bool = True
) -> Iterator[WeakSite]:
    """Run a site for the length of a block.

    Args:
        authority: signs its certificate.
        redirects: whether plain HTTP leads to HTTPS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate_path, authority.key_path)

    class Secure(_Handler):
        def answer(self) -> None:
            asked = Asked(self.command, self.path, dict(self.headers.items()), self.status())
            answer = Answer(list(FIELDS.items()))
            if self.path == "/":
                answer.set("Cache-Control", "no-store")
                answer.add("Set-Cookie", SESSION)
            weakness(asked, answer)
            self.send(asked.status, answer.fields, answer.body)

    class Plain(Secure):
        def answer(self) -> None:
            if redirects:
                self.send(301, [("Location", f"https://{HOST}{self.path}")], "")
            else:
                super().answer()

    with _serving(Secure, context) as secure, _serving(Plain, None) as plain:
        yield WeakSite(secure, plain)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        raise NotImplementedError

    def status(self) -> int:
        if self.command not in ("GET", "HEAD", "OPTIONS"):
            return 405
        if self.path.startswith("/not-there"):
            return 404
        return 304 if self.headers.get("If-None-Match") == ETAG else 200

    def send(self, status: int, fields: list[tuple[str, str]], body: str) -> None:
        data = b"" if status == 304 else body.encode()
        self.send_response_only(status)
        for name, value in fields:
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.answer()

    do_OPTIONS = do_BREW = do_GET  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def _serving(handler: type[_Handler], context: ssl.SSLContext | None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
