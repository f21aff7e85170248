"""Who has applied what: the table of layers as a writer sees it, and when it need not wait longer.

A layer's lease runs from the moment it *sent* its renewal, so it has lapsed, by any clock that runs
at about the same rate, a lease after anybody saw that the server had granted it. Waiting a tenth
longer covers the rates. No wall clock takes part. Pure: times are parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from poruwa.rules.position import position_of_id
from poruwa.stores.change_scripts import Head

MARGIN: Final = 1.1
"""What is waited for a lease, as a multiple: clocks that differ by a tenth are broken."""


class LayerAnswer(msgspec.Struct, frozen=True):
    """What a layer said to a change.

    Attributes:
        applied_after: seconds from the append until it was known that the layer applied it; None
            if it did not say so.
        lapsed: it did not say so, but its lease lapsed (or it left): whatever it holds, it serves
            nothing of it before it has applied the change.
    """

    applied_after: float | None
    lapsed: bool


class Acknowledgement(msgspec.Struct, frozen=True):
    """How far a change has got.

    Attributes:
        position: of the change.
        is_complete: every layer applied it or its lease lapsed. False: the time was over first.
        layers: answers by the layers' names.
        seconds: from the append.
    """

    position: int
    is_complete: bool
    layers: dict[str, LayerAnswer]
    seconds: float


class Appended(msgspec.Struct, frozen=True):
    """A change that is in the log.

    Attributes:
        position: of the change.
        at: monotonic, when the append was known to be done.
        is_settled: whether every lease of before this epoch had lapsed.
        lapsed_at: monotonic; every lease given before the append has lapsed by then.
        layers: who had a lease, or may have had.
    """

    position: int
    at: float
    is_settled: bool
    lapsed_at: float
    layers: frozenset[bytes]


class LayerEntry(msgspec.Struct, frozen=True):
    """A layer's line of the table: ``raw`` is its value, to compare with later."""

    applied: int
    lease_seconds: float
    raw: bytes


def layers_of(flat: Sequence[bytes]) -> dict[bytes, LayerEntry]:
    """Return the table that a script returned, by layer.

    Raises:
        ValueError: it holds something else.
    """
    table = {}
    for layer, raw in zip(flat[::2], flat[1::2], strict=True):
        applied, lease_ms, _ = raw.split(b" ")
        table[layer] = LayerEntry(position_of_id(applied), int(lease_ms) / 1000, raw)
    return table


def name_of(layer: bytes) -> str:
    """Return the name of a layer: what stands in the table, without the process's token."""
    return layer.rpartition(b"~")[0].decode("utf-8", "replace")


class EpochWatch:
    """What is known of the present epoch: since when, and whether older leases still run.

    Attributes:
        epoch: the present one, as far as this process knows; 0 before any.
        longest_seconds: the longest lease that may have been given.
    """

    __slots__ = ("_seen_at", "_settled", "epoch", "longest_seconds")

    def __init__(self, lease_seconds: float) -> None:
        self.longest_seconds = lease_seconds
        self.epoch = 0
        self._seen_at = 0.0
        self._settled = 0

    def see(self, head: Head, now: float) -> None:
        """Take note of a script's answer that was there at ``now`` (monotonic)."""
        if head.epoch != self.epoch:
            self.epoch = head.epoch
            self._seen_at = now
        if head.is_settled:
            self._settled = max(head.epoch, self._settled)
        self.longest_seconds = max(head.longest_seconds, self.longest_seconds)

    def settled_epoch(self, now: float) -> int:
        """Return the epoch before which all leases have lapsed by the own clock; 0 if not yet."""
        is_over = now >= self._seen_at + MARGIN * self.longest_seconds
        return self.epoch if self.epoch and is_over else 0

    def is_settled(self, epoch: int) -> bool:
        """Tell whether all leases given before ``epoch`` are known to have lapsed."""
        return self._settled >= epoch


class Survey:
    """Layers seen, and since when each shows no sign of life.

    A frozen or dead layer is struck from the table, so that writers wait for its lease only once.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[bytes, float]] = {}

    def lapsed(
        self, table: Mapping[bytes, LayerEntry], longest_seconds: float, now: float
    ) -> list[bytes]:
        """Return layers and their entries, alternating, whose lease has lapsed.

        Args:
            table: as the server gave it just now.
            now: monotonic, when the answer was there.
        """
        lapsed: list[bytes] = []
        seen: dict[bytes, tuple[bytes, float]] = {}
        for layer, entry in table.items():
            raw, since = self._seen.get(layer, (b"", now))
            if raw != entry.raw:
                since = now
            elif now >= since + MARGIN * max(entry.lease_seconds, longest_seconds):
                lapsed += (layer, entry.raw)
            seen[layer] = (entry.raw, since)
        self._seen = seen
        return lapsed
