"""Whoever has written sees it from then on: the cookie with the position of the last write.

Place on the path: before the cache, for requests whose Cookie field has the cookie's name in it;
and in the head of the answer to a write. The value is a position of the change log and a MAC of it,
so that nobody can make a gateway wait for what will never come. It names no user and nothing that
changed: a number, sixty seconds long.

A request with it is answered from here once this worker has applied that position. If that takes
longer than ``stores.coherence.read_your_writes_wait``, the origin is asked, and told the position:
its own caches must have applied it, or are by-passed. So it is for all that passes: private pages
are made from cached data, too.

What is no position under any key of the ring, or of an earlier epoch of the log, is no cookie.
"""

from __future__ import annotations

import asyncio
import hmac
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Final

from poruwa.gateway.balancer import balance
from poruwa.net.http1 import ResponseHead
from poruwa.rules.affinity import may_carry_cookie
from poruwa.rules.coherence_fields import POSITION, position_line
from poruwa.rules.cookie import CookieForm, find_cookie
from poruwa.rules.position import epoch_of, parse_position

if TYPE_CHECKING:
    from poruwa.config.model import Policy
    from poruwa.gateway.cache import GatewayCache
    from poruwa.gateway.cache_rules import CacheRule
    from poruwa.gateway.exchange import Exchange
    from poruwa.gateway.gateway import Gateway
    from poruwa.stores.change_log import ChangeLog

MAX_AGE_SECONDS: Final = 60
"""Far longer than any layer that is sure can be behind; then it has been heard of everywhere."""
_MAC_BYTES: Final = 18  # as the affinity cookie's
_PREFIX: Final = b"__Host-"


class SeenCookie:
    """The cookie of one site: how it is set, and what makes it genuine.

    Args:
        site: name of the site, a token.
        keys: the ring, oldest first; written with the newest, read with all.
    """

    __slots__ = ("_keys", "_message", "needle", "plain", "prefixed")

    def __init__(self, site: str, keys: list[bytes]) -> None:
        self._keys = keys
        name = site.encode() + b"-seen"
        self.plain = CookieForm(name=name, max_age_seconds=MAX_AGE_SECONDS, secure=False)
        self.prefixed = CookieForm(name=_PREFIX + name, max_age_seconds=MAX_AGE_SECONDS)
        self._message = b"poruwa-seen\0" + site.encode() + b"\0"
        self.needle = name + b"="

    def value(self, position: int) -> bytes:
        """Return the value that says ``position``."""
        text = b"%d" % position
        return text + b"." + self._mac(self._keys[-1], text)

    def position(self, value: bytes) -> int:
        """Return the position that ``value`` says; 0 for what nobody of us has written."""
        text, _, mac = value.partition(b".")
        if not any(hmac.compare_digest(self._mac(key, text), mac) for key in self._keys):
            return 0
        return parse_position(text) or 0

    def _mac(self, key: bytes, text: bytes) -> bytes:
        return urlsafe_b64encode(hmac.digest(key, self._message + text, "sha256")[:_MAC_BYTES])


class ReadYourWrites:
    """Makes cookies of the positions of writes, and has reads follow them."""

    __slots__ = ("_cookie", "_gateway", "_wait_seconds")

    def __init__(self, gateway: Gateway, policy: Policy) -> None:
        self._gateway = gateway
        self._cookie = SeenCookie(policy.site.name, _key_ring(gateway, policy))
        self._wait_seconds = policy.stores.coherence.read_your_writes_wait_seconds

    def take(self, exchange: Exchange) -> bool:
        """Tell the instance what the client has seen; True where the request has to wait for it.

        For requests with cookies; what has not this one in them is told by a search of bytes.
        """
        if self._cookie.needle not in exchange.head.raw:
            return False
        position = self.note(exchange)
        cache, rule = self._gateway.cache, exchange.route.cache_rule
        log = None if cache is None else cache.coherence.log
        if cache is None or log is None or rule is None or position <= log.position:
            return False
        if exchange.method not in (b"GET", b"HEAD"):
            return False
        Waiting(exchange, cache, rule, log).begin(position, self._wait_seconds)
        return True

    def note(self, exchange: Exchange) -> int:
        """Have the instance told what the client has seen; return it, 0 for nothing."""
        value = find_cookie(exchange.head.field(b"cookie") or b"", self._form(exchange).name)
        position = 0 if value is None else self._cookie.position(value)
        cache = self._gateway.cache
        log = None if cache is None else cache.coherence.log
        if log is not None and epoch_of(position) < epoch_of(log.position):
            return 0  # of an earlier epoch: everything has changed since, here too
        if position:
            exchange.identity = exchange.identity_lines() + position_line(position)
        return position

    def cookie_line(self, exchange: Exchange, head: ResponseHead) -> bytes:
        """Return the Set-Cookie line for an answer that says where its write is in the log."""
        position = parse_position(head.field(POSITION) or b"")
        fields = head.fields
        if position is None or not may_carry_cookie(
            exchange.method,
            head.status,
            fields.get(b"cache-control"),
            targeted=fields.get(b"cdn-cache-control") or fields.get(b"surrogate-control"),
            has_expires=b"expires" in fields,
        ):
            return b""
        return self._form(exchange).line(self._cookie.value(position))

    def _form(self, exchange: Exchange) -> CookieForm:
        """Return the prefixed form where the client's browser keeps it, which has to be Secure.

        That is over TLS, and from localhost, which browsers trust without.
        """
        host = exchange.head.host.partition(b":")[0]
        keeps = exchange.is_secure or host == b"localhost" or host.endswith(b".localhost")
        return self._cookie.prefixed if keeps else self._cookie.plain


class Waiting:
    """A request that waits until this worker has applied a position; its exchange's sender."""

    __slots__ = ("_cache", "_exchange", "_log", "_rule", "_task")

    _task: asyncio.Task[None]

    def __init__(
        self, exchange: Exchange, cache: GatewayCache, rule: CacheRule, log: ChangeLog
    ) -> None:
        self._exchange = exchange
        self._cache = cache
        self._rule = rule
        self._log = log

    def begin(self, position: int, seconds: float) -> None:
        """Wait at most ``seconds``, then go on: with the cache, or past it."""
        self._exchange.wait_for_fill(self)
        self._task = self._exchange.gateway.loop.create_task(self._wait(position, seconds))

    def set_writable(self, *, writable: bool) -> None:
        """Nothing is being sent."""

    def cancel(self) -> None:
        """The client is gone."""
        self._task.cancel()

    async def _wait(self, position: int, seconds: float) -> None:
        has_reached = await self._log.reached(position, timeout=seconds)
        exchange, cache, rule = self._exchange, self._cache, self._rule
        exchange.leave_fill()
        consult = cache.consult if has_reached else cache.ask_past_if_behind
        if not consult(exchange, rule):
            balance(exchange)


def _key_ring(gateway: Gateway, policy: Policy) -> list[bytes]:
    """Return the keys of the affinity cookie; without any, the secret of this machine."""
    for pool in policy.pools:
        if pool.affinity is not None and pool.affinity.keys is not None:
            return [key.strip().encode() for key in pool.affinity.keys.reveal().split(",")]
    return [gateway.machine_secret]
