"""What is known of a field of the policy beside its type: reason, range, unit, whether built.

The loader checks values against it, ``docs/configuration.md`` is written from it. It sits in the
annotation, ``Annotated[int, Setting(...)] = 20_000``, so that defaults stay plain Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Which later stage of the work brings what the schema already holds.
COHERENCE: Final = "the coherence stage (application caches, bus, invalidation)"
CLUSTER: Final = "the cluster stage (Valkey Cluster, write-behind)"
SESSIONS: Final = "the sessions and security stage"
EDGE: Final = "the CDN and images stage"
OPERATIONS: Final = "the operations stage (scaling, alerts, dashboards)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Metadata of one field.

    Args:
        why: the reason for the field or its default, one sentence.
        least, most: bounds, inclusive, in the unit of the field.
        zero: what 0 means, where it means something of its own; 0 is then allowed below ``least``.
        form: what a text must look like: a key of ``poruwa.config.forms.FORMS``; "" is free text.
        unit: the unit, where the name does not already say it.
        keyed: for a list of sections: written ``[pools.NAME]`` instead of ``[[pools]]``.
        brings: the stage that first reads the field; "" once something does.
        brings_values: of a choice that is read, the values that only a later stage knows, each with
            the stage.
        empty: for a list: whether it may be written empty.
    """

    why: str
    least: float | None = None
    most: float | None = None
    zero: str = ""
    form: str = ""
    unit: str = ""
    keyed: bool = False
    brings: str = ""
    brings_values: tuple[tuple[str, str], ...] = ()
    empty: bool = True

    @property
    def built(self) -> bool:
        """Whether code of this version reads the field."""
        return not self.brings

    def stage_of(self, value: object) -> str:
        """Return the stage that first knows the field, or this value of it; "" for the present."""
        return self.brings or dict(self.brings_values).get(str(value), "")


class Secret:
    """A secret named by ``env:NAME`` or ``file:PATH``; its value never shows in text.

    Equality compares both, so that a reload notices a changed value.
    """

    __slots__ = ("_value", "source")

    def __init__(self, source: str, value: str | None = None) -> None:
        self.source = source
        self._value = value

    @property
    def is_resolved(self) -> bool:
        """Whether the value is known to this process."""
        return self._value is not None

    def reveal(self) -> str:
        """Return the value.

        Raises:
            LookupError: the policy was read without resolving secrets.
        """
        if self._value is None:
            raise LookupError(f"the secret {self.source} was not resolved")
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.source!r})"

    def __str__(self) -> str:
        return f"({self.source}, hidden)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return self.source == other.source and self._value == other._value

    def __hash__(self) -> int:
        return hash((self.source, self._value))
