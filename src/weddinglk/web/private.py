"""What pages of one person share: who it is, forms, and that nobody stores them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from poruwa import csrf_token_of, session_of
from weddinglk.people.accounts import Account
from weddinglk.web.page import choice_of, render
from weddinglk.web.problem import problem_response
from weddinglk.web.site import site_of

FORM: Final = "application/x-www-form-urlencoded"
FORM_MAX: Final = 8 * 1024  # bytes; the longest of ours has one
NOBODY_STORES: Final = {"Cache-Control": "private, no-store"}


class WrongForm(Exception):
    """A body that is no form of ours."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


async def person_of(request: Request) -> Account | None:
    """Return the account of whoever is signed in."""
    session = session_of(request)
    return None if session is None else await site_of(request).accounts.of_id(session.user_id)


async def form_of(request: Request) -> Mapping[str, str]:
    """Return the fields of a form; of several alike, the last.

    Raises:
        WrongForm: another type, or longer than 8 KiB.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != FORM:
        raise WrongForm(415, f"Send Content-Type: {FORM}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_MAX:
            raise WrongForm(413, f"{FORM_MAX} bytes are the most.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20))
    except ValueError as error:
        raise WrongForm(400, "The body is no form.") from error


async def on_wrong_form(request: Request, error: Exception) -> Response:
    """Answer a body that no form of ours sends."""
    assert isinstance(error, WrongForm)
    return problem_response(request, error.status, error.detail)


def private_page(
    request: Request, template: str, *, status: int = 200, query: str = "", **context: Any
) -> Response:
    """Return a page of one person.

    Args:
        query: of this page, which its other languages have, too.
    """
    response = render(
        request,
        template,
        status=status,
        kept_query=query,
        is_signed_in=session_of(request) is not None,
        csrf_token=csrf_token_of(request),
        **context,
    )
    response.headers.update(NOBODY_STORES)
    return response


def see_other(request: Request, path: str, **query: str) -> Response:
    """Return a redirect after a form (RFC 9110 section 15.4.4), in the language of the request."""
    url = choice_of(request).prefix + path + (f"?{urlencode(query)}" if query else "")
    return RedirectResponse(url, 303, NOBODY_STORES)


def to_sign_in(request: Request, *, back: str) -> Response:
    """Return a redirect to the sign-in page, and from there to ``back``."""
    return see_other(request, "/sign-in", return_to=choice_of(request).prefix + back)
