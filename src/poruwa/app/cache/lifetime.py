"""How long a class's objects live in L1 and L2, and when they are loaded anew before they must be.

Seconds come from the policy. L1 never outlives L2: where L2 keeps a class, its lifetime is what the
object's age is measured against, and L1 asks L2 again each ``memory_seconds``.

Popular objects are loaded anew shortly before their end, each at a random moment of the last part
of its life, so that neither processes nor objects that were loaded together do it at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from poruwa.config.model import DataClass

AHEAD_SHARE: Final = 0.2
"""The last part of a life in which a call has the object loaded anew."""
NEGATIVE_SHARE: Final = 0.1
NEGATIVE_MOST_SECONDS: Final = 60.0
"""What is not there is believed in for a tenth of the lifetime, and not longer than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """Seconds of one kind of object.

    Attributes:
        memory: in L1; 0 for not at all.
        shared: in L2; 0 for not at all.
        whole: until an object is stale: that of L2, of L1 where L2 keeps none.
        revalidate: served this long after its age while it is loaded anew (RFC 5861).
        on_error: served this long after its age while loading fails (RFC 5861).
    """

    memory: float
    shared: float
    whole: float
    revalidate: float
    on_error: float

    @classmethod
    def of(cls, data_class: DataClass, *, is_query: bool = False, has_shared: bool) -> Lifetime:
        """Return those of a class.

        Args:
            is_query: a database query's result, whose lifetime is ``query``.
            has_shared: whether there is an L2.
        """
        lifetimes = data_class.lifetimes
        application = lifetimes.application_seconds
        shared = lifetimes.query_seconds if is_query or application is None else application
        memory = lifetimes.memory_seconds or 0.0
        if is_query and shared is not None:
            memory = min(memory, shared)
        if not has_shared:
            shared = None
        if shared:
            memory = min(memory, shared)
        return cls(
            memory=memory,
            shared=shared or 0.0,
            whole=shared or memory,
            revalidate=data_class.stale_while_revalidate_seconds,
            on_error=data_class.stale_if_error_seconds,
        )

    def negative(self, seconds: float | None) -> Lifetime:
        """Return the lifetime of what was not there.

        Args:
            seconds: what the function's author says; None for a tenth, at most a minute.
        """
        most = min(self.whole * NEGATIVE_SHARE, NEGATIVE_MOST_SECONDS)
        whole = min(self.whole, most if seconds is None else seconds)
        return Lifetime(
            memory=min(self.memory, whole),
            shared=min(self.shared, whole),
            whole=whole,
            revalidate=0.0,
            on_error=self.on_error,
        )

    @property
    def stale(self) -> float:
        """How long after its age an object is worth keeping."""
        return max(self.revalidate, self.on_error)


def ahead_seconds(life_seconds: float, chance: float) -> float:
    """Return how long before its end a life's object is loaded anew when it is asked for.

    Args:
        chance: random, from 0 to 1.
    """
    return life_seconds * AHEAD_SHARE * (0.25 + 0.75 * chance)
