"""Who waits for an instance, in an order that is fair between clients.

Place on the path: the gateway's balancer puts a request here while no instance can take it, and
takes the next one when an instance can. Clients (by address) are served in turn, one request each,
as Nagle's "On Packet Switches With Infinite Storage" (RFC 970) proposes; within one client, first
come, first served. So a client that sends a thousand requests delays each other client by one.

The queue is bounded. When it is full, an arrival takes the place of the newest request of the
client with the most, if its own client has at least ``CLEARLY_FEWER`` fewer; else it is turned
away. So no client can fill the queue against the others.

Holds no deadline: whoever waits sees to its own, and leaves by ``remove``.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

CLEARLY_FEWER: Final = 2
"""By one, two clients would displace each other for ever; by two, both end up alike."""

WaiterT = TypeVar("WaiterT")


class FairQueue(Generic[WaiterT]):
    """Waiters by client. Every operation takes constant time, where nothing else is said.

    Args:
        limit: waiters in all, 0 or more; with 0 everybody is turned away.
    """

    __slots__ = ("_by_length", "_length", "_lines", "_longest", "limit")

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self._length = 0
        # Clients with waiters, the one whose turn it is first.
        self._lines: OrderedDict[str, deque[WaiterT]] = OrderedDict()
        # The same clients by how many waiters they have, up to ``_longest``: a full queue finds
        # whom to displace without a search. The last of a group came to that length last.
        self._by_length: dict[int, OrderedDict[str, None]] = {}
        self._longest = 0

    def __len__(self) -> int:
        return self._length

    def put(self, client: str, waiter: WaiterT) -> WaiterT | None:
        """Queue ``waiter`` and return who is turned away for lack of room, if anybody.

        None: there was room. ``waiter`` itself: the queue is full, and it does not wait. Another:
        the newest waiter of the client with the most, which has lost its place to ``waiter``.
        """
        line = self._lines.get(client)
        displaced: WaiterT | None = None
        if self._length >= self.limit:
            length = len(line) if line is not None else 0
            if self._longest - length < CLEARLY_FEWER:
                return waiter
            displaced = self._displace()
        if line is None:
            line = self._lines[client] = deque()
        line.append(waiter)
        self._length += 1
        self._regroup(client, len(line) - 1, len(line))
        return displaced

    def take(self) -> WaiterT | None:
        """Remove and return the first waiter of the client whose turn it is; None when empty."""
        for client, line in self._lines.items():
            waiter = line.popleft()
            self._after_turn(client, line)
            return waiter
        return None

    def take_first(self, may_go: Callable[[WaiterT], bool]) -> WaiterT | None:
        """Remove and return the first waiter, in the order of turns, that ``may_go`` accepts.

        For waiters that only some instance can serve. Who is passed over keeps its place, and its
        client its turn. ``may_go`` must not touch the queue; it is asked of every waiter when it
        accepts none.
        """
        for client, line in self._lines.items():
            for index, waiter in enumerate(line):
                if may_go(waiter):
                    del line[index]
                    self._after_turn(client, line)
                    return waiter
        return None

    def remove(self, client: str, waiter: WaiterT) -> bool:
        """Remove ``waiter``, which gave up; False if it does not wait.

        Takes time in proportion to the waiters of this client only.
        """
        line = self._lines.get(client)
        if line is None or waiter not in line:
            return False
        line.remove(waiter)
        self._shrunk(client, line)
        return True

    def _displace(self) -> WaiterT:
        """Remove and return the newest waiter of a client that has the most."""
        client = next(reversed(self._by_length[self._longest]))
        line = self._lines[client]
        waiter = line.pop()
        self._shrunk(client, line)
        return waiter

    def _after_turn(self, client: str, line: deque[WaiterT]) -> None:
        """Take note that ``client`` has had its turn and one waiter less."""
        self._lines.move_to_end(client)
        self._shrunk(client, line)

    def _shrunk(self, client: str, line: deque[WaiterT]) -> None:
        """Take note that one waiter of ``client`` has left ``line``."""
        self._length -= 1
        if not line:
            del self._lines[client]
        self._regroup(client, len(line) + 1, len(line))

    def _regroup(self, client: str, before: int, length: int) -> None:
        """Move ``client`` from the group of those with ``before`` waiters to the next."""
        if before:
            group = self._by_length[before]
            del group[client]
            if not group:
                del self._by_length[before]
        if length:
            joined = self._by_length.get(length)
            if joined is None:
                joined = self._by_length[length] = OrderedDict()
            joined[client] = None
        if length > self._longest or (before == self._longest and before not in self._by_length):
            self._longest = length
