"""The gateway's own answers: what a client sees when there is no response to pass on.

Complete HTTP/1.1 responses, HTML for people and problem+json (RFC 9457) for programs, by Accept.
They say what happened in plain words and the request id to quote; never a stack trace, a version
or an address of ours. Never stored. Anything more (an application's own error pages) passes
through the gateway untouched and has nothing to do with this.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import escape
from typing import NamedTuple

import msgspec

from poruwa.config.model_security import NO_HEADERS, Headers
from poruwa.rules.security_headers import SecurityFields, combine


class _Words(NamedTuple):
    reason: str  # the reason phrase, also the title
    said: str  # what happened and what can be done, for a person


_COOKIES = "Your browser sent more header data than fits, which is nearly always too many cookies."
WORDS = {
    400: _Words("Bad Request", "The request could not be understood."),
    403: _Words("Forbidden", "This request is not allowed."),
    404: _Words("Not Found", "There is nothing at this address."),
    405: _Words("Method Not Allowed", "This address does not accept that kind of request."),
    408: _Words("Request Timeout", "The request took too long to arrive. Please try again."),
    411: _Words("Length Required", "The request must state how long its body is."),
    413: _Words("Content Too Large", "What was sent is larger than this site accepts."),
    414: _Words("URI Too Long", "The address is longer than this site accepts."),
    415: _Words("Unsupported Media Type", "This address does not accept that type of content."),
    417: _Words("Expectation Failed", "The request expects what this site does not offer."),
    421: _Words("Misdirected Request", "This site is not served here."),
    426: _Words("Upgrade Required", "This address needs another protocol."),
    429: _Words("Too Many Requests", "Too many requests in a short time. Please wait a little."),
    431: _Words(
        "Request Header Fields Too Large",
        f"{_COOKIES} The site has asked for them to be cleared; please load the page again.",
    ),
    500: _Words("Internal Server Error", "Something went wrong on our side."),
    501: _Words("Not Implemented", "This site does not know that kind of request."),
    502: _Words("Bad Gateway", "The site gave an answer we could not use. Please try again soon."),
    503: _Words("Service Unavailable", "The site is busy or being updated. Please try again soon."),
    504: _Words("Gateway Timeout", "The site took too long to answer. Please try again soon."),
    505: _Words("HTTP Version Not Supported", "This site speaks HTTP/1.1."),
}

_STYLE = (
    ":root{color-scheme:light dark}"
    "*{box-sizing:border-box}"
    "body{margin:0;min-height:100vh;display:grid;place-items:center;padding:2rem;"
    "font:1.0625rem/1.6 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif;"
    "background:#faf7f2;color:#2b2522}"
    "main{max-width:34rem;width:100%;padding:2.5rem;background:#fff;border-radius:1rem;"
    "border-top:.3rem solid #b4532a;box-shadow:0 1px 2px #0001,0 12px 32px #0000000f}"
    "p{margin:.75rem 0}"
    ".status{margin:0;font-weight:600;letter-spacing:.08em;color:#9a431f}"
    "h1{margin:.25rem 0 1rem;font-size:1.75rem;line-height:1.25;text-wrap:balance}"
    ".id{margin:2rem 0 0;font-size:.875rem;color:#6b605a}"
    "code{font-family:ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:dark){body{background:#191614;color:#efe8e2}"
    "main{background:#24201d;border-top-color:#e08a5b;box-shadow:none}"
    ".status{color:#f0a37a}.id{color:#b3a79f}}"
)
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_CSP_HTML = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_CSP_JSON = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_FIXED_LINES = ("Cache-Control: no-store", "Vary: Accept")
_REFERRER = "strict-origin-when-cross-origin"
_ID_MARK = b"@request-id@"
_ID_LINE = b'<p class="id">Request <code>@</code></p>\n'
_RANGE = re.compile(
    rb"\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)\s*(?:;(.*))?", re.DOTALL
)
_QUALITY = re.compile(rb"(?:.*;)?\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;.*)?", re.I | re.DOTALL)
_HTML_RANGES = {b"text/html": 3, b"application/xhtml+xml": 3, b"text/*": 2, b"*/*": 1}
_JSON_RANGES = {
    b"application/problem+json": 3,
    b"application/json": 3,
    b"application/*": 2,
    b"*/*": 1,
}


class ErrorFields:
    """Security fields of error pages: the policy's, and never less than without one.

    The pages' own Content-Security-Policy stands alone, as they load nothing at all.

    Args:
        section: of the policy, or what a route makes of it.
        domain, report_path: as for ``SecurityFields``.
    """

    __slots__ = ("_html", "_json")

    def __init__(self, section: Headers, *, domain: str, report_path: str | None) -> None:
        referrer = section.referrer_policy
        section = replace(
            section,
            content_type_options="nosniff",
            frame_options="DENY",
            referrer_policy=combine(b"referrer-policy", _REFERRER, referrer or _REFERRER)[0],
        )
        self._html, self._json = [
            SecurityFields(
                replace(section, content_security_policy=policy),
                domain=domain,
                report_path=report_path,
            )
            for policy in (_CSP_HTML, _CSP_JSON)
        ]

    def lines(self, *, is_html: bool, is_secure: bool) -> bytes:
        """Return the lines, each with its CRLF; ``is_secure`` as for ``SecurityFields.lines``."""
        return (self._html if is_html else self._json).lines(is_secure=is_secure)


def error_response(
    status: int,
    *,
    accept: bytes,
    request_id: bytes,
    head_only: bool,
    keep_alive: bool,
    date: bytes,
    retry_after: int | None = None,
    extra_lines: bytes = b"",
    security: ErrorFields | None = None,
    is_secure: bool = False,
) -> bytes:
    """Return a complete HTTP/1.1 response that explains ``status``.

    Args:
        status: 400-599; one without words of its own is explained by its class.
        accept: the request's Accept, its lines joined by ``", "``; empty if absent or never read.
        request_id: shown to the person and sent as X-Request-Id; empty if there is none.
        head_only: whether the request was HEAD: all fields, no body.
        keep_alive: False adds ``Connection: close``.
        date: value of the Date field.
        retry_after: seconds, for 429 and 503.
        extra_lines: further complete header lines (Allow, Upgrade, CORS), each with CRLF.
        security: the policy's security fields; None for those that a page never goes without.
        is_secure: whether HSTS may be among them.

    A 431 also asks the browser to clear the site's cookies: else it could never come back.
    """
    words = WORDS.get(status) or _Words("Error", WORDS[500 if status >= 500 else 400].said)
    shown_id = _printable(request_id)
    is_html = prefers_html(accept)
    body = _html_body(status, words, shown_id) if is_html else _json_body(status, words, shown_id)
    lines = [
        f"HTTP/1.1 {status} {words.reason}",
        f"Date: {date.decode('latin-1')}",
        f"Content-Type: {'text/html; charset=utf-8' if is_html else 'application/problem+json'}",
        f"Content-Length: {len(body)}",
        *_FIXED_LINES,
    ]
    if shown_id:
        lines.append(f"X-Request-Id: {shown_id}")
    if retry_after is not None:
        lines.append(f"Retry-After: {retry_after}")
    if status == 431:
        lines.append('Clear-Site-Data: "cookies"')
    if not keep_alive:
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n").encode("latin-1") + extra_lines
    head += (security or _WITHOUT_POLICY).lines(is_html=is_html, is_secure=is_secure) + b"\r\n"
    return head if head_only else head + body


def prefers_html(accept: bytes) -> bool:
    """Whether a client that sent ``accept`` is better served with HTML than with problem+json.

    By quality, then by how precisely each is named (RFC 9110 section 12.5.1); HTML on a tie, so
    also for ``*/*``, nothing at all, and what accepts neither.
    """
    html, json = (0.0, 0), (0.0, 0)
    for item in accept.split(b",")[:32]:
        match = _RANGE.fullmatch(item)
        if match is None:
            continue
        name = match[1].lower()
        quality = 1.0
        if match[2]:
            stated = _QUALITY.fullmatch(match[2])
            quality = min(1.0, float(stated[1])) if stated else 1.0
        # The most precise range that names a type decides its quality, not the highest quality.
        if _HTML_RANGES.get(name, 0) > html[1]:
            html = (quality, _HTML_RANGES[name])
        if _JSON_RANGES.get(name, 0) > json[1]:
            json = (quality, _JSON_RANGES[name])
    return html >= json


def _html_body(status: int, words: _Words, shown_id: str) -> bytes:
    page = (_PAGES.get(status) or _page(status, words)).encode()
    id_line = _ID_LINE.replace(b"@", escape(shown_id).encode()) if shown_id else b""
    return page.replace(_ID_MARK, id_line)


def _json_body(status: int, words: _Words, shown_id: str) -> bytes:
    problem: dict[str, str | int] = {
        "title": words.reason,
        "status": status,
        "detail": words.said,
    }
    if shown_id:
        problem["request_id"] = shown_id
    return msgspec.json.encode(problem)


def _page(status: int, words: _Words) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="robots" content="noindex">\n'
        f"<title>{words.reason}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<p class="status">{status}</p>\n<h1>{words.reason}</h1>\n<p>{words.said}</p>\n'
        f"{_ID_MARK.decode()}</main>\n</body>\n</html>\n"
    )


_PAGES = {status: _page(status, words) for status, words in WORDS.items()}


def _printable(request_id: bytes) -> str:
    text = request_id.decode("latin-1")
    return text if text.isascii() and text.isprintable() else ""


_WITHOUT_POLICY = ErrorFields(NO_HEADERS, domain="localhost", report_path=None)
