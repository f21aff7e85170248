"""``poruwa explain URL``: which instance would answer now, and why (G6).

Asked of the control process, which looks into the same memory as the workers and chooses by the
same rules (``gateway.selection``), without sending anything. What only a worker knows, such as an
instance that refused its last connection a moment ago, is not seen here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from poruwa.config.model import AffinityFailover, AffinityFallback, Policy, Pool, Route, Scope
from poruwa.errors import ErrorSource, StackError
from poruwa.gateway.local_bus import InstanceEntry, Topology
from poruwa.gateway.passive_health import Judge
from poruwa.gateway.routes import aliases_of, canonical_host
from poruwa.gateway.selection import HASH_METHODS, NOBODY, Selector
from poruwa.gateway.shared_state import InstanceState, SharedState
from poruwa.rules.affinity import AffinityTable, may_bind
from poruwa.rules.cookie import find_cookie
from poruwa.rules.ejection import Standing
from poruwa.rules.retry import SAFE_METHODS
from poruwa.rules.routing import RouteTable, normalise_path
from poruwa.stack.explain_guard import guard_of, limit_of

_SECURE_PREFIX = b"__Host-Http-"
_STATE_WORDS = {
    InstanceState.UNKNOWN: "not checked yet: taken only while none is known to be up",
    InstanceState.UP: "up",
    InstanceState.DOWN: "down by the checks",
    InstanceState.DRAINING: "draining: clients bound to it only",
    InstanceState.EJECTED: "ejected: live requests failed",
    InstanceState.PROBING: "on probation: one request at a time",
}


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request as it is asked about.

    Attributes:
        url: absolute, or a path; without a host the first route that fits any host counts.
        headers: by lower-case name; ``cookie`` and what ``hash_key`` names matter.
        client: address that hash methods go by.
    """

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    client: str = "127.0.0.1"


class Explainer:
    """Answers questions about the gateway of ``policy`` as it is now.

    Args:
        patience: of each route by name, hedge delay and try time-out as the workers learned them.
    """

    def __init__(
        self,
        policy: Policy,
        topology: Topology,
        shared: SharedState,
        judge: Judge,
        *,
        patience: Mapping[str, Sequence[float]],
    ) -> None:
        self._policy = policy
        self._aliases = aliases_of(policy)
        self._entries = {pool.name: pool.instances for pool in topology.pools}
        self._shared = shared
        self._judge = judge
        self._patience = patience

    def explain(self, question: Question) -> dict[str, Any]:
        """Return who would answer, as JSON values.

        Raises:
            StackError: what was asked about is no request this gateway could get.
        """
        try:
            parts = urlsplit(question.url)  # of an absolute URL or a path
        except ValueError as error:
            raise StackError(
                f"{question.url!r} is no URL ({error}): write http://HOST/PATH, or /PATH.",
                source=ErrorSource.CLIENT,
                status_hint=422,
            ) from error
        target = parts.path or "/"
        try:
            path = normalise_path(target.encode("ascii"))
        except UnicodeEncodeError:
            path = None
        if path is None:
            raise StackError(
                f"{target!r} is answered with 400: write it as a browser sends it.",
                source=ErrorSource.CLIENT,
                status_hint=422,
            )
        is_secure = parts.scheme == "https"
        host = (parts.netloc or question.headers.get("host", "")).encode().lower()
        answer: dict[str, Any] = {
            "url": question.url,
            "method": question.method,
            "host": host.decode() or None,
            "path": path.decode(),
        }
        table = RouteTable(self._policy.routes)
        canonical = canonical_host(self._aliases, host)
        index = None  # an alias's requests have no route
        if canonical is None:
            index = table.match(host, question.method.encode(), path)
        guard = guard_of(
            self._policy,
            None if index is None else self._policy.routes[index],
            question.method,
            question.headers,
            origin=(b"https" if is_secure else b"http", host),
            path=path,
        )
        answer["guard"] = guard
        if guard is not None and guard["status"] is not None:
            named = None if index is None else self._policy.routes[index]
            answer["route"] = named and (named.name or named.path)
            return answer | {"status": guard["status"], "why": f"the guard: {guard['why']}"}
        if index is None:
            if canonical is not None:
                why = f"{host.decode()} is an alias: 308 to {canonical.name}"
                return answer | {"route": None, "status": 308, "why": why}
            allowed = sorted(each.decode() for each in table.allowed_methods(host, path))
            why = (
                f"the path takes {', '.join(allowed)} only" if allowed else "no route has the path"
            )
            return answer | {"route": None, "status": 405 if allowed else 404, "why": why}
        route = self._policy.routes[index]
        answer["route"] = route.name or route.path
        answer["limit"] = limit_of(self._policy, route, question.method)
        answer["cookies"] = list(route.cookies) or None
        own = _answered_here(route)
        if own is not None:
            return answer | {"why": own}
        pool = next(each for each in self._policy.pools if each.name == route.pool)
        return answer | self._in_pool(route, pool, question, path, is_secure=is_secure)

    def _in_pool(
        self, route: Route, pool: Pool, question: Question, path: bytes, *, is_secure: bool
    ) -> dict[str, Any]:
        entries = self._entries.get(pool.name, [])
        selector = Selector(
            [entry.name for entry in entries],
            [entry.slot for entry in entries],
            [entry.weight for entry in entries],
            shared=self._shared,
            method=pool.method,
            max_in_flight=pool.max_in_flight_per_instance,
        )
        now = time.monotonic()
        ready = selector.ready(now, ())
        waits = dict(zip(ready, selector.waits(ready), strict=True))
        bound, cookie = self._bound(route, pool, entries, question, is_secure=is_secure)
        key = _hash_key(pool, question, path)
        is_safe = question.method.encode() in SAFE_METHODS
        chosen, why = self._choice(pool, selector, bound, key, now, may_probe=is_safe)
        late = self._patience.get(route.name or route.path) if is_safe else None
        if len(entries) < 2 or not self._is_hedged(route):
            late = None
        return {
            "pool": pool.name,
            "balancing": pool.method.value,
            "panic": self._judge.is_in_panic(pool.name),
            "affinity_cookie": cookie,
            "bound_to": entries[bound].name if bound is not None else None,
            "instance": entries[chosen].name if chosen != NOBODY else None,
            "why": why,
            "hedge_after_seconds": round(late[0], 4) if late else None,
            "try_timeout_seconds": round(late[1], 4) if late else None,
            "candidates": [
                self._candidate(position, entry, position in ready, waits.get(position))
                for position, entry in enumerate(entries)
            ],
        }

    def _is_hedged(self, route: Route) -> bool:
        """Whether late tries of ``route`` are watched at all (``gateway.late_tries``)."""
        first_byte = route.first_byte_seconds
        if first_byte is None:
            first_byte = self._policy.timeouts.first_byte_seconds
        return self._policy.hedge.enabled and first_byte > 0.0

    def _choice(
        self,
        pool: Pool,
        selector: Selector,
        bound: int | None,
        key: bytes,
        now: float,
        *,
        may_probe: bool,
    ) -> tuple[int, str]:
        """Return the position of the instance that would be chosen, and why it."""
        if bound is not None:
            if selector.may_serve_bound(bound, now):
                if selector.is_full(bound):
                    return NOBODY, "its own instance is full: the request waits for it"
                return bound, "the affinity cookie binds the client to it"
            if pool.affinity is not None and pool.affinity.failover is AffinityFailover.FAIL:
                return NOBODY, "its own instance cannot serve, and failover is fail: 503"
        elif pool.affinity is not None and pool.affinity.without_cookie is AffinityFallback.HASH:
            chosen = selector.choose_by_hash(now=now, key=key)
            if chosen != NOBODY:
                return chosen, "no affinity cookie: by hash of the client, within bounded load"
        chosen = selector.choose(now=now, tried=(), may_probe=may_probe, key=key)
        if chosen == NOBODY:
            return NOBODY, "no instance can take it: the request waits in the queue, then gets 503"
        if self._shared.state(selector.slots[chosen]) == InstanceState.PROBING:
            return chosen, "on probation: its answer shows whether the instance serves again"
        if pool.method in HASH_METHODS:
            return chosen, f"by hash of {pool.hash_key}"
        if selector.is_degraded:
            return chosen, "least wait to expect, by load, latency, capacity and errors"
        return chosen, f"by {pool.method.value} among equals"

    def _bound(
        self,
        route: Route,
        pool: Pool,
        entries: Sequence[InstanceEntry],
        question: Question,
        *,
        is_secure: bool,
    ) -> tuple[int | None, str]:
        """Return the position that the affinity cookie names, and what is to say of the cookie."""
        affinity = pool.affinity
        is_shared = any(
            each.name == route.data_class and each.scope is Scope.SHARED
            for each in self._policy.classes
        )
        is_used = route.affinity and may_bind(question.method.encode(), is_shared=is_shared)
        if affinity is None or affinity.keys is None or not is_used:
            return None, "not used on this route"
        keys = [key.strip().encode() for key in affinity.keys.reveal().split(",")]
        names = [entry.name for entry in entries]
        table = AffinityTable(pool.name, names, keys)
        name = affinity.cookie.encode()
        if is_secure:
            name = _SECURE_PREFIX + name
        value = find_cookie(question.headers.get("cookie", "").encode(), name)
        if value is None:
            return None, f"{name.decode()} is not there"
        instance = table.instance(value)
        if instance is None:
            return None, f"{name.decode()} names no instance: forged, old, or another site's"
        return names.index(instance), f"{name.decode()} names {instance}"

    def _candidate(
        self, position: int, entry: InstanceEntry, is_ready: bool, wait: float | None
    ) -> dict[str, Any]:
        shared, slot = self._shared, entry.slot
        state = InstanceState(shared.state(slot))
        judged = self._judge.find(slot)
        capacity = shared.capacity(slot)
        found: dict[str, Any] = {
            "instance": entry.name,
            "address": entry.address,
            "state": state.name.lower(),
            "reason": _STATE_WORDS[state],
            "ready": is_ready,
            "in_flight": shared.in_flight(slot),
            "weight": shared.weight(slot),
            "slowness": round(shared.slowness(slot), 2),
            "latency_ratio": round(shared.ratio(slot), 2),
            "capacity": None if capacity == float("inf") else round(capacity, 1),
            "expected_wait": None if wait is None else round(wait, 4),
        }
        if judged is not None and judged.passive.standing is not Standing.ADMITTED:
            left = max(judged.passive.until - time.monotonic(), 0.0)
            found["reason"] += f" ({judged.passive.reason.value}, {left:.1f} s left)"
        elif judged is not None and state is InstanceState.DOWN:
            found["reason"] += f" ({judged.reason.value})"
        return found


def _answered_here(route: Route) -> str | None:
    """Return what the gateway itself does with requests of ``route``, None if an instance does."""
    if route.redirect is not None:
        return f"the gateway redirects ({route.redirect.status}) to {route.redirect.to}"
    if route.static is not None:
        return f"the gateway answers from the folder {route.static.folder}"
    if route.pool is None:
        return "the route has no pool: 404"
    return None


def _hash_key(pool: Pool, question: Question, path: bytes) -> bytes:
    kind, _, name = pool.hash_key.partition(":")
    value: bytes | None = None
    if kind == "path":
        value = path
    elif kind == "header" and name.lower() in question.headers:
        value = question.headers[name.lower()].encode()
    elif kind == "cookie":
        value = find_cookie(question.headers.get("cookie", "").encode(), name.encode())
    return question.client.encode() if value is None else value
