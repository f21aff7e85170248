"""What a value takes in memory, estimated: L1 is bounded in bytes.

Exact would mean walking all of it. Of a long list some members are looked at, spread over it, and
the others are taken to be like them.
"""

from __future__ import annotations

import sys
from enum import Enum
from typing import Final

SAMPLE: Final = 64  # members of one container
LOOKED_AT: Final = 2_000  # objects; about 500 us at most, of a load that took milliseconds


def value_bytes(value: object) -> int:
    """Return the bytes of a value and of what it holds.

    Enum members and classes belong to the program and cost nothing here.
    """
    seen: set[int] = set()
    waiting: list[tuple[object, float]] = [(value, 1.0)]  # and for how many others each stands
    total = 0.0
    weights = 0.0
    looked_at = 0
    while waiting:
        each, weight = waiting.pop()
        if each is None or isinstance(each, (bool, Enum, type)) or id(each) in seen:
            continue
        if looked_at == LOOKED_AT:
            left = weight + sum([more for _, more in waiting])
            return int(total * (1 + left / weights))
        looked_at += 1
        seen.add(id(each))
        total += weight * sys.getsizeof(each)
        weights += weight
        parts = _parts(each)
        if len(parts) > SAMPLE:
            weight *= len(parts) / SAMPLE
            parts = [parts[place * len(parts) // SAMPLE] for place in range(SAMPLE)]
        waiting += [(part, weight) for part in parts]
    return int(total)


def _parts(value: object) -> list[object]:
    if isinstance(value, (str, bytes, int, float)):
        return []
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    parts: list[object] = []
    attributes = getattr(value, "__dict__", None)
    if attributes is not None:
        parts.append(attributes)
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            part = getattr(value, slot, None)
            if part is not None:
                parts.append(part)
    fields = getattr(value, "__struct_fields__", ())  # msgspec: slots that __slots__ does not name
    parts.extend(getattr(value, field) for field in fields)
    return parts
