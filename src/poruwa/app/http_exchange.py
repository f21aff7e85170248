"""All tries of one request, until one of them has an answer.

Part of ``poruwa.app.http_transport``. What is done when no answer has come, by kind of request:

| request                    | late            | later still            | the try failed           |
|----------------------------|-----------------|------------------------|--------------------------|
| GET or HEAD, replayable    | a hedge: both   | a further try: all go  | a further try            |
|                            | go on           | on                     |                          |
| other idempotent or keyed, | waits           | it ends; a further try | a further try            |
| replayable                 |                 |                        |                          |
| any other                  | waits           | waits                  | a further try if nothing |
|                            |                 |                        | was sent                 |

Late and later still are ``Patience.hedge_seconds`` and ``.try_seconds``. Hedges are paid from one
budget, all further tries from another. A read time-out that the caller set ends a try and begins
none: the caller's patience is at its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import httpx

from poruwa.app.http_sender import HttpSender
from poruwa.app.http_try import Try, failure_kind
from poruwa.app.lease import Lease
from poruwa.rules.health import is_expected_status
from poruwa.rules.latency import Patience
from poruwa.rules.retry import (
    IDEMPOTENT_METHODS,
    SAFE_METHODS,
    FailureKind,
    RetryBudget,
    is_failure_status,
    may_retry,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRules:
    """What may be done with one request.

    Attributes:
        method: of the request.
        is_keyed: whether it carries an Idempotency-Key.
        is_replayable: whether its body is in memory and small enough.
        may_hedge: whether hedges are wanted.
        further_tries: at most, the hedge not counted.
        retried_statuses: upon which it is tried once more, if it may be sent again.
        patience: from when on an answer is late; None waits as long as the caller does.
    """

    method: bytes
    is_keyed: bool
    is_replayable: bool
    may_hedge: bool
    further_tries: int
    retried_statuses: tuple[int | str, ...]
    patience: Patience | None

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again though it may have been received."""
        return self.is_replayable and (self.method in IDEMPOTENT_METHODS or self.is_keyed)

    @property
    def is_raced(self) -> bool:
        """Whether a late try goes on beside the next one."""
        return self.is_repeatable and self.method in SAFE_METHODS


class Exchange:
    """One request: begins tries, waits for them, and ends with one response or error.

    Args:
        sender: gives leases and sends.
        request: as the caller wrote it.
        rules: what may be done with it.
        retries, hedges: the budgets.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        sender: HttpSender,
        request: httpx.Request,
        rules: SendRules,
        *,
        retries: RetryBudget,
        hedges: RetryBudget,
        clock: Callable[[], float],
    ) -> None:
        self._sender = sender
        self._request = request
        self._rules = rules
        self._retries = retries
        self._hedges = hedges
        self._clock = clock
        self._running: list[Try] = []
        self._tried: frozenset[str] = frozenset()
        self._further_tries = rules.further_tries
        self._has_retried_status = False
        self._fallback: Try | None = None  # has an error status, to end with if nothing is better
        self._hedge_at = self._retry_at = inf
        self.tries = 0

    async def answer(self) -> Try:
        """Return the try whose response counts; its lease is open until that is closed.

        Cancelling ends all tries and gives all leases back.

        Raises:
            httpx.TransportError: of the last try.
        """
        self._begin(
            self._sender.lease(self._request, avoid=self._tried, probe=self._rules.is_repeatable)
        )
        self._set_timers(self._rules)
        try:
            return await self._first_answer()
        finally:
            for each in self._running:
                self._sender.discard(each)
            if self._fallback is not None:
                self._sender.discard(self._fallback)

    def _set_timers(self, rules: SendRules) -> None:
        if rules.patience is None or not rules.is_repeatable:
            return
        now = self._clock()
        self._retry_at = now + rules.patience.try_seconds
        if rules.may_hedge and rules.is_raced:
            self._hedge_at = now + rules.patience.hedge_seconds

    async def _first_answer(self) -> Try:
        while True:
            late_at = min(self._hedge_at, self._retry_at)
            done, _ = await asyncio.wait(
                [each.task for each in self._running],
                timeout=None if late_at == inf else max(late_at - self._clock(), 0.0),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                self._on_late()
            for ended in [each for each in self._running if each.task in done]:
                self._running.remove(ended)
                error = ended.task.exception()
                if error is not None:
                    self._on_failure(error)
                elif self._is_final(ended):
                    self._blame_overtaken(ended)
                    return ended
            if not self._running:
                assert self._fallback is not None
                last, self._fallback = self._fallback, None
                return last

    def _begin(self, lease: Lease) -> None:
        self.tries += 1
        self._tried |= {lease.instance}
        is_last = not self._further_tries or len(self._tried) == self._sender.instance_count
        self._running.append(
            Try(
                lease,
                lambda: self._sender.send(self._request, lease, is_last=is_last),
                started_at=self._clock(),
            )
        )

    def _lease_of_another(self) -> Lease | None:
        """Return a lease of an instance not tried yet, None where all were."""
        lease = self._sender.lease(self._request, avoid=self._tried, probe=False)
        if lease.instance not in self._tried:
            return lease
        lease.close()
        return None

    def _begin_hedge(self, now: float) -> bool:
        other = self._lease_of_another()
        if other is None:
            return False
        if not self._hedges.take(now):
            other.close()
            return False
        self._begin(other)
        return True

    def _begin_further_try(self, now: float, *, same_will_do: bool = False) -> bool:
        """Begin a try from the retry budget; False where there can be none."""
        if not self._further_tries:
            return False
        other = self._lease_of_another()
        if other is None and same_will_do:
            other = self._sender.lease(self._request, avoid=self._tried, probe=False)
        if other is None:
            return False
        if not self._retries.take(now):
            other.close()
            return False
        self._further_tries -= 1
        self._begin(other)
        return True

    def _on_late(self) -> None:
        """Begin a hedge or a further try, as far as there are instances and budget."""
        patience = self._rules.patience
        assert patience is not None
        now = self._clock()
        if now >= self._hedge_at:
            self._hedge_at = inf
            if self._begin_hedge(now):
                # The hedge has as long as the first one had.
                self._retry_at = max(self._retry_at, now + patience.hedge_seconds)
        elif now >= self._retry_at:
            self._retry_at = now + patience.try_seconds if self._further_tries else inf
            late = list(self._running)
            if self._begin_further_try(now) and not self._rules.is_raced:
                for each in late:
                    self._running.remove(each)
                    each.lease.failed(FailureKind.FIRST_BYTE_TIMEOUT.value)
                    self._sender.discard(each)

    def _on_failure(self, error: BaseException) -> None:
        """Go on after a try has failed; raises ``error`` where there is nothing to go on with."""
        kind = failure_kind(error)
        # With one instance, or when all were tried, a closed connection may have been an idle one
        # that the instance gave up as the request was on its way.
        same_will_do = kind is FailureKind.CLOSED
        if self._may_retry(error, kind) and self._begin_further_try(
            self._clock(), same_will_do=same_will_do
        ):
            return
        if not self._running and self._fallback is None:
            raise error

    def _may_retry(self, error: BaseException, kind: FailureKind | None) -> bool:
        is_sent = not isinstance(error, httpx.PoolTimeout)
        if kind is FailureKind.FIRST_BYTE_TIMEOUT or (kind is None and is_sent):
            return False
        return may_retry(
            method=self._rules.method,
            idempotency_key=self._rules.is_keyed,
            bytes_sent=is_sent,
            connection_reused=False,
            response_begun=False,
            body_replayable=self._rules.is_replayable,
            failure=kind or FailureKind.CLOSED,
        ).is_retry

    def _is_final(self, ended: Try) -> bool:
        """Tell whether a response ends the exchange; if not it is kept to end with."""
        status = ended.task.result().status_code
        if not is_failure_status(status):
            return True
        may_ask_again = self._rules.is_repeatable and is_expected_status(
            status, self._rules.retried_statuses
        )
        if may_ask_again and not self._has_retried_status:
            self._has_retried_status = True
            self._begin_further_try(self._clock())
        if not self._running:
            return True
        if self._fallback is not None:
            self._sender.discard(self._fallback)
        self._fallback = ended
        return False

    def _may_ask_again(self, status: int) -> bool:
        rules = self._rules
        return rules.is_repeatable and is_expected_status(status, rules.retried_statuses)

    def _blame_overtaken(self, winner: Try) -> None:
        """Blame the instances of earlier tries that a prompt answer overtook.

        One that took long itself says that the request is slow, not that the others are.
        """
        patience = self._rules.patience
        if patience is None or self._clock() - winner.started_at > patience.hedge_seconds:
            return
        for each in self._running:
            if each.started_at < winner.started_at:
                each.lease.failed("overtaken: a later try elsewhere was answered first")
