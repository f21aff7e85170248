"""From data to an HTML response: the frame every page shares, language, links, what caches read.

How long a page is kept is the policy's to say (``site.toml``). A page says what it varies by and
what to load with it; its tags and its entity tag are added on the way out
(``poruwa.CacheHeadersMiddleware``). Only errors speak of storing: nobody may.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from poruwa import collect_blocks, content_security_policy_of
from weddinglk.domain import LANGUAGES
from weddinglk.web.filters import PAGE_PARAMETERS
from weddinglk.web.language import SCOPE_KEY, Choice, chosen_language
from weddinglk.web.site import Site, site_of
from weddinglk.web.texts import Texts

HTML = "text/html; charset=utf-8"
LANGUAGE_NAMES = {"en": "English", "si": "සිංහල", "ta": "தமிழ்"}


def choice_of(request: Request) -> Choice:
    """Return the language chosen for ``request`` by the middleware."""
    choice = request.scope.get(SCOPE_KEY)
    if isinstance(choice, Choice):
        return choice
    return chosen_language(request.scope)[0]  # the handler of failures stands outside middleware


def texts_of(request: Request) -> Texts:
    """Return the texts in the language of ``request``."""
    return site_of(request).texts[choice_of(request).language]


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    canonical_query: dict[str, str] | None = None,
    kept_query: str = "",
    **context: Any,
) -> Response:
    """Return the page of ``template`` filled with ``context``.

    ``canonical_query`` holds the parameters that make this a page of its own (its number, say);
    all others lead to the same content and are left out of the canonical link. ``kept_query`` goes
    to the other languages of a page that only its visitor sees.
    """
    site = site_of(request)
    choice = choice_of(request)
    frame = _frame(request, site, choice, canonical_query, kept_query)
    with collect_blocks() as blocks:
        html = site.templates[template].render(frame | context)
    headers = language_headers(choice)
    policy = _policy_of(request, site)
    if policy is not None:
        headers["Content-Security-Policy"] = blocks.policy(policy) or policy
    if status < 400:
        headers["Link"] = site.preload
    else:
        headers["Cache-Control"] = "no-store"  # what one visitor provoked is nobody else's
    return Response(html, status, headers, HTML)


def _policy_of(request: Request, site: Site) -> str | None:
    """Return the policy of a page's route; the site's where a request did not get so far."""
    try:
        return content_security_policy_of(request)
    except RuntimeError:
        return site.content_security_policy


def language_headers(choice: Choice) -> dict[str, str]:
    """Return the fields that say which language a response is in and what decided it."""
    headers = {"Content-Language": choice.language}
    if choice.negotiated:
        headers["Vary"] = "Accept-Language"
    return headers


def redirect(request: Request, path: str, *, status: int = 308) -> Response:
    """Return a redirect to a path of the site, in the language prefix of the request."""
    headers = {"Cache-Control": "no-cache"}  # a browser would keep 308 for good
    return RedirectResponse(choice_of(request).prefix + path, status, headers)


def _frame(
    request: Request,
    site: Site,
    choice: Choice,
    canonical_query: dict[str, str] | None,
    kept_query: str,
) -> dict[str, Any]:
    path = quote(request.scope["path"])
    # Those pages know, in one order: nothing else that a visitor sends is in the page.
    given = request.query_params.multi_items()
    kept = [pair for name in PAGE_PARAMETERS for pair in given if pair[0] == name and pair[1]]
    switch_query = kept_query or urlencode(kept)
    switch_query = switch_query and f"?{switch_query}"
    canonical = path + (f"?{urlencode(canonical_query)}" if canonical_query else "")
    base = site.public_url
    return {
        "t": site.texts[choice.language],
        "language": choice.language,
        "prefix": choice.prefix,
        "path": path,
        "canonical": f"{base}/{choice.language}{canonical}",
        "alternates": [(code, f"{base}/{code}{canonical}") for code in LANGUAGES],
        "default_url": base + canonical,
        "switches": [
            (code, LANGUAGE_NAMES[code], f"/{code}{path}{switch_query}") for code in LANGUAGES
        ],
        "base_url": base,
    }
