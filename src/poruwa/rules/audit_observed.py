"""What an audit fetched of a site, and the reading of it: cookies, HSTS, policies, scripts.

HTML is read with the standard library, for its script elements alone. No sockets: ``cli.audit``
fetches, ``rules.audit`` judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser

from poruwa.rules.csp import Directives, parse_csp


@dataclass(frozen=True, slots=True)
class Observed:
    """One response.

    Attributes:
        url: that was asked for.
        status: 100 to 599.
        fields: names in lower case and values, in order.
        body: as text; empty for what is not looked at.
        is_verified: whether its certificate is good; True without TLS.
    """

    url: str
    status: int
    fields: tuple[tuple[str, str], ...]
    body: str = ""
    is_verified: bool = True

    def all_of(self, name: str) -> list[str]:
        """Return the values of the fields of a name."""
        return [value for each, value in self.fields if each == name]

    def first(self, name: str) -> str | None:
        """Return the first value of a name, without blanks around it."""
        values = self.all_of(name)
        return values[0].strip() if values else None

    @property
    def is_secure(self) -> bool:
        return self.url.startswith("https:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Everything that an audit fetched.

    Attributes:
        page: the page, after redirections.
        redirections: over plain HTTP, from the first request to where it led; empty where nothing
            answers there.
        robots: the answer for ``/robots.txt``.
        preflight: to a CORS preflight from a foreign origin.
        others: further answers that must carry the same fields: not found, not modified, a file.
    """

    page: Observed
    redirections: Sequence[Observed] = ()
    robots: Observed | None = None
    preflight: Observed | None = None
    others: Sequence[Observed] = ()

    @property
    def responses(self) -> Iterator[Observed]:
        yield self.page
        yield from (each for each in (self.robots, self.preflight) if each is not None)
        yield from self.others


@dataclass(frozen=True, slots=True)
class SetCookie:
    """A cookie as it was set."""

    name: str
    size: int
    is_secure: bool
    is_http_only: bool
    same_site: str | None
    has_domain: bool


def cookies_of(response: Observed) -> list[SetCookie]:
    """Return the cookies that a response sets."""
    cookies = []
    for line in response.all_of("set-cookie"):
        pair, *rest = (part.strip() for part in line.split(";"))
        attributes = {
            name.strip().lower(): value.strip()
            for name, _, value in (part.partition("=") for part in rest)
        }
        name, _, value = pair.partition("=")
        cookies.append(
            SetCookie(
                name=name,
                size=len(name) + len(value),
                is_secure="secure" in attributes,
                is_http_only="httponly" in attributes,
                same_site=attributes.get("samesite"),
                has_domain=bool(attributes.get("domain")),
            )
        )
    return cookies


def hsts_of(response: Observed) -> tuple[int, bool, bool] | None:
    """Return seconds, whether subdomains and preloading are named; None for what is no HSTS."""
    value = response.first("strict-transport-security")
    if value is None:
        return None
    parts = [part.strip().lower() for part in value.split(";")]
    ages = [part.partition("=")[2].strip('" ') for part in parts if part.startswith("max-age")]
    if len(ages) != 1 or not ages[0].isdigit():
        return None
    return int(ages[0]), "includesubdomains" in parts, "preload" in parts


def page_policy(page: Observed) -> Directives | None:
    """Return the policy that holds for a page; None without one.

    Of several, which a browser all enforces, a source counts where each of them allows it.

    Raises:
        ValueError: one of them cannot be read.
    """
    merged: dict[str, tuple[str, ...]] | None = None
    for header in page.all_of("content-security-policy"):
        for text in header.split(","):
            directives = parse_csp(text.lower())
            if not directives:
                raise ValueError("an empty policy")
            if merged is None:
                merged = dict(directives)
                continue
            for name, values in directives.items():
                present = merged.get(name)
                if present is not None:
                    values = tuple(each for each in values if each in present) or ("'none'",)
                merged[name] = values
    return merged


class Scripts(HTMLParser):
    """Collects script elements: their ``src`` (None for inline ones) and ``integrity``."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str | None, str | None]] = []
        self.handlers: list[str] = []  # event handlers in the markup, of any element

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "script" and attributes.get("type") != "application/ld+json":
            self.found.append((attributes.get("src"), attributes.get("integrity")))
        self.handlers += [name for name in attributes if name.startswith("on")]


def scripts_of(page: Observed) -> Scripts:
    scripts = Scripts()
    if (page.first("content-type") or "text/html").startswith(("text/html", "application/xhtml")):
        scripts.feed(page.body)
    return scripts
