"""Bounds on guessing passwords: per account and per source, without locking the owner out.

A browser in which the owner has signed in before has a bucket of its own: whoever guesses from
elsewhere uses up the account's bucket, not the owner's (OWASP, "Slow down online guessing attacks
with device cookies"). Every attempt counts, before the password is looked at.
"""

from __future__ import annotations

import hashlib

from poruwa import Limiter, client_bucket
from weddinglk.people.accounts import normal_email


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

    async def refusal(
        self, email: str, address: str, known_device: str | None
    ) -> dict[str, str] | None:
        """Count an attempt; return None for one that may be made, else the fields of the 429.

        Args:
            address: of the client.
            known_device: what a browser holds in which the owner has signed in; None elsewhere.
        """
        account = _hashed(normal_email(email))
        if known_device is not None:
            key = f"device:{account}:{_hashed(known_device)}"
            return await _refusal(self._accounts, key)
        refused = await _refusal(self._sources, client_bucket(address))
        return refused or await _refusal(self._accounts, f"account:{account}")


async def _refusal(limiter: Limiter, key: str) -> dict[str, str] | None:
    decision = await limiter.take(key)
    return None if decision.is_allowed else limiter.fields(decision)


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
