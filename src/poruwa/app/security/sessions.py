"""Who somebody is: the session of a request, and how it begins, is renewed and ends.

The session is in the browser's cookie, sealed (``rules.token``); nothing is looked up to validate
it but the list of revocations, in memory. ``SecurityMiddleware`` reads the cookie of each request
and writes the new one; handlers begin and end sessions with ``app.security.sign_in``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from time import time

from pymongo.errors import PyMongoError

from poruwa.app.security.cookies import form_of_session
from poruwa.app.security.devices import Device, Devices
from poruwa.app.security.key_source import SessionKeys, key_reader
from poruwa.app.security.revocations import Revocations
from poruwa.config.model_security import Session as Section
from poruwa.rules.cookie import CookieForm, find_cookie, is_cookie_bomb, parse_cookies
from poruwa.rules.session import (
    SESSION_ID_BYTES,
    SKEW_SECONDS,
    Claims,
    SessionRefusal,
    SessionRules,
    decode_claims,
    encode_claims,
    is_recent,
)

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
        needs_new_key: its token was sealed under another key than the one that seals now.
    """

    claims: Claims
    needs_new_key: bool = False

    @property
    def user_id(self) -> str:
        return self.claims.user_id

    @property
    def session_id(self) -> bytes:
        return self.claims.session_id

    @property
    def level(self) -> int:
        """Of privilege; the site's business."""
        return self.claims.level

    def is_fresh(self, *, within_seconds: int = FRESH_SECONDS, now: float | None = None) -> bool:
        """Whether they proved who they are lately enough for a sensitive act (ASVS 7.5.1)."""
        at = int(time() if now is None else now)
        return is_recent(self.claims, at, within_seconds=within_seconds)


class Sessions:
    """Validates, begins, renews and ends sessions.

    Args:
        rules: the policy's.
        keys: seal and open tokens.
        form: of the cookie.
        revocations: the list; None for one of this process alone.
        clock: wall seconds.
        random_bytes: where session ids come from.

    Attributes:
        devices: where people are signed in; None keeps no record.
        refused: how many requests had no session, by reason.
    """

    def __init__(
        self,
        rules: SessionRules,
        keys: SessionKeys,
        form: CookieForm,
        revocations: Revocations | None = None,
        *,
        clock: Callable[[], float] = time,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.rules = rules
        self.keys = keys
        self.form = form
        self.revocations = Revocations() if revocations is None else revocations
        self.devices: Devices | None = None
        self.refused: dict[str, int] = {}
        self._clock = clock
        self._random_bytes = random_bytes

    @classmethod
    def alone(cls, site: str, keys: str, section: Section | None = None) -> Sessions:
        """Return the sessions of an app without a policy file.

        That a session was ended is known to this process alone: run one, or a ``Platform``.

        Args:
            site: its name; tokens of other sites under the same keys open nothing here.
            keys: ``env:NAME`` or ``file:PATH`` of the key ring, ``key,key,...``, oldest first; each
                32 random bytes in base64 or hex.
            section: other figures than a policy's own defaults.

        Raises:
            ConfigError: keys that cannot be used, or a cookie that no browser would keep.
        """
        section = section or Section()
        ring = SessionKeys(key_reader(keys, os.environ, Path()))
        return cls(SessionRules.of(section, site), ring, form_of_session(section))

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
        token = None if is_cookie_bomb(cookie_field) else find_cookie(cookie_field, name)
        if token is None and name in parse_cookies(cookie_field).duplicates:
            # Somebody planted one of them (RFC 6265bis section 8.6); nobody can tell which.
            _logger.warning("two cookies %s in one request: neither is taken", name.decode())
            return NoSession.DUPLICATE
        if not token:
            return NoSession.NO_COOKIE
        opened = self.keys.sealer.open(token)
        if opened is None and self.keys.reread_for(token):
            opened = self.keys.sealer.open(token)
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

        Raises:
            RevocationsUnknown: it cannot be told which sessions of theirs have been ended.
            PyMongoError: its record cannot be written.
        """
        claims = self.rules.begin(
            self._random_bytes(SESSION_ID_BYTES),
            user_id,
            int(self._clock()),
            level=level,
            later_than=await self.revocations.moment_of(user_id),
        )
        await self._record(claims, agent, address)
        return Session(claims), self.line(claims)

    async def prove(
        self, session: Session, *, level: int | None = None, agent: str = "", address: str = ""
    ) -> tuple[Session, bytes]:
        """Take over that somebody signed in has proved who they are again, under a new id.

        The old id ends, so that what somebody else may have of it ends, too (ASVS 7.2.4).

        Args:
            level: of privilege from now on; None for the same.
        """
        await self.end(session)
        claims = self.rules.reauthenticated(
            session.claims, self._random_bytes(SESSION_ID_BYTES), int(self._clock()), level=level
        )
        await self._record(claims, agent, address)
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
        """Write down a visit, at most once a day; without the database it is left out."""
        now = int(self._clock())
        if self.devices is not None and self.devices.is_due(session.claims, now):
            try:
                await self.devices.touch(session.claims, now)
            except PyMongoError as error:
                _logger.warning("a visit is not written down: %s", error)

    async def end(self, session: Session) -> bytes:
        """End a session everywhere; return the Set-Cookie line that clears it.

        Raises:
            PoruwaError: it is not ended, or not known everywhere yet (503).
        """
        await self.end_by_id(session.session_id)
        return self.form.clearing_line()

    async def end_by_id(self, session_id: bytes) -> None:
        """End any session, e.g. as an administrator; raises as ``end``."""
        # It began a little later than now at the most: another instance's clock may be ahead.
        ends = int(self._clock()) + SKEW_SECONDS + self.rules.longest_seconds
        await self.revocations.revoke_session(session_id, ends=ends)
        if self.devices is not None:
            await _forgotten(self.devices.forget(session_id))

    async def end_device(self, user_id: str, handle: str) -> bool:
        """End one of a person's own sessions; tell whether there was one; raises as ``end``."""
        for device in await self.devices_of(user_id):
            if device.handle == handle:
                await self.end_by_id(device.session_id)
                return True
        return False

    async def end_all(self, user_id: str) -> bytes:
        """End every session of a person, everywhere; return what clears this browser's cookie.

        For a new password or second factor, an account that is closed, and "sign out everywhere".
        Whoever shall stay signed in begins a new session after it. Raises as ``end``.
        """
        # Also those that another instance, whose clock is ahead, has begun before; and one that
        # began right after the last time, which is dated one second past that moment.
        moment = await self.revocations.moment_of(user_id)
        up_to = max(int(self._clock()) + SKEW_SECONDS, moment + 1)
        await self.revocations.revoke_user(
            user_id, up_to=up_to, ends=up_to + self.rules.longest_seconds
        )
        if self.devices is not None:
            await _forgotten(self.devices.forget_user(user_id))
        return self.form.clearing_line()

    async def devices_of(self, user_id: str) -> list[Device]:
        """Return where a person is signed in, the latest visit first."""
        return [] if self.devices is None else await self.devices.of(user_id)

    def csrf_token(self, session: Session) -> str:
        """Return the token for forms of a session; empty where the policy wants none."""
        tokens = self.keys.tokens
        return "" if tokens is None else tokens.mint(session.session_id, self._clock())

    def is_csrf_token_good(self, session: Session, token: str) -> bool:
        """Whether a token was made for this session, in this hour or an earlier one of it."""
        tokens = self.keys.tokens
        return tokens is not None and tokens.is_good(
            token,
            session.session_id,
            # Its hours begin no later than it; later ones end with it.
            started_at=min(session.claims.started_at, session.claims.authenticated_at),
            now=self._clock(),
        )

    def line(self, claims: Claims) -> bytes:
        """Return the Set-Cookie line of claims."""
        return self.form.line(self.keys.sealer.seal(encode_claims(claims)))

    async def _record(self, claims: Claims, agent: str, address: str) -> None:
        if self.devices is not None:
            ends = claims.started_at + self.rules.longest_seconds
            await self.devices.begin(claims, agent=agent, address=address, ends=ends)

    def _count(self, reason: NoSession | SessionRefusal) -> None:
        self.refused[reason.value] = self.refused.get(reason.value, 0) + 1


async def _forgotten(forgetting: Awaitable[None]) -> None:
    """Take ended sessions off the list, if the database lets us: ended they are all the same."""
    try:
        await forgetting
    except PyMongoError as error:
        _logger.warning("ended sessions stay on the list of devices: %s", error)
