"""Which language a page is in: path prefix, then ``?lang=``, then Accept-Language, then English.

``LanguageMiddleware`` stands before the router: it takes ``/si`` off ``/si/venues`` and leaves a
``Choice`` in the scope, so that routes exist once. The API, pictures and static files have no
prefixed form. RFC 9110 section 12.5.4 (Accept-Language), RFC 4647 section 3.4 (lookup).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from weddinglk.domain import LANGUAGES

DEFAULT_LANGUAGE = "en"
SCOPE_KEY = "weddinglk.language"
_UNPREFIXED_ONLY = ("/api/", "/art/", "/static/", "/healthz")
_RANGES_MAX = 20  # of an Accept-Language field; browsers send fewer than ten


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen. ``prefix`` goes before every link of the page: ``""`` or ``"/si"``.

    ``negotiated`` says that neither path nor query names a language, so that the answer varies by
    Accept-Language.
    """

    language: str
    prefix: str
    negotiated: bool


class LanguageMiddleware:
    """Resolves the language of every HTTP request (pure ASGI)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            choice, path = chosen_language(scope)
            scope[SCOPE_KEY] = choice
            if path != scope["path"]:
                # A copy: the server's access log shall show what was asked for.
                scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        await self.app(scope, receive, send)


def chosen_language(scope: Scope) -> tuple[Choice, str]:
    """Return the language for the request of ``scope`` and its path without language prefix."""
    path: str = scope["path"]
    prefix, rest = split_prefix(path)
    if prefix:
        return Choice(prefix[1:], prefix, False), rest
    asked = language_of_query(scope["query_string"].decode("latin-1"))
    if asked is not None:
        return Choice(asked, f"/{asked}", False), path
    field = ",".join(Headers(scope=scope).getlist("accept-language"))
    return Choice(accepted_language(field) if field else DEFAULT_LANGUAGE, "", True), path


def split_prefix(path: str) -> tuple[str, str]:
    """Return ``("/si", "/venues")`` for ``/si/venues``, and ``("", path)`` without a prefix."""
    head, rest = path[:3], path[3:]
    if head[1:] not in LANGUAGES or head[:1] != "/" or (rest and rest[0] != "/"):
        return "", path
    rest = rest or "/"
    return ("", path) if rest.startswith(_UNPREFIXED_ONLY) else (head, rest)


def language_of_query(query: str) -> str | None:
    """Return the language that ``lang`` of a query string names, if it is one of the site's."""
    if "lang=" not in query:
        return None
    for name, value in parse_qsl(query):
        if name == "lang" and value.lower() in LANGUAGES:
            return value.lower()
    return None


def accepted_language(field: str) -> str:
    """Return the site's language that an Accept-Language ``field`` likes best.

    Equal qualities go to the earlier range; ``q=0`` excludes; ``*`` means the default. Malformed
    members are skipped.
    """
    best, best_quality, refused = "", 0.0, set()
    for member in field.split(",")[:_RANGES_MAX]:
        tag, _, parameter = member.partition(";")
        language = tag.strip().lower().partition("-")[0]
        quality = _quality(parameter)
        if quality is None or (language not in LANGUAGES and language != "*"):
            continue
        if quality == 0.0:
            refused.add(language)
        elif quality > best_quality:
            best, best_quality = language, quality
    if best not in ("", "*") and best not in refused:
        return best
    allowed = [language for language in LANGUAGES if language not in refused]
    return allowed[0] if allowed else DEFAULT_LANGUAGE


def _quality(parameter: str) -> float | None:
    if not parameter:
        return 1.0
    name, _, value = parameter.partition("=")
    if name.strip().lower() != "q":
        return None
    try:
        quality = float(value)
    except ValueError:
        return None
    return quality if 0.0 <= quality <= 1.0 else None
