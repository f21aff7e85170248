"""Poruwa: the platform a Python web site stands on. What is exported here is its public interface.

Names are loaded when they are first asked for: every process of the stack imports this package, and
most of them need none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poruwa.app.load_balancer import LoadBalancer

__all__ = ["LoadBalancer"]

_HOMES = {"LoadBalancer": "poruwa.app.load_balancer"}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
