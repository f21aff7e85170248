"""What texts in the policy may look like: one entry per ``Setting.form``.

Each form has a check, which returns nothing or raises ``ValueError`` saying what is wrong, and
words that say what is allowed. No file is opened and no name resolved.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from poruwa.config.address import parse_address

# RFC 9110 section 5.6.2: names of methods, header fields and (RFC 6265 section 4.1.1) cookies.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*)"
# RFC 3986 section 3.3, without percent-encoded control characters.
_PATH_CHARACTERS = r"[A-Za-z0-9._~!$&'()+,;=:@%-]"
_SEGMENT = rf"(?:\{{[a-z_][a-z0-9_]*\}}|{_PATH_CHARACTERS})+"


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of text."""

    allowed: str
    check: Callable[[str], None]


def _pattern(regex: str, allowed: str, example: str) -> Form:
    compiled = re.compile(regex)

    def check(text: str) -> None:
        if compiled.fullmatch(text) is None:
            raise ValueError(f"{text!r} is not {allowed}; write e.g. {example}")

    return Form(allowed, check)


def _one_of(*values: str) -> Form:
    allowed = " or ".join(f'"{value}"' for value in values)

    def check(text: str) -> None:
        if text not in values:
            raise ValueError(f"{text!r} is not allowed; write {allowed}")

    return Form(allowed, check)


def _check_address(text: str) -> None:
    parse_address(text)


def _check_upstream(text: str) -> None:
    address = parse_address(text)
    if not address.path and (not address.host or not address.port):
        raise ValueError(f'{text!r} names no host and port to connect to; write e.g. "app1:3000"')


def _check_resolver(text: str) -> None:
    address = parse_address(text)
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        raise ValueError(
            f"{text!r} is not the IP address and port of a DNS server, which a name would be "
            'needed to find; write e.g. "127.0.0.1:8600"'
        ) from None
    if not address.port:
        raise ValueError(f"{text!r} has port 0; DNS servers listen on 53, Consul on 8600")


def _check_network(text: str) -> None:
    if text == "unix":
        return
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is not an address or network ({error}); write e.g. "
            '"10.0.0.0/8", "2001:db8::/32" or "unix"'
        ) from None


def _check_host_port(text: str) -> None:
    host, colon, port = text.rpartition(":")
    if text.startswith("["):
        parse_address(text if colon and not text.endswith("]") else f"{text}:80")
        return
    if colon and (not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536):
        raise ValueError(f'{text!r} is not a host; write e.g. "www.example.lk" or "localhost:8000"')
    name = host if colon else text
    if re.fullmatch(_HOST, name) is None:
        raise ValueError(f'{text!r} is not a host; write e.g. "www.example.lk" or "localhost:8000"')


def _check_host_pattern(text: str) -> None:
    _check_host_port(text[2:] if text.startswith("*.") else text)


def _split_url(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:  # e.g. half an IPv6 address
        return SplitResult("", "", "", "", "")


def _check_url(text: str) -> None:
    parts = _split_url(text)
    is_printable = re.search(r'[\x00-\x20"<>\x7f]', text) is None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not is_printable:
        raise ValueError(f'{text!r} is not a URL; write e.g. "https://example.lk/path"')


def _check_origin(text: str) -> None:
    if text == "*":
        return
    parts = _split_url(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f'{text!r} is not an origin; write e.g. "https://example.lk" or "*"')
    if parts.path or parts.query or parts.fragment or parts.username:
        origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        raise ValueError(
            f'{text!r} is more than an origin; write "{origin}", without path or slash'
        )


_ROUTE_PATH = re.compile(rf"(?:/{_SEGMENT})*(?:/\*|/)?")


def _check_route_path(text: str) -> None:
    if not text.startswith("/"):
        raise ValueError(f'{text!r} does not start with a slash; write "/{text}"')
    if "*" in text[:-1] or (text.endswith("*") and not text.endswith("/*")):
        raise ValueError(
            f'{text!r} has a * elsewhere than in a last "/*"; write {{name}} for a segment'
        )
    if "//" in text or _ROUTE_PATH.fullmatch(text) is None:
        raise ValueError(
            f'{text!r} is not a path; write e.g. "/venues", "/venues/{{id}}" or "/static/*"'
        )
    names = re.findall(r"\{([^}]*)\}", text)
    if len(set(names)) != len(names):
        raise ValueError(f"{text!r} uses a name twice; give each segment its own")


def _check_redirect(text: str) -> None:
    if text.startswith("//") or not text.startswith(("/", "http://", "https://", "{path}")):
        raise ValueError(f'{text!r} is not a target; write a path, "/new/{{id}}", or a whole URL')
    if re.search(r"[\x00-\x20\x7f]", text):
        raise ValueError(f"{text!r} holds white space or a control character; percent-encode it")


_PERMISSION = r"[a-z-]+=(?:\*|self|\([A-Za-z0-9 \":/.*_-]*\))"
_HASH_KEY = rf"client|path|(?:header|cookie):{_TOKEN}"
_REFERRER_POLICIES = (
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
)


def _check_csp(text: str) -> None:
    if re.search(r"[\x00-\x1f\x7f-\uffff]", text):
        raise ValueError("the policy holds characters that a header cannot; write plain ASCII")
    if "'unsafe-inline'" in text or "'unsafe-eval'" in text:
        word = "'unsafe-inline'" if "'unsafe-inline'" in text else "'unsafe-eval'"
        raise ValueError(
            f"{word} gives up the protection; leave it out: "
            "hashes of inline blocks are added for you"
        )


FORMS: dict[str, Form] = {
    "": Form("text", lambda text: None),
    "address": Form('"host:port", "[::1]:port", ":port" or "unix:/path"', _check_address),
    "upstream": Form('"host:port", "[::1]:port" or "unix:/path"', _check_upstream),
    "resolver": Form('"IP-address:port"', _check_resolver),
    "network-or-unix": Form('an address, a network or "unix"', _check_network),
    "name": _pattern(
        r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "a name of letters, digits and - _ .", '"app"'
    ),
    "build": _pattern(
        r"[A-Za-z0-9._+-]{1,64}", "a version of letters, digits and . _ + -", '"v12"'
    ),
    "token": _pattern(_TOKEN, "a name that a header can hold (RFC 9110 token)", '"theme"'),
    "header": _pattern(_TOKEN, "the name of a header field", '"X-Request-Id"'),
    "media-type": _pattern(
        rf"{_TOKEN}/{_TOKEN}", "a media type without parameters", '"application/json"'
    ),
    "method": _pattern(r"[A-Z][A-Z0-9-]*", "a method in capitals", '"GET"'),
    "query-name": _pattern(r"[^\s&=#?%]+", "the name of a query parameter", '"district"'),
    "host-port": Form("a host, with a port where it is not the usual one", _check_host_port),
    "host-pattern": Form('a host or "*.host"', _check_host_pattern),
    "domain": _pattern(rf"\.?{_HOST}", "a domain", '".example.lk"'),
    "url": Form("an http or https URL", _check_url),
    "origin": Form('an origin, "https://host[:port]", or "*"', _check_origin),
    "path": _pattern(r"[^\0]+", "a path of the file system", '"state"'),
    "file-path": _pattern(r"[^\0]+", "a path, relative to the policy file", '"tls/site.pem"'),
    "file-name": _pattern(r"[^\0/]+", "a file name", '"index.html"'),
    "path-absolute": _pattern(
        rf"/(?:{_PATH_CHARACTERS}|/)*(?:\?{_PATH_CHARACTERS}*)?", "a path that starts with /", '"/"'
    ),
    "route-path": Form('a path, with {name} for a segment or "/*" at its end', _check_route_path),
    "rewrite": _pattern(
        rf"/(?:{_PATH_CHARACTERS}|/|\{{[a-z_][a-z0-9_]*\}})*", "a path template", '"/v1/{rest}"'
    ),
    "redirect": Form("a path or URL", _check_redirect),
    "call": _pattern(
        r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(?: [\w./:=@%+-]+)*",
        "module:attribute, with arguments after blanks",
        '"weddinglk.cli:main seed"',
    ),
    "import-path": _pattern(
        r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", "module:attribute", '"weddinglk.app:app"'
    ),
    "hash-key": _pattern(_HASH_KEY, "client, path, header:NAME or cookie:NAME", '"client"'),
    "tag": _pattern(
        r"[A-Za-z0-9_.-]+(?::(?:\{[a-z_][a-z0-9_]*\}|[A-Za-z0-9_.-]+))*",
        "a tag",
        '"venues" or "venue:{venue_id}"',
    ),
    "watch-tag": _pattern(
        r"[A-Za-z0-9_.-]+(?::(?:\{[A-Za-z_][A-Za-z0-9_.-]*\}|[A-Za-z0-9_.-]+))*",
        "a tag over a document's fields",
        '"venues" or "venue:{_id}"',
    ),
    "nosniff": _one_of("nosniff"),
    "frame-options": _one_of("DENY", "SAMEORIGIN"),
    "xss-protection": _one_of("0", "1; mode=block"),
    "referrer-policy": _one_of(*_REFERRER_POLICIES),
    "permissions-policy": _pattern(
        rf"{_PERMISSION}(?:, *{_PERMISSION})*",
        "a list of features, each with who may use it",
        '"camera=(), geolocation=(self)"',
    ),
    "coop": _one_of("same-origin", "same-origin-allow-popups", "unsafe-none"),
    "coep": _one_of("require-corp", "credentialless", "unsafe-none"),
    "corp": _one_of("same-origin", "same-site", "cross-origin"),
    "csp": Form("a Content-Security-Policy", _check_csp),
}


def check_status(value: int | str) -> None:
    """Check one entry of an expected-status list: 100-599 or a class such as ``"2xx"``.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, str):
        if re.fullmatch(r"[1-5]xx", value) is None:
            raise ValueError(f'{value!r} is not a status; write e.g. 200 or "2xx"')
    elif not 100 <= value <= 999:
        raise ValueError(f'{value} is not a status; write e.g. 200 or "2xx"')


def check_redirect_status(value: int) -> None:
    """Check the status of a redirect.

    Raises:
        ValueError: not 301, 302, 303, 307 or 308.
    """
    if value not in {301, 302, 303, 307, 308}:
        raise ValueError(f"{value} does not redirect; write 301, 302, 303, 307 or 308")
