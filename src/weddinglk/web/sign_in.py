"""Signing in and out, and proving oneself again before a sensitive act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from poruwa import prove_again, security_of, session_of, sign_in, sign_out
from weddinglk.people.accounts import Account
from weddinglk.web.page import choice_of
from weddinglk.web.private import (
    NOBODY_STORES,
    form_of,
    person_of,
    private_page,
    see_other,
    to_sign_in,
)
from weddinglk.web.return_to import safe_path
from weddinglk.web.site import site_of

DEVICE_COOKIE: Final = "weddinglk.device"  # below [cookies.named]


async def sign_in_page(request: Request) -> Response:
    """``GET /sign-in``, with ``return_to``; who is signed in goes on at once."""
    back = request.query_params.get("return_to", "")
    if session_of(request) is not None:
        return _go_on(request, back)
    return _form(request, back)


async def post_sign_in(request: Request) -> Response:
    """``POST /sign-in``: 303 with a session, 422 for a wrong password, 429 for too many."""
    form = await form_of(request)
    email, back = form.get("email", ""), form.get("return_to", "")
    accounts = site_of(request).accounts
    device = _device_of(request)
    if device is not None and not await accounts.is_known_device(device, email):
        device = None
    refused = await site_of(request).guessing.refusal(email, _address(request), device)
    if refused is not None:
        page = _form(request, back, status=429, email=email, wrong="many")
        page.headers.update(refused)
        return page
    account = await accounts.proven(email, form.get("password", ""))
    if account is None:
        return _form(request, back, status=422, email=email, wrong="password")
    await sign_in(request, account.id, level=account.level)
    # What was changed meanwhile, password or address, ended the sessions of before, not this one.
    if not await accounts.is_current(account):
        await sign_out(request)
        return _form(request, back, status=422, email=email, wrong="password")
    if device is None:
        await _remember(request, account)
    return _go_on(request, back)


async def post_sign_out(request: Request) -> Response:
    """``POST /sign-out``: ends the session of this browser, everywhere."""
    await sign_out(request)
    return see_other(request, "/")


async def confirm_page(request: Request) -> Response:
    """``GET /account/confirm``: asks somebody signed in for the password once more."""
    back = request.query_params.get("return_to", "")
    account = await person_of(request)
    if account is None:
        return to_sign_in(request, back="/account")
    return _confirm(request, account, back)


async def post_confirm(request: Request) -> Response:
    """``POST /account/confirm``: the session gets a new id, and is fresh."""
    form = await form_of(request)
    back = form.get("return_to", "")
    account = await person_of(request)
    if account is None:
        return to_sign_in(request, back="/account")
    refused = await refusal_of_password(request, account, form.get("password", ""))
    if refused is not None:
        page = _confirm(request, account, back, status=refused.status, wrong=refused.wrong)
        page.headers.update(refused.fields)
        return page
    await prove_again(request)
    return _go_on(request, back)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a password is not taken: status and fields of the answer, and what its page says."""

    status: int
    wrong: str
    fields: Mapping[str, str] = field(default_factory=dict)


async def refusal_of_password(request: Request, account: Account, password: str) -> Refusal | None:
    """Return why a password of somebody signed in is not taken; None for the right one."""
    session = session_of(request)
    assert session is not None, "person_of found one"
    # Their own bucket: who is signed in here is no stranger, but may be somebody at their desk.
    holder = session.session_id.hex()
    site = site_of(request)
    fields = await site.guessing.refusal(account.email, _address(request), holder)
    if fields is not None:
        return Refusal(429, "many", fields)
    is_right = await site.accounts.is_password(account, password)
    return None if is_right else Refusal(422, "password")


def _form(
    request: Request, back: str, *, status: int = 200, email: str = "", wrong: str = ""
) -> Response:
    query = urlencode({"return_to": back}) if back else ""
    return private_page(
        request, "sign-in.html", status=status, query=query, back=back, email=email, wrong=wrong
    )


def _confirm(
    request: Request, account: Account, back: str, *, status: int = 200, wrong: str = ""
) -> Response:
    query = urlencode({"return_to": back}) if back else ""
    return private_page(
        request, "confirm.html", status=status, query=query, back=back, account=account, wrong=wrong
    )


def _go_on(request: Request, back: str) -> Response:
    path = safe_path(back) if back else f"{choice_of(request).prefix}/account"
    return RedirectResponse(path, 303, NOBODY_STORES)


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host


def _device_of(request: Request) -> str | None:
    form = site_of(request).cookies.get(DEVICE_COOKIE)
    return None if form is None else request.cookies.get(form.name.decode()) or None


async def _remember(request: Request, account: Account) -> None:
    site = site_of(request)
    form = site.cookies.get(DEVICE_COOKIE)
    if form is not None:
        token = await site.accounts.know_device(account.id)
        security_of(request).set_cookie(form.line(token.encode()))


routes = [
    Route("/sign-in", sign_in_page),
    Route("/sign-in", post_sign_in, methods=["POST"]),
    Route("/sign-out", post_sign_out, methods=["POST"]),
    Route("/account/confirm", confirm_page),
    Route("/account/confirm", post_confirm, methods=["POST"]),
]
