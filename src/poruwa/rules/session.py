"""Sessions: how long somebody stays signed in, and when the token in the browser is made anew.

A session begins when somebody proves who they are, and lives in a sealed token (``rules.token``).
It rolls: each visit in the last part of its life extends it, up to an absolute end that no visit
moves (OWASP ASVS 5.0 sections 7.3.1 and 7.3.2). Renewing is a function of the old claims and the
time, with nothing drawn anew: a hundred requests on three instances that renew at once make the
same claims, so that whichever answer comes last, the browser holds the same session.

Whether a session was revoked is asked elsewhere; nothing here knows a store, a clock or HTTP.
Times are whole wall seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

import msgspec

from poruwa.config.model_security import Session

SESSION_ID_BYTES: Final = 16  # 128 bits: OWASP ASVS 7.2.3
SKEW_SECONDS: Final = 60
"""How far the clocks of two instances may lie apart: a token just made elsewhere counts."""

_GRAIN_SECONDS: Final = 60
"""Renewals within the same minute make the same claims."""


class SessionRefusal(Enum):
    """Why a token that we sealed opens no session; the value says it for logs and metrics."""

    MALFORMED = "malformed"
    AUDIENCE = "audience"
    NOT_YET = "not-yet"
    IDLE = "idle"
    TOO_OLD = "too-old"
    REVOKED = "revoked"


class Claims(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a session's token says. An array of MessagePack: new claims come at the end.

    Attributes:
        session_id: 16 random bytes, new at each sign-in and at each change of privilege.
        user_id: as the site's accounts know it.
        audience: the site; a token of another one, under the same keys, is none of ours.
        started_at: when they signed in; the absolute end counts from here.
        authenticated_at: when they last proved who they are.
        issued_at: when this token's claims were made.
        expires_at: when the session ends unless it is renewed.
        generation: renewals so far.
        level: of privilege; the site's business.
    """

    session_id: bytes
    user_id: str
    audience: str
    started_at: int
    authenticated_at: int
    issued_at: int
    expires_at: int
    generation: int = 0
    level: int = 0


_decoder = msgspec.msgpack.Decoder(Claims)
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRules:
    """The policy's figures, ready to be asked.

    Attributes:
        audience: the site's name.
        idle_seconds: a session without a visit ends after so long.
        renew_before_seconds: renewed in this last part of its life; all of it counts where the
            part is as long as the life.
        update_seconds: a token is renewed at most so often.
        longest_seconds: from sign-in to the absolute end.
    """

    audience: str
    idle_seconds: int
    is_rolling: bool
    renew_before_seconds: int
    update_seconds: int
    longest_seconds: int

    @classmethod
    def of(cls, section: Session, audience: str) -> SessionRules:
        """Return the rules of a policy's section."""
        return cls(
            audience=audience,
            idle_seconds=int(section.max_age_seconds),
            is_rolling=section.rolling,
            renew_before_seconds=int(section.renew_before_seconds),
            update_seconds=int(section.update_every_seconds),
            longest_seconds=int(section.longest_seconds),
        )

    def begin(
        self, session_id: bytes, user_id: str, now: int, *, level: int = 0, later_than: int = 0
    ) -> Claims:
        """Return the claims of somebody who has just proved who they are.

        Args:
            later_than: up to when all sessions of theirs are ended; this one is none of them.

        Raises:
            ValueError: a session id of another length.
        """
        if len(session_id) != SESSION_ID_BYTES:
            raise ValueError(f"a session id has {SESSION_ID_BYTES} bytes, not {len(session_id)}")
        return Claims(
            session_id=session_id,
            user_id=user_id,
            audience=self.audience,
            started_at=max(now, later_than + 1),
            authenticated_at=now,
            issued_at=now,
            expires_at=now + min(self.idle_seconds, self.longest_seconds),
            level=level,
        )

    def judge(self, claims: Claims, now: int) -> SessionRefusal | None:
        """Return why claims open no session now; None if they do."""
        if claims.audience != self.audience:
            return SessionRefusal.AUDIENCE
        if claims.issued_at > now + SKEW_SECONDS:
            return SessionRefusal.NOT_YET
        if now >= claims.started_at + self.longest_seconds:
            return SessionRefusal.TOO_OLD
        if now >= claims.expires_at:
            return SessionRefusal.IDLE
        return None

    def is_due(self, claims: Claims, now: int) -> bool:
        """Whether a visit now renews the token of valid claims."""
        return (
            self.is_rolling
            and claims.expires_at - now <= self.renew_before_seconds
            and now - claims.issued_at >= self.update_seconds
            and self._end(claims, now) > claims.expires_at
        )

    def renewed(self, claims: Claims, now: int) -> Claims:
        """Return the claims of the next generation; the same for all who ask in this minute."""
        at = now - now % _GRAIN_SECONDS
        return msgspec.structs.replace(
            claims,
            issued_at=max(at, claims.issued_at),
            expires_at=max(self._end(claims, at), claims.expires_at),
            generation=claims.generation + 1,
        )

    def reauthenticated(
        self, claims: Claims, session_id: bytes, now: int, *, level: int | None = None
    ) -> Claims:
        """Return the claims after a further proof of who they are, under a new id.

        The absolute end stays where it was: proving oneself again makes no session younger.

        Args:
            level: of privilege from now on; None for the same.
        """
        return msgspec.structs.replace(
            claims,
            session_id=session_id,
            authenticated_at=now,
            issued_at=now,
            expires_at=max(self._end(claims, now), claims.expires_at),
            generation=0,
            level=claims.level if level is None else level,
        )

    def _end(self, claims: Claims, now: int) -> int:
        return min(now + self.idle_seconds, claims.started_at + self.longest_seconds)


def is_recent(claims: Claims, now: int, *, within_seconds: int) -> bool:
    """Whether somebody proved who they are lately enough for a sensitive act (ASVS 7.5.1)."""
    return now - claims.authenticated_at < within_seconds


def encode_claims(claims: Claims) -> bytes:
    """Return claims as they are sealed."""
    return _encode(claims)


def decode_claims(plain: bytes) -> Claims | None:
    """Return what was sealed; None for what is not the claims of a session."""
    try:
        claims = _decoder.decode(plain)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return claims if len(claims.session_id) == SESSION_ID_BYTES else None
