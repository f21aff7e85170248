"""Which secrets of a policy the stack may make up itself: key rings, and nothing else.

A key ring (a field called ``keys``) only has to be random and stay the same. A password or a
sign-in provider's secret belongs to somebody else: making one up would hide that it is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from poruwa.config.model import Policy
from poruwa.config.setting import Secret
from poruwa.stack.state import StateFolder

KEY_RING = "keys"
_FROM_ENVIRONMENT = "env:"


def generated_secret_names(policy: Policy) -> list[str]:
    """Return the environment variables that key rings of ``policy`` are named after, sorted."""
    return sorted(set(_key_rings(policy)))


def kept_in(names: Iterable[str], state: StateFolder) -> dict[str, str]:
    """Return the variables that tell processes where rings are kept, to read them again there.

    ``poruwa keys`` changes a ring while its readers run; those of the environment cannot follow.
    """
    return {f"{name}_KEPT_IN": str(state.secrets) for name in names}


def _key_rings(section: Any) -> Iterator[str]:
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Secret):
            if field.name == KEY_RING and value.source.startswith(_FROM_ENVIRONMENT):
                yield value.source.removeprefix(_FROM_ENVIRONMENT)
        elif dataclasses.is_dataclass(value):
            yield from _key_rings(value)
        elif isinstance(value, tuple):
            for item in value:
                if dataclasses.is_dataclass(item):
                    yield from _key_rings(item)
