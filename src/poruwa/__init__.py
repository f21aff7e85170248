"""Poruwa: the platform a Python web site stands on. What is exported here is its public interface.

Names are loaded when they are first asked for: every process of the stack imports this package, and
most of them need none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poruwa.app.http_transport import BalancedTransport
    from poruwa.app.instance import InstanceState, InstanceStatus
    from poruwa.app.lease import Lease
    from poruwa.app.load_balancer import LoadBalancer
    from poruwa.config.model import Ejection, Health, Hedge, Retry
    from poruwa.errors import ConfigError, PoruwaError

__all__ = [
    "BalancedTransport",
    "ConfigError",
    "Ejection",
    "Health",
    "Hedge",
    "InstanceState",
    "InstanceStatus",
    "Lease",
    "LoadBalancer",
    "PoruwaError",
    "Retry",
]

_HOMES = {
    "BalancedTransport": "poruwa.app.http_transport",  # needs the extra `client`
    "ConfigError": "poruwa.errors",
    "Ejection": "poruwa.config.model",
    "Health": "poruwa.config.model",
    "Hedge": "poruwa.config.model",
    "InstanceState": "poruwa.app.instance",
    "InstanceStatus": "poruwa.app.instance",
    "Lease": "poruwa.app.lease",
    "LoadBalancer": "poruwa.app.load_balancer",
    "PoruwaError": "poruwa.errors",
    "Retry": "poruwa.config.model",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
