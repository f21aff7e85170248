"""The policy's sections on people: cookies, sessions, CSRF, headers, limits, sign-in, consent."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from poruwa.config.setting import SESSIONS, Secret, Setting

DAY = 86_400


class SameSite(StrEnum):
    """The SameSite attribute."""

    STRICT = "strict"
    LAX = "lax"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """A cookie of the site, beside those of sessions and affinity."""

    name: Annotated[
        str, Setting(form="token", why="Without prefix; the prefix follows from scope.")
    ]
    http_only: Annotated[bool, Setting(why="Out of reach of scripts.")] = True
    same_site: Annotated[SameSite | None, Setting(why="Default: cookies.same_site.")] = None
    secure: Annotated[bool, Setting(why="Only over TLS (and localhost).")] = True
    path: Annotated[str, Setting(form="path-absolute", why="Where it is sent.")] = "/"
    domain: Annotated[
        str | None,
        Setting(form="domain", why="Default: cookies.domain."),
    ] = None
    max_age_seconds: Annotated[
        float,
        Setting(
            least=1,
            most=400 * DAY,
            zero="until the browser closes",
            why="Browsers cap it at 400 days.",
        ),
    ] = 0.0
    partitioned: Annotated[
        bool, Setting(why="One jar per embedding site (CHIPS); needs secure.")
    ] = False
    essential: Annotated[
        bool, Setting(brings=SESSIONS, why="Others wait for consent (GDPR, CCPA).")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookies:
    """What all cookies of the site have in common."""

    domain: Annotated[
        str | None,
        Setting(
            form="domain",
            why="Host-only __Host- names by default; a domain means __Secure- names that every "
            "subdomain may read and overwrite.",
        ),
    ] = None
    same_site: Annotated[SameSite, Setting(why="strict where links may lose it.")] = SameSite.LAX
    named: Annotated[
        tuple[Cookie, ...], Setting(keyed=True, why="Cookies that the site sets, by name.")
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who somebody is, in an encrypted cookie."""

    cookie: Annotated[
        str, Setting(form="token", why="Without prefix; __Host-Http- by default.")
    ] = "poruwa.session-token"
    keys: Annotated[
        Secret | None,
        Setting(why="Key ring, comma separated, newest last."),
    ] = None
    same_site: Annotated[
        SameSite,
        Setting(why="lax: links from mail and search keep people signed in."),
    ] = SameSite.LAX
    path: Annotated[str, Setting(form="path-absolute", why="The whole site.")] = "/"
    max_age_seconds: Annotated[
        float,
        Setting(least=60, most=400 * DAY, why="Without a visit for so long."),
    ] = 30.0 * DAY
    rolling: Annotated[bool, Setting(why="Visits extend it.")] = True
    renew_before_seconds: Annotated[
        float, Setting(least=0, most=400 * DAY, why="Renewed in this last part.")
    ] = 7.0 * DAY
    update_every_seconds: Annotated[
        float, Setting(least=0, most=400 * DAY, why="Written at most so often.")
    ] = 1.0 * DAY
    longest_seconds: Annotated[
        float,
        Setting(least=60, most=400 * DAY, why="Then one signs in again, always."),
    ] = 90.0 * DAY
    validate: Annotated[
        bool, Setting(why="Every private request: signature, expiry, revocation.")
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Csrf:
    """Requests that change something must come from the site's own pages."""

    enabled: Annotated[bool, Setting(why="Only an API without cookies needs none.")] = True
    token_length: Annotated[
        int,
        Setting(least=32, most=128, unit="characters", why="160 bits and more."),
    ] = 32
    rotation_seconds: Annotated[
        float,
        Setting(least=60, most=7 * DAY, why="Older ones of the session stay valid."),
    ] = 3600.0
    header: Annotated[str, Setting(form="header", why="Where scripts put the token.")] = (
        "X-CSRF-Token"
    )
    field_name: Annotated[str, Setting(form="token", why="Where forms put the token.")] = (
        "csrf_token"
    )
    trusted_origins: Annotated[
        tuple[str, ...], Setting(form="origin", why="Further origins of forms.")
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hsts:
    """Strict-Transport-Security (RFC 6797): only over TLS, never for localhost or an address."""

    max_age_seconds: Annotated[
        float,
        Setting(least=0, most=2 * 31_536_000, why="A year, as preloading asks."),
    ] = 31_536_000.0
    include_subdomains: Annotated[bool, Setting(why="Cookies cross subdomains.")] = True
    preload: Annotated[bool, Setting(why="Hard to take back; asked for by the owner only.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """Security headers of every answer."""

    hsts: Annotated[Hsts | None, Setting(why="Keeps browsers on TLS.")] = field(
        default_factory=Hsts
    )
    content_type_options: Annotated[
        str | None, Setting(form="nosniff", why="No guessing of types.")
    ] = "nosniff"
    frame_options: Annotated[
        str | None, Setting(form="frame-options", why="Against click-jacking.")
    ] = "DENY"
    xss_protection: Annotated[
        str | None,
        Setting(form="xss-protection", why="0: the filter it switched on did harm."),
    ] = "0"
    referrer_policy: Annotated[
        str | None, Setting(form="referrer-policy", why="Paths stay on the site.")
    ] = "strict-origin-when-cross-origin"
    content_security_policy: Annotated[
        str | None,
        Setting(
            form="csp",
            why="Hashes of inline blocks are added; unsafe-inline refused.",
        ),
    ] = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    permissions_policy: Annotated[
        str | None,
        Setting(form="permissions-policy", why="What the site does not use, nobody may."),
    ] = "camera=(), microphone=(), geolocation=(), payment=()"
    cross_origin_opener_policy: Annotated[
        str | None, Setting(form="coop", why="Keeps other windows out.")
    ] = "same-origin"
    cross_origin_embedder_policy: Annotated[
        str | None,
        Setting(form="coep", why="Nothing of other origins that did not agree to it."),
    ] = "require-corp"
    cross_origin_resource_policy: Annotated[
        str | None,
        Setting(form="corp", why="Other origins' pages cannot embed it."),
    ] = "same-origin"
    report_to: Annotated[
        str | None, Setting(form="url", why="Where browsers report violations.")
    ] = None


NO_HEADERS = Headers(
    hsts=None,
    content_type_options=None,
    frame_options=None,
    xss_protection=None,
    referrer_policy=None,
    content_security_policy=None,
    permissions_policy=None,
    cross_origin_opener_policy=None,
    cross_origin_embedder_policy=None,
    cross_origin_resource_policy=None,
)
"""None at all: what a gateway adds that is no more than a proxy."""


class RateKey(StrEnum):
    """Per what requests are counted."""

    CLIENT = "client"
    SESSION = "session"
    ROUTE = "route"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """So many requests in such a time; more get 429 with Retry-After."""

    name: Annotated[
        str, Setting(form="name", why="Named by routes, and by the app: platform.limiter(name).")
    ]
    requests: Annotated[int, Setting(least=1, most=10_000_000, why="In a window.")]
    window_seconds: Annotated[float, Setting(least=1, most=DAY, why="How long the window is.")] = (
        60.0
    )
    burst: Annotated[
        int,
        Setting(
            least=1,
            most=10_000_000,
            zero="as many as requests",
            unit="requests",
            why="At once.",
        ),
    ] = 0
    per: Annotated[RateKey, Setting(why="IPv6 clients count by their /64.")] = RateKey.CLIENT


class ProviderKind(StrEnum):
    """Whom people sign in with."""

    GOOGLE = "google"
    FACEBOOK = "facebook"
    GITHUB = "github"
    OIDC = "oidc"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInProvider:
    """OAuth 2 / OpenID Connect."""

    name: Annotated[str, Setting(form="name", why="In its URLs.")]
    kind: Annotated[ProviderKind, Setting(brings=SESSIONS, why="Known ones need no issuer.")] = (
        ProviderKind.OIDC
    )
    issuer: Annotated[str | None, Setting(form="url", brings=SESSIONS, why="For kind oidc.")] = None
    client_id: Annotated[Secret, Setting(brings=SESSIONS, why="From the provider.")]
    client_secret: Annotated[Secret, Setting(brings=SESSIONS, why="From the provider.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """GDPR and CCPA: non-essential cookies wait; one's data can be had and deleted."""

    required: Annotated[
        bool, Setting(brings=SESSIONS, why="Cookies that are not essential wait.")
    ] = True
    cookie: Annotated[str, Setting(form="token", brings=SESSIONS, why="Remembers the choice.")] = (
        "consent"
    )
    max_age_seconds: Annotated[
        float, Setting(least=DAY, most=400 * DAY, brings=SESSIONS, why="Then one is asked again.")
    ] = 180.0 * DAY
    deletion_seconds: Annotated[
        float,
        Setting(least=0, most=30 * DAY, brings=SESSIONS, why="GDPR article 12: within a month."),
    ] = 7.0 * DAY
