"""One's account: where one is signed in, another password or address; for administrators, all."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poruwa import end_other_sessions, session_of, sign_out
from weddinglk.people.accounts import EMAIL_MAX, Account, Role, is_email
from weddinglk.people.passwords import LEAST_CHARACTERS, MOST_CHARACTERS
from weddinglk.web.errors import not_found
from weddinglk.web.page import choice_of
from weddinglk.web.private import form_of, person_of, private_page, see_other, to_sign_in
from weddinglk.web.sign_in import refusal_of_password
from weddinglk.web.site import site_of


async def account_page(request: Request) -> Response:
    """``GET /account``"""
    account = await person_of(request)
    session = session_of(request)
    if account is None or session is None:
        return to_sign_in(request, back="/account")
    devices = [
        {
            "handle": device.handle,
            "agent": described(device.agent),
            "address": device.address,
            "seen": datetime.fromtimestamp(device.seen_at, UTC).date().isoformat(),
            "is_this": device.session_id == session.session_id,
        }
        for device in await site_of(request).sessions().devices_of(account.id)
    ]
    return private_page(
        request,
        "account.html",
        account=account,
        devices=devices,
        is_administrator=account.role is Role.ADMINISTRATOR,
        done=request.query_params.get("done", ""),
    )


async def end_device(request: Request) -> Response:
    """``POST /account/devices``: ends the session that ``handle`` names, if it is one's own."""
    form = await form_of(request)
    session = session_of(request)
    if session is None:
        return to_sign_in(request, back="/account")
    sessions = site_of(request).sessions()
    if not await sessions.end_device(session.user_id, form.get("handle", "")):
        return not_found(request)
    return see_other(request, "/account")


async def sign_out_everywhere(request: Request) -> Response:
    """``POST /account/sign-out-everywhere``"""
    await sign_out(request, everywhere=True)
    return see_other(request, "/sign-in")


async def password_page(request: Request) -> Response:
    """``GET /account/password``; who proved themselves long ago does so again first."""
    account = await person_of(request)
    return _unproven(request, account, "/account/password") or _password(request)


async def post_password(request: Request) -> Response:
    """``POST /account/password``: all other sessions end, and this one gets a new id."""
    form = await form_of(request)
    account = await person_of(request)
    unproven = _unproven(request, account, "/account/password")
    if unproven is not None or account is None:
        return unproven or to_sign_in(request, back="/account/password")
    refused = await refusal_of_password(request, account, form.get("current", ""))
    if refused is not None:
        page = _password(request, status=refused.status, wrong=refused.wrong)
        page.headers.update(refused.fields)
        return page
    wanted = form.get("new", "")
    if (wrong_with := wrong_with_password(wanted, account)) is not None:
        return _password(request, status=422, wrong=wrong_with)
    if not await site_of(request).accounts.change_password(account, wanted):
        return _password(request, status=422, wrong="password")
    await end_other_sessions(request)
    return see_other(request, "/account", done="password")


async def email_page(request: Request) -> Response:
    """``GET /account/email``; asks for a fresh proof as for another password."""
    account = await person_of(request)
    return _unproven(request, account, "/account/email") or _email(request, account)


async def post_email(request: Request) -> Response:
    """``POST /account/email``: all other sessions end, and this one gets a new id.

    An address that somebody else has is refused in the words for one that is none: it "cannot be
    used". That it is taken can be guessed from this, as two accounts cannot share one; it is told
    only to who is signed in, has just given the right password, and has tries left
    (``sign-in-account``). The notice to the old address (ASVS 5.0 6.3.7), and a proof that the new
    one is theirs, come with the mail issue: WeddingLK sends no mail yet.
    """
    form = await form_of(request)
    account = await person_of(request)
    unproven = _unproven(request, account, "/account/email")
    if unproven is not None or account is None:
        return unproven or to_sign_in(request, back="/account/email")
    wanted = form.get("email", "").strip()
    refused = await refusal_of_password(request, account, form.get("current", ""))
    if refused is not None:
        page = _email(request, account, wanted, status=refused.status, wrong=refused.wrong)
        page.headers.update(refused.fields)
        return page
    if not is_email(wanted) or not await site_of(request).accounts.change_email(account, wanted):
        return _email(request, account, wanted, status=422, wrong="email")
    await end_other_sessions(request)
    return see_other(request, "/account", done="email")


async def people_page(request: Request) -> Response:
    """``GET /account/people``: for administrators; for others there is no such page."""
    account = await person_of(request)
    if account is None:
        return to_sign_in(request, back="/account/people")
    if account.role is not Role.ADMINISTRATOR:
        return not_found(request)
    return private_page(request, "people.html", people=await site_of(request).accounts.everybody())


async def end_sessions_of(request: Request) -> Response:
    """``POST /account/people``: an administrator ends all sessions of ``person``."""
    form = await form_of(request)
    account = await person_of(request)
    if account is None:
        return to_sign_in(request, back="/account/people")
    person = await site_of(request).accounts.of_id(form.get("person", ""))
    if account.role is not Role.ADMINISTRATOR or person is None:
        return not_found(request)
    await site_of(request).sessions().end_all(person.id)
    return see_other(request, "/account/people")


def wrong_with_password(password: str, account: Account) -> str | None:
    """Return what is wrong with a new password: ``length`` or ``guessable``."""
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        return "length"
    folded = password.casefold()
    parts = (account.email.partition("@")[0], "weddinglk", "password")
    left = folded
    for part in parts:
        left = left.replace(part, "")
    return "guessable" if len(set(left)) < 5 else None


def described(agent: str) -> str:
    """Return a browser and its system in two words, as far as they are known."""
    browser = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return " · ".join(filter(None, (browser, system))) or agent[:40]


# The first that fits: Edge and Opera call themselves Chrome, and Chrome calls itself Safari.
_BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


def _unproven(request: Request, account: Account | None, page: str) -> Response | None:
    """Return where somebody goes first who is not signed in, or proved themselves long ago."""
    session = session_of(request)
    if account is None or session is None:
        return to_sign_in(request, back=page)
    if session.is_fresh():
        return None
    return see_other(request, "/account/confirm", return_to=choice_of(request).prefix + page)


def _password(request: Request, *, status: int = 200, wrong: str = "") -> Response:
    return private_page(
        request, "password.html", status=status, wrong=wrong, least=LEAST_CHARACTERS
    )


def _email(
    request: Request,
    account: Account | None,
    wanted: str = "",
    *,
    status: int = 200,
    wrong: str = "",
) -> Response:
    return private_page(
        request,
        "email.html",
        status=status,
        wrong=wrong,
        account=account,
        wanted=wanted[:EMAIL_MAX],
        most=EMAIL_MAX,
    )


routes = [
    Route("/account", account_page),
    Route("/account/devices", end_device, methods=["POST"]),
    Route("/account/sign-out-everywhere", sign_out_everywhere, methods=["POST"]),
    Route("/account/password", password_page),
    Route("/account/password", post_password, methods=["POST"]),
    Route("/account/email", email_page),
    Route("/account/email", post_email, methods=["POST"]),
    Route("/account/people", people_page),
    Route("/account/people", end_sessions_of, methods=["POST"]),
]
