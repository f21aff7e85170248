"""One request to the origin that answers many, and fills the cache on the way.

Place on the path: between the cache and the balancer. A fill is an exchange of its own, without a
client: it is retried, hedged and queued as any other, and goes on when the client that caused it
leaves. Requests for the same thing read along as the answer arrives, each at its own speed, or are
sent on their own way when it turns out that the answer is not for all.

What is kept is kept whole until it is complete, so that a reader who comes late misses nothing;
what is not kept is dropped as it is read, and the slowest reader holds the origin back.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from poruwa.gateway.attempt import Attempt
from poruwa.gateway.balancer import balance
from poruwa.gateway.exchange import Exchange
from poruwa.gateway.heads import stored_block
from poruwa.gateway.listener import ClientConnection
from poruwa.net.head import AUTHORIZATION, COOKIE
from poruwa.net.http1 import RequestHead, ResponseHead
from poruwa.rules.coherence_fields import position_line, take_position
from poruwa.rules.message import RefusalReason

if TYPE_CHECKING:
    from poruwa.gateway.cache import CachePlan, GatewayCache
    from poruwa.gateway.siblings import Asking, Lending
    from poruwa.gateway.stored import StoredResponse

# The fill asks for the whole, with the cache's validators, and says the rest in one way.
ITS_OWN = frozenset(
    (b"accept-encoding", b"if-match", b"if-modified-since", b"if-none-match", b"if-range",
     b"if-unmodified-since", b"range")
)  # fmt: skip
_PERSONAL = 1 << AUTHORIZATION | 1 << COOKIE


class FillClient(ClientConnection):
    """Stands where a fill's client would: nothing is written to it, its deadlines are kept."""

    __slots__ = ("fill",)

    def __init__(self, fill: Fill, leader: Exchange) -> None:
        super().__init__(
            leader.gateway, is_tls=False, listener_port=0, peer_host=leader.client_address
        )
        self.fill = fill
        self.is_trusted = False
        self.deadline = float("inf")

    def write(self, data: bytes) -> None:
        pass

    def write_message(self, head: bytes, body: bytes) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def end_exchange(self, *, keep_alive: bool) -> None:
        self.exchange = None

    def refuse(self, reason: RefusalReason) -> None:
        self.abort()

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        """The answer cannot be had whole: so do the readers learn."""
        fetch = self.exchange
        if fetch is not None:
            fetch.on_client_lost()
        self.fill.on_cut()
        self.fill.on_ended(self)

    def expire(self) -> None:
        if self.exchange is not None:
            self.exchange.on_deadline()


class FillExchange(Exchange):
    """The request of a fill; its answer goes to the fill."""

    __slots__ = ("fill",)

    def __init__(
        self,
        fill: Fill,
        client: FillClient,
        leader: Exchange,
        lines: bytes,
        own_names: frozenset[bytes],
    ) -> None:
        super().__init__(leader.gateway, client, fill.request, 0)
        client.exchange = self
        self.fill = fill
        if fill.request is leader.head:  # rewritten by its route, maybe
            self.target = leader.target
        self.path = leader.path
        self.route = leader.route
        self.client_address = leader.client_address
        self.is_secure = leader.is_secure
        self.forwarding, own_lines = fill.plan.rule.fill_lines(leader)
        identity, position = take_position(leader.identity_lines())
        # What is known to have changed here is to be seen there, or the answer could not be kept.
        fill.asked_position = position = max(position, fill.begun_position)
        if position:
            lines += position_line(position)
        self.identity = identity + own_lines + lines
        self.request_id = leader.request_id
        self.nominated = own_names if self.nominated is None else self.nominated | own_names

    def answer_error(self, status: int, *, retry_after: int | None = None) -> None:
        self.status = status
        self._end()
        self.fill.on_error(status)
        self.fill.on_ended(self.client)

    def on_interim(self, attempt: Attempt, head: ResponseHead) -> None:
        if attempt is self.attempt:
            self.fill.on_interim(head)

    def on_switched(self, attempt: Attempt, head: ResponseHead, data: bytes) -> None:
        self._abandon_tries()
        self.answer_error(502)

    def on_body(self, data: bytes, *, complete: bool) -> None:
        self.bytes_out += len(data)
        if complete:
            self._response_complete()
        else:
            self._set_response_deadline()
        self.fill.on_body(data, complete=complete)
        if complete:
            self.fill.on_ended(self.client)

    def _deliver(
        self, attempt: Attempt, head: ResponseHead, framing: int, body: bytes, *, complete: bool
    ) -> None:
        if complete:
            self.ended_at = attempt.answered_at
            self._response_complete()
        else:
            self._set_response_deadline()
        self.fill.on_head(head, framing, body, complete=complete)
        if complete:
            self.fill.on_ended(self.client)

    def _record(self) -> None:
        self.gateway.fetching.discard(self.client)


class StreamReader:
    """A client's exchange that reads along with a fill.

    Attributes:
        plan: how its request is cached.
        position: index of the next piece it gets.
        has_begun: whether its client has the head.
    """

    __slots__ = ("exchange", "fill", "has_begun", "is_writable", "plan", "position")

    def __init__(self, fill: Fill, exchange: Exchange, plan: CachePlan) -> None:
        self.fill = fill
        self.exchange = exchange
        self.plan = plan
        self.position = 0
        self.has_begun = False
        self.is_writable = True

    def set_writable(self, *, writable: bool) -> None:
        """Send on, or hold back until the client has taken what was sent."""
        self.is_writable = writable
        if writable:
            self.fill.send_to(self)
        self.fill.hold_back()

    def cancel(self) -> None:
        """The exchange has ended."""
        self.fill.leave(self)


class Fill:
    """One fetch of one variant, and who reads along.

    Args:
        plan: how the request that caused it is cached.
        stored: what is to be revalidated; None for nothing.
        as_of: position of the worker's own changes when it was begun.
        is_listed: whether others may join it, and its answer says what they would get. Not where
            it was asked with a client's credentials, or for a part.

    Attributes:
        request: what the origin is asked.
        begun_position: of the change log, when it was begun.
        log_as_of: what of the log its answer holds: as the answer says, else as when it was begun.
        asked_position: that the origin was told to have applied; 0 before it is asked.
        is_unsure: the instance that answers may have missed a change.
        is_bypass: it is for those who came before it began: not joined, not kept.
        tags: of the answer, as far as they are known; None before.
        began_at: monotonic nanoseconds.
        claim: its number in the fill table (``gateway.siblings``); -1 for none.
        source: the sibling that answers it instead of the origin; None for none.
        lending: siblings that read along.
    """

    __slots__ = (
        "_age_line",
        "_asked_status",
        "_block",
        "_bytes",
        "_cache",
        "_dropped",
        "_entry",
        "_fetch",
        "_has_head",
        "_is_complete",
        "_is_held",
        "_length",
        "_pieces",
        "_readers",
        "_status",
        "_status_text",
        "as_of",
        "asked_at",
        "asked_position",
        "asks_whole",
        "began_at",
        "begun_position",
        "claim",
        "is_bypass",
        "is_listed",
        "is_stored",
        "is_unsure",
        "lending",
        "log_as_of",
        "plan",
        "request",
        "source",
        "stored",
        "tags",
    )

    request: RequestHead
    begun_position: int
    log_as_of: int
    asked_position: int

    def __init__(
        self,
        cache: GatewayCache,
        plan: CachePlan,
        stored: StoredResponse | None,
        *,
        as_of: int,
        is_listed: bool = True,
    ) -> None:
        self._cache = cache
        self.plan = plan
        self.stored = stored
        self.asked_at = time.time()
        self.as_of = as_of
        self.begun_position = self.log_as_of = cache.coherence.position
        self.asked_position = 0
        self.is_unsure = False
        self.is_bypass = False
        self.is_listed = is_listed
        self.asks_whole = True  # unconditionally
        self.began_at = time.monotonic_ns()
        self.claim = -1
        self.source: Asking | None = None
        self.lending: list[Lending] = []
        self.tags = stored.tags if stored is not None else None
        self.is_stored = True  # until the answer says otherwise
        self._readers: list[StreamReader] = []
        self._pieces: list[bytes] = []
        self._dropped = 0  # pieces that everybody has had and nobody will need
        self._bytes = 0
        self._has_head = False
        self._is_complete = False
        self._is_held = False
        self._entry: StoredResponse | None = None
        self._fetch: FillExchange | None = None
        self._asked_status = 0  # of the origin's answer
        self._status = 0  # of ours
        self._status_text = b""
        self._block = b""
        self._age_line = b""  # of an answer that is passed on as it came
        self._length = -1

    def begin(self, leader: Exchange, lines: bytes, own_names: frozenset[bytes] = ITS_OWN) -> None:
        """Ask a sibling, or the origin.

        Args:
            leader: whose request causes it.
            lines: the validators of what is stored.
            own_names: fields of the leader's that are not passed on.
        """
        siblings = self._cache.siblings
        if siblings is None or not siblings.take(self, leader, lines):
            self.ask_origin(leader, lines, own_names)

    def ask_origin(
        self, leader: Exchange, lines: bytes, own_names: frozenset[bytes] = ITS_OWN
    ) -> None:
        """Ask the origin; arguments as above."""
        self.request = self.plan.rule.fill_head(leader, self.plan.primary)
        self.asks_whole = not lines
        client = FillClient(self, leader)
        self._fetch = fetch = FillExchange(self, client, leader, lines, own_names)
        leader.gateway.fetching.add(client)
        balance(fetch)

    def join(self, exchange: Exchange, plan: CachePlan) -> None:
        """Let ``exchange`` read along."""
        reader = StreamReader(self, exchange, plan)
        self._readers.append(reader)
        exchange.wait_for_fill(reader)
        if self._has_head:
            self._begin_reader(reader)

    def leave(self, reader: StreamReader) -> None:
        """Forget a reader; nobody asks for what is neither read nor kept."""
        if reader in self._readers:
            self._readers.remove(reader)
        self.hold_back()
        self._end_if_unwanted()

    def lend(self, lending: Lending) -> None:
        """Let a sibling read along."""
        self.lending.append(lending)
        if self._has_head and self._entry is not None:
            lending.begin(self._entry, self._length)
            for piece in self._pieces:
                lending.send(piece)

    def stop_lending(self, lending: Lending) -> None:
        """Forget a sibling that went away."""
        if lending in self.lending:
            self.lending.remove(lending)
        self.hold_back()
        self._end_if_unwanted()

    # From a sibling, instead of a fetch; the body comes by ``on_body``.

    def adopt(self, entry: StoredResponse, length: int) -> None:
        """Take the head of what a sibling lends: it is for all, and still to be stored here."""
        age = entry.age(time.time())
        self._age_line = b"Age: %d\r\n" % age if age else b""
        self._has_head = True
        self._asked_status = self._status = entry.status
        self._status_text = entry.status_text
        self._block, self._length = entry.block, length
        self._entry = entry
        self.tags = entry.tags
        entry.as_of = self.as_of
        self.log_as_of = entry.log_as_of
        self._cache.on_lent(self)
        self._lend_head()
        for reader in list(self._readers):
            reader.plan.is_collapsed = True
            self._begin_reader(reader)

    def on_gone(self, status: int, *, is_remembered: bool) -> None:
        """The sibling's answer is not for all."""
        if is_remembered:
            self.is_stored = False
            self._cache.on_not_stored(self, status)
        self._let_go(list(self._readers))

    def on_source_silent(self) -> None:
        """The sibling is frozen amid an answer: who has had nothing of it goes on alone."""
        self._let_go([reader for reader in self._readers if not reader.has_begun])

    def on_source_lost(self) -> None:
        """The sibling is gone amid an answer."""
        self.on_source_silent()
        self.on_cut()

    # From the fetch.

    def on_interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on to those who wait; it is not stored."""
        for reader in self._readers:
            reader.exchange.pass_interim(head)

    def on_head(self, head: ResponseHead, framing: int, body: bytes, *, complete: bool) -> None:
        """Decide whether the answer is for all, and begin to pass it on."""
        cache = self._cache
        now = time.time()
        stored = self.stored
        if stored is not None and head.status == 304:
            fresh = cache.freshen(stored, head, self, now)
            if fresh is not None:
                self.tags = fresh.tags
                self._let_joiners_go()
                self._give_up()
                self._answer_all(fresh, now, 304)
                return
        if head.status == 304:
            self.ask_again()
            return
        if stored is not None and head.status >= 500 and self._serves_stale(now, head.status):
            self._give_up()
            return
        entry, is_personal = cache.entry_for(self, head, now)
        self._take_head(head, framing, entry)
        plan = self.plan
        self._block = (
            entry.block if entry is not None else stored_block(head, plan.route, plan.primary)
        )
        self._let_joiners_go()
        if entry is None:
            self._is_for_one(is_personal=is_personal)
        elif not entry.is_fresh(now) or entry.facts.no_cache:
            self._let_go(self._readers[1:])  # they would have to ask anew at once
        self._lend_head()
        if complete and entry is not None:
            self._finish(body)
            return
        for reader in list(self._readers):
            self._begin_reader(reader)
        self.on_body(body, complete=complete)

    def _take_head(self, head: ResponseHead, framing: int, entry: StoredResponse | None) -> None:
        """Keep what of an answer's head is passed on; ``entry`` is what is to be stored of it."""
        self._has_head = True
        self._entry = entry
        if entry is not None:
            self.tags = entry.tags
        self._asked_status = self._status = head.status
        self._status_text = head.status_text
        age = head.fields.get(b"age")
        if age is not None:
            self._age_line = b"Age: %b\r\n" % age
        if framing >= 0:
            self._length = framing if head.status not in (204, 304) else -2

    def on_body(self, data: bytes, *, complete: bool) -> None:
        """Pass a piece on."""
        if data:
            self._pieces.append(data)
            self._bytes += len(data)
            for lending in self.lending:
                lending.send(data)
        largest = min(self._cache.largest_bytes, self.plan.rule.largest_bytes)
        if self._entry is not None and self._bytes > largest:
            self._entry = None
            self.is_stored = False
            self._cache.forget_fill(self)
            for reader in list(self._readers):
                if not reader.has_begun:
                    self._begin_reader(reader)
        if complete:
            self._is_complete = True
            if self._entry is not None:
                self._finish(b"".join(self._pieces))
                return
            self._cache.forget_fill(self)
            self._end_lending()
        for reader in list(self._readers):
            self.send_to(reader)
        self._drop_read()
        self.hold_back()

    def on_cut(self) -> None:
        """The answer broke off."""
        self._cache.forget_fill(self)
        self.is_stored = False
        for lending in self._take_lending():
            lending.close()
        readers, self._readers = self._readers, []
        for reader in readers:
            if reader.has_begun:
                reader.exchange.client.abort()
            else:
                reader.exchange.leave_fill()
                reader.exchange.answer_error(502)

    def on_error(self, status: int) -> None:
        """No answer could be had."""
        self._cache.forget_fill(self)
        for lending in self._take_lending():
            lending.fail(status)
        if self.stored is not None:
            if self._serves_stale(time.time(), 0):
                return
            status = 504  # RFC 9111 section 5.2.2.2: it had to be validated
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.exchange.leave_fill()
            reader.exchange.response_lines += self._cache.miss_lines(reader.plan, 0, stored=False)
            reader.exchange.answer_error(status)

    def on_ended(self, client: ClientConnection) -> None:
        """Let go of the fetch that has ended: it refers back, and would wait for the collector."""
        if self._fetch is not None and self._fetch.client is client:
            self._fetch = None

    # For readers.

    def send_to(self, reader: StreamReader) -> None:
        """Send what a reader has not had."""
        if not reader.has_begun:
            return
        pieces = self._pieces
        last = len(pieces) + self._dropped
        while reader.position < last and reader.is_writable:
            piece = pieces[reader.position - self._dropped]
            reader.position += 1
            is_end = self._is_complete and reader.position == last
            reader.exchange.on_body(piece, complete=is_end)
            if is_end:
                return
        if self._is_complete and reader.position == last and reader in self._readers:
            reader.exchange.on_body(b"", complete=True)

    def hold_back(self) -> None:
        """Let the origin wait while a reader of what is not kept is slow."""
        if self.is_stored or self._is_complete:
            return
        slow = any(not reader.is_writable for reader in self._readers) or any(
            not lending.is_writable for lending in self.lending
        )
        if slow is not self._is_held:
            self._is_held = slow
            if self._fetch is not None:
                self._fetch.on_client_writable(writable=not slow)
            elif self.source is not None:
                self.source.hold(slow=slow)

    # Inside.

    def _begin_reader(self, reader: StreamReader) -> None:
        """Send the head, unless the whole answer is to decide what this reader gets."""
        if reader.plan.wants_part and self._entry is not None:
            return
        exchange = reader.exchange
        if self._entry is not None and not self._cache.is_variant(self._entry, exchange):
            self._readers.remove(reader)
            exchange.leave_fill()
            self._cache.send_alone(exchange)
            return
        reader.has_begun = True
        fetch = self._fetch
        if fetch is not None and exchange.instance is None:
            exchange.instance, exchange.tries = fetch.instance, fetch.tries
        lines = self._age_line
        is_stored = self._entry is not None
        lines += self._cache.miss_lines(reader.plan, self._asked_status, stored=is_stored)
        exchange.begin_stream(self._status, self._status_text, self._block, lines, self._length)
        self.send_to(reader)

    def _is_for_one(self, *, is_personal: bool) -> None:
        """Keep the first reader; the others ask for themselves.

        So does the first one if it was asked for anonymously and may get another answer, or wants
        no more than a part of it.
        """
        self.is_stored = False
        self._cache.on_not_stored(self, self._status)
        first = self._readers[0].exchange if self._readers else None
        keeps_first = first is not None and not (
            self.plan.rule.is_anonymous
            and (
                self._readers[0].plan.wants_part or (is_personal and first.head.has_any(_PERSONAL))
            )
        )
        self._let_go(self._readers[1 if keeps_first else 0 :])
        if not self._readers:
            self._give_up()

    def _let_joiners_go(self) -> None:
        """Keep only who caused the fetch, where its answer may be older than others may expect.

        Who caused it asked before it was made. Who joined knows of all that this worker had applied
        then, and the instance says that it had not: they share the next fetch. Siblings are lent it
        all the same, and judge by what they know.
        """
        if self._cache.coherence.is_for_joiners(self):
            return
        for reader in [each for each in self._readers if each.plan is not self.plan]:
            self._readers.remove(reader)
            reader.exchange.leave_fill()
            self._cache.ask_next(reader.exchange, reader.plan)

    def _let_go(self, readers: list[StreamReader]) -> None:
        """Send readers on their own way."""
        self._cache.forget_fill(self)
        for lending in self._take_lending():
            lending.go_alone(self._status, is_remembered=not self.is_stored)
        for reader in readers:
            self._readers.remove(reader)
            reader.exchange.leave_fill()
            self._cache.send_alone(reader.exchange)

    def _finish(self, body: bytes) -> None:
        """Keep the whole answer, and give it to those who have not had all of it."""
        entry = self._entry
        assert entry is not None
        self._cache.note_filled(self)
        self._cache.forget_fill(self)
        if not self._pieces:
            for lending in self.lending:
                lending.send(body)
        self._end_lending()
        entry.body = body
        if self._cache.may_keep(self, entry.tags):
            self._cache.keep(entry, self.plan.rule)
        self._is_complete = True
        for reader in [each for each in self._readers if each.has_begun]:
            self.send_to(reader)
        waiting = [reader for reader in self._readers if not reader.has_begun]
        self._readers = [reader for reader in self._readers if reader.has_begun]
        self._answer(waiting, entry, time.time(), self._asked_status)

    def _answer_all(self, entry: StoredResponse, now: float, status: int) -> None:
        self._cache.note_filled(self)
        self._cache.forget_fill(self)
        for lending in self._take_lending():
            if entry.is_fresh(now):
                lending.give(entry)
            else:
                lending.go_alone(status, is_remembered=False)
        readers, self._readers = self._readers, []
        self._answer(readers, entry, now, status)

    def _answer(
        self, readers: list[StreamReader], entry: StoredResponse, now: float, status: int
    ) -> None:
        fetch = self._fetch
        for reader in readers:
            exchange = reader.exchange
            exchange.leave_fill()
            if fetch is not None and exchange.instance is None:
                exchange.instance, exchange.tries = fetch.instance, fetch.tries
            if self._cache.is_variant(entry, exchange):
                self._cache.serve_filled(exchange, entry, reader.plan, now, status)
            else:
                self._cache.send_alone(exchange)

    def ask_again(self) -> None:
        """Ask for the whole: what came is of something else than what is stored.

        So is a 304 whose validator is another one (RFC 9111 section 4.3.4). Where it was the whole
        that was asked for, such an answer is none.
        """
        had_asked, self.asks_whole = not self.asks_whole, True
        self.stored = None
        readers = self._readers
        fetch, self._fetch = self._fetch, None
        if fetch is not None and fetch.client.exchange is fetch:
            fetch.on_client_lost()
        if not had_asked:
            self.on_error(502)
        elif readers:
            self.asked_at = time.time()
            self.begin(readers[0].exchange, b"")
        else:
            self._cache.forget_fill(self)

    def _serves_stale(self, now: float, status: int) -> bool:
        """Answer with what is stored, where that is allowed while the origin fails.

        Args:
            status: of the origin's answer; 0 for none.
        """
        stored = self.stored
        if stored is None:
            return False
        readers = list(self._readers)
        may = self._cache.may_serve_stale
        if not all(may(stored, each.plan, now, is_answered=status > 0) for each in readers):
            return False
        self._cache.forget_fill(self)
        for lending in self._take_lending():
            lending.fail(status or 502)
        self._readers = []
        for reader in readers:
            reader.exchange.leave_fill()
            self._cache.serve_stale(reader.exchange, stored, reader.plan, now, status)
        return True

    def _drop_read(self) -> None:
        """Forget the pieces that all readers have had, where nobody else will come."""
        if self.is_stored or not self._pieces:
            return
        last = len(self._pieces) + self._dropped  # what siblings read is sent already
        least = min((each.position for each in self._readers), default=last) - self._dropped
        if least > 0:
            del self._pieces[:least]
            self._dropped += least

    def _lend_head(self) -> None:
        """Send siblings the head, with what of the body was held before."""
        if self._entry is not None:
            for lending in self.lending:
                lending.begin(self._entry, self._length)
                for piece in self._pieces:
                    lending.send(piece)

    def _take_lending(self) -> list[Lending]:
        lending, self.lending = self.lending, []
        return lending

    def _end_lending(self) -> None:
        for lending in self._take_lending():
            lending.end()

    def _end_if_unwanted(self) -> None:
        if self._has_head and not (self.is_stored or self._readers or self.lending):
            self._give_up()

    def _give_up(self) -> None:
        """End the fetch: nobody needs the rest."""
        self._cache.forget_fill(self)
        if self.source is not None:
            self.source.close()
        fetch, self._fetch = self._fetch, None
        if fetch is not None and fetch.client.exchange is fetch:
            fetch.on_client_lost()
