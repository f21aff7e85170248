"""Who somebody is: the session of a request, and how it begins, is renewed and ends.

The session is in the browser's cookie, sealed (``rules.token``); nothing is looked up to validate
it but the list of revocations, in memory. Beginning, ending and proving oneself anew go through
``Sessions``; ``SecurityMiddleware`` reads the cookie of each request and writes the new one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from time import time

from poruwa.app.security.devices import Device, Devices
from poruwa.app.security.revocations import Revocations
from poruwa.rules.cookie import CookieForm, parse_cookies
from poruwa.rules.session import (
    SESSION_ID_BYTES,
    Claims,
    SessionRefusal,
    SessionRules,
    decode_claims,
    encode_claims,
    is_recent,
)
from poruwa.rules.token import Sealer

TOKEN_TYPE = "session+jwe"  # noqa: S105
FRESH_SECONDS = 600  # for sensitive acts: a new password, another e-mail address

_logger = logging.getLogger("poruwa.app")


class NoSession(Enum):
    """Why a request has no session; ``SessionRefusal`` says it of those with a token of ours."""

    NO_COOKIE = "no-cookie"
    DUPLICATE = "duplicate"
    NOT_OURS = "not-ours"


@dataclass(frozen=True, slots=True)
class Session:
    """A valid session.

    Attributes:
        claims: what its token says.
        needs_new_key: its token was sealed under an older key.
    """

    claims: Claims
    needs_new_key: bool = False

    @property
    def user_id(self) -> str:
        return self.claims.user_id

    @property
    def session_id(self) -> bytes:
        return self.claims.session_id

    def is_fresh(self, *, within_seconds: int = FRESH_SECONDS, now: float | None = None) -> bool:
        """Whether they proved who they are lately enough for a sensitive act (ASVS 7.5.1)."""
        at = int(time() if now is None else now)
        return is_recent(self.claims, at, within_seconds=within_seconds)


class Sessions:
    """Validates, begins, renews and ends sessions.

    Args:
        rules: the policy's.
        sealer: of the ring's keys for ``TOKEN_TYPE``.
        form: of the cookie.
        revocations: the list.
        devices: None to keep no record of who is signed in where.
        clock: wall seconds.
        random_bytes: where session ids come from.
    """

    def __init__(
        self,
        rules: SessionRules,
        sealer: Sealer,
        form: CookieForm,
        revocations: Revocations,
        devices: Devices | None = None,
        *,
        clock: Callable[[], float] = time,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.rules = rules
        self.form = form
        self.revocations = revocations
        self.devices = devices
        self._sealer = sealer
        self._clock = clock
        self._random_bytes = random_bytes
        self.refused: dict[str, int] = {}

    def now(self) -> float:
        """Return the wall seconds that sessions go by."""
        return self._clock()

    async def of(self, cookie_field: bytes) -> Session | NoSession | SessionRefusal:
        """Return the session of a Cookie field, or why there is none.

        Raises:
            RevocationsUnknown: whether it was revoked cannot be known.
            TooManyCookies: of the field.
        """
        found = self.opened(cookie_field)
        if not isinstance(found, Session):
            self._count(found)
            return found
        refusal = self.rules.judge(found.claims, int(self._clock()))
        if refusal is None and await self.revocations.is_revoked(found.claims):
            refusal = SessionRefusal.REVOKED
        if refusal is not None:
            self._count(refusal)
            return refusal
        return found

    def opened(self, cookie_field: bytes) -> Session | NoSession | SessionRefusal:
        """Return what the cookie holds, whether or not it is still good."""
        name = self.form.name
        if name not in cookie_field:
            return NoSession.NO_COOKIE
        cookies = parse_cookies(cookie_field)
        if name in cookies.duplicates:
            # Somebody planted one of them (RFC 6265bis section 8.6); nobody can tell which.
            _logger.warning("two cookies %s in one request: neither is taken", name.decode())
            return NoSession.DUPLICATE
        token = cookies.values.get(name)
        if not token:
            return NoSession.NO_COOKIE
        opened = self._sealer.open(token)
        if opened is None:
            return NoSession.NOT_OURS
        claims = decode_claims(opened[0])
        if claims is None:
            return SessionRefusal.MALFORMED
        return Session(claims, needs_new_key=not opened[1])

    async def begin(
        self, user_id: str, *, agent: str = "", address: str = "", level: int = 0
    ) -> tuple[Session, bytes]:
        """Begin a session for somebody who has just proved who they are.

        Returns:
            The session and its Set-Cookie line. Its id is new, whatever the browser sent.
        """
        # Later than all that were ended: who signs out everywhere and in again within a second.
        at = max(int(self._clock()), self.revocations.moment_of(user_id) + 1)
        claims = self.rules.begin(self._random_bytes(SESSION_ID_BYTES), user_id, at, level=level)
        if self.devices is not None:
            await self.devices.begin(
                claims, agent=agent, address=address, ends=at + self.rules.longest_seconds
            )
        return Session(claims), self.line(claims)

    async def prove(
        self, session: Session, *, agent: str = "", address: str = ""
    ) -> tuple[Session, bytes]:
        """Take over that somebody signed in has proved who they are again, under a new id.

        The old id ends, so that what somebody else may have of it ends, too (ASVS 7.2.4).
        """
        now = int(self._clock())
        claims = self.rules.reauthenticated(
            session.claims, self._random_bytes(SESSION_ID_BYTES), now
        )
        if self.devices is not None:
            ends = claims.started_at + self.rules.longest_seconds
            await self.devices.begin(claims, agent=agent, address=address, ends=ends)
        await self.end(session)
        return Session(claims), self.line(claims)

    def renewal(self, session: Session) -> bytes | None:
        """Return the Set-Cookie line that renews a session; None where none is due.

        A token under an older key is made anew with the same claims: that is no renewal.
        """
        now = int(self._clock())
        if self.rules.is_due(session.claims, now):
            return self.line(self.rules.renewed(session.claims, now))
        return self.line(session.claims) if session.needs_new_key else None

    async def touch(self, session: Session) -> None:
        """Write down a visit, at most once a day."""
        now = int(self._clock())
        if self.devices is not None and self.devices.is_due(session.claims, now):
            await self.devices.touch(session.claims, now)

    async def end(self, session: Session) -> bytes:
        """End a session everywhere; return the Set-Cookie line that clears it.

        Raises:
            PoruwaError: it is not ended, or not known everywhere yet (503).
        """
        await self.end_by_id(session.user_id, session.session_id, session.claims.started_at)
        return self.form.clearing_line()

    async def end_by_id(self, user_id: str, session_id: bytes, started_at: int) -> None:
        """End one session, e.g. one of a person's other devices; raises as ``end``."""
        ends = started_at + self.rules.longest_seconds
        await self.revocations.revoke_session(session_id, ends=ends)
        if self.devices is not None:
            await self.devices.forget(session_id)

    async def end_all(self, user_id: str) -> bytes:
        """End every session of a person, everywhere; raises as ``end``."""
        now = int(self._clock())
        await self.revocations.revoke_user(
            user_id, up_to=now, ends=now + self.rules.longest_seconds
        )
        if self.devices is not None:
            await self.devices.forget_user(user_id)
        return self.form.clearing_line()

    async def devices_of(self, user_id: str) -> list[Device]:
        """Return where a person is signed in, the latest visit first."""
        return [] if self.devices is None else await self.devices.of(user_id)

    def line(self, claims: Claims) -> bytes:
        """Return the Set-Cookie line of claims."""
        return self.form.line(self._sealer.seal(encode_claims(claims)))

    def _count(self, reason: NoSession | SessionRefusal) -> None:
        self.refused[reason.value] = self.refused.get(reason.value, 0) + 1
