"""The cookies of a policy: one form for each, by which it is always set and cleared.

::

    security_of(request).set_cookie(platform.cookies["theme"].line(b"dark"))

A form refuses values that no browser would keep: 4,096 bytes of name and value are the most, and
nothing is cut in pieces (RFC 6265bis section 5.6).
"""

from __future__ import annotations

from poruwa.config.model import Policy
from poruwa.config.model_security import SameSite, Session
from poruwa.errors import ConfigError
from poruwa.rules.cookie import CookieForm, cookie_name


def session_form(policy: Policy) -> CookieForm:
    """Return the form of the session's cookie: Secure and HttpOnly, always.

    Raises:
        ConfigError: no browser would keep it.
    """
    return form_of_session(policy.session, domain=policy.cookies.domain)


def form_of_session(session: Session, *, domain: str | None = None) -> CookieForm:
    """Return the same by its section; raises alike.

    Args:
        domain: None for the host alone that sets it.
    """
    return _form(
        session.cookie,
        same_site=session.same_site,
        path=session.path,
        domain=domain,
        max_age_seconds=session.max_age_seconds,
    )


def cookie_forms(policy: Policy) -> dict[str, CookieForm]:
    """Return the forms of ``[cookies.named]``, by their names without prefix.

    Raises:
        ConfigError: one that no browser would keep.
    """
    common = policy.cookies
    return {
        cookie.name: _form(
            cookie.name,
            same_site=cookie.same_site or common.same_site,
            path=cookie.path,
            domain=cookie.domain or common.domain,
            max_age_seconds=cookie.max_age_seconds,
            http_only=cookie.http_only,
            secure=cookie.secure,
            partitioned=cookie.partitioned,
        )
        for cookie in common.named
    }


def _form(
    name: str,
    *,
    same_site: SameSite,
    path: str,
    domain: str | None,
    max_age_seconds: float,
    http_only: bool = True,
    secure: bool = True,
    partitioned: bool = False,
) -> CookieForm:
    domain = None if domain is None else domain.lstrip(".").lower()
    try:
        return CookieForm(
            name=cookie_name(name, secure=secure, http_only=http_only, domain=domain, path=path),
            max_age_seconds=int(max_age_seconds) or None,
            http_only=http_only,
            secure=secure,
            same_site=same_site.value.capitalize(),
            path=path.encode(),
            domain=None if domain is None else domain.encode(),
            partitioned=partitioned,
        )
    except (ValueError, UnicodeEncodeError) as error:
        raise ConfigError(f"cookies: {error}") from error
