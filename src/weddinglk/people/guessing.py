"""Bounds on guessing passwords: per account and per source, without locking the owner out.

A browser in which the owner has signed in before has a bucket of its own: whoever guesses from
elsewhere uses up the account's bucket, not the owner's (OWASP, "Slow down online guessing attacks
with device cookies"). Every attempt counts, before the password is looked at.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from poruwa import Decision, client_bucket
from weddinglk.people.accounts import normal_email


class Limiter(Protocol):
    """Counts attempts by key; ``platform.limiter`` gives one."""

    async def take(self, key: str, *, cost: int = 1) -> Decision: ...


class Guessing:
    """Says whether somebody may try a password now.

    Args:
        accounts: counts per account, and per known device (``[rate_limits.sign-in-account]``). A
            right password counts, too: nobody knows yet that it is.
        sources: counts per address; an IPv6 /64 is one (``[rate_limits.sign-in-source]``).
    """

    def __init__(self, accounts: Limiter, sources: Limiter) -> None:
        self._accounts = accounts
        self._sources = sources

    async def try_(self, email: str, address: str, known_device: str | None) -> Decision:
        """Count an attempt.

        Args:
            address: of the client.
            known_device: what a browser holds in which the owner has signed in; None elsewhere.
        """
        account = _hashed(normal_email(email))
        if known_device is not None:
            return await self._accounts.take(f"device:{account}:{_hashed(known_device)}")
        decision = await self._sources.take(client_bucket(address))
        if not decision.is_allowed:
            return decision
        return await self._accounts.take(f"account:{account}")


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
