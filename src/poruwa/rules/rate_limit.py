"""Rate limits: how many requests a client may make, and what it is told of that.

GCRA, the generic cell rate algorithm (ITU-T I.371, appendix I): one number per client, the
theoretical arrival time (TAT) of its next request, says all. A request is taken if it comes no
earlier than that by more than the burst allows; then the TAT moves on by one interval. There is no
window whose edge would let twice as many through.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11 and RFC 9110 section 10.2.3. No
clock: ``now`` is a parameter, in seconds of any clock that does not go back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

_IPV6_PREFIX: Final = 64  # what one household has: RFC 6177 section 2


@dataclass(frozen=True, slots=True)
class Quota:
    """So many requests in so many seconds, of which ``burst`` may come at once.

    Raises:
        ValueError: a figure that is not positive.
    """

    requests: int
    window_seconds: float
    burst: int

    def __post_init__(self) -> None:
        if self.requests < 1 or self.window_seconds <= 0 or self.burst < 1:
            raise ValueError(f"a quota's figures are positive, unlike those of {self}")

    @property
    def interval_seconds(self) -> float:
        """From one request to the next, at the steady rate."""
        return self.window_seconds / self.requests


def quota_of(requests: int, window_seconds: float, burst: int) -> Quota:
    """Return a policy's figures; a burst of 0 is as many as ``requests``."""
    return Quota(requests, window_seconds, burst or requests)


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes of a request.

    Attributes:
        is_allowed: whether it is taken.
        arrival: the TAT to remember for the client; unchanged where it is refused.
        remaining: requests that it may make at once now.
        retry_seconds: until the next one is taken; 0.0 where one is.
        reset_seconds: until all of its burst is there again.
    """

    is_allowed: bool
    arrival: float
    remaining: int
    retry_seconds: float
    reset_seconds: float


def decide(quota: Quota, arrival: float, now: float, *, cost: int = 1) -> Decision:
    """Return what comes of a request that counts ``cost`` times.

    Args:
        arrival: the TAT remembered for the client; 0.0 for a new one.
        cost: 1 or more; more than the burst is never taken.
    """
    interval = quota.interval_seconds
    moved = max(arrival, now) + interval * cost
    # A thousandth of an interval forgives what sums of binary fractions lose.
    is_allowed = moved - interval * quota.burst <= now + interval / 1000
    return outcome(quota, moved if is_allowed else arrival, now, cost=cost, is_allowed=is_allowed)


def outcome(quota: Quota, arrival: float, now: float, *, cost: int, is_allowed: bool) -> Decision:
    """Return what is to be said of a request that was decided on, perhaps elsewhere.

    Args:
        arrival: the TAT after it.
    """
    interval = quota.interval_seconds
    tolerance = interval * quota.burst
    waiting = max(arrival - now, 0.0)
    return Decision(
        is_allowed=is_allowed,
        arrival=arrival,
        remaining=_whole((tolerance - waiting) / interval),
        retry_seconds=0.0 if is_allowed else max(waiting + interval * cost - tolerance, 0.0),
        reset_seconds=waiting,
    )


def rate_limit_lines(name: str, quota: Quota, decision: Decision) -> bytes:
    """Return ``RateLimit``, ``RateLimit-Policy`` and, for a refusal, ``Retry-After``.

    Complete header lines, each ending in CRLF. Seconds are rounded up: who waits so long is served.

    Args:
        name: of the limit; a String of RFC 9651 as it stands.
    """
    fields = rate_limit_fields(name, quota, decision)
    return "".join(f"{field}: {value}\r\n" for field, value in fields.items()).encode("ascii")


def rate_limit_fields(name: str, quota: Quota, decision: Decision) -> dict[str, str]:
    """Return the same as names and values."""
    window_seconds, reset_seconds = quota.window_seconds, decision.reset_seconds
    fields = {
        "RateLimit-Policy": f'"{name}";q={quota.requests};w={math.ceil(window_seconds)}',
        "RateLimit": f'"{name}";r={decision.remaining};t={math.ceil(reset_seconds)}',
    }
    if not decision.is_allowed:
        fields["Retry-After"] = str(max(math.ceil(decision.retry_seconds), 1))
    return fields


def client_bucket(address: str) -> str:
    """Return whom requests from an address are counted for: an IPv4 address, or an IPv6 /64.

    An IPv4 address that is written as IPv6 (``::ffff:192.0.2.1``) counts as itself. What is no
    address (the path of a Unix socket) counts as it stands.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    host_bits = 128 - _IPV6_PREFIX
    return f"{IPv6Address(int(parsed) >> host_bits << host_bits)}/{_IPV6_PREFIX}"


def _whole(count: float) -> int:
    return max(math.floor(count + 1e-3), 0)
