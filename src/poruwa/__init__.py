"""Poruwa: the platform a Python web site stands on. What is exported here is its public interface.

Names are loaded when they are first asked for: every process of the stack imports this package, and
most of them need none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poruwa.app.assets import Asset, Assets
    from poruwa.app.cache.enhanced import CacheOptions, EnhancedCacheManager
    from poruwa.app.cache_headers import CacheHeadersMiddleware
    from poruwa.app.http_transport import BalancedTransport
    from poruwa.app.instance import InstanceState, InstanceStatus
    from poruwa.app.lease import Lease
    from poruwa.app.limits import Limiter
    from poruwa.app.load_balancer import LoadBalancer
    from poruwa.app.platform import Platform
    from poruwa.app.security.inline_blocks import Blocks, InlineBlocks, collect_blocks
    from poruwa.app.security.middleware import SecurityMiddleware
    from poruwa.app.security.request_security import (
        content_security_policy_of,
        csrf_token_of,
        security_of,
        session_of,
    )
    from poruwa.app.security.sessions import Session, Sessions
    from poruwa.app.security.sign_in import (
        end_other_sessions,
        prove_again,
        sign_in,
        sign_out,
    )
    from poruwa.app.tags import collect_tags, tag
    from poruwa.app.writes import Writes, WrittenChange
    from poruwa.config.model import Ejection, Headers, Health, Hedge, Retry
    from poruwa.errors import (
        BusUnavailable,
        ConfigError,
        PoruwaError,
        WriteRefused,
        WriteUnacknowledged,
    )
    from poruwa.rules.change import Change
    from poruwa.rules.cookie import CookieForm
    from poruwa.rules.rate_limit import Decision, client_bucket
    from poruwa.rules.security_headers import SecurityFields
    from poruwa.stores.change_leases import Acknowledgement
    from poruwa.stores.tally import Tally

__all__ = [
    "Acknowledgement",
    "Asset",
    "Assets",
    "BalancedTransport",
    "Blocks",
    "BusUnavailable",
    "CacheHeadersMiddleware",
    "CacheOptions",
    "Change",
    "ConfigError",
    "CookieForm",
    "Decision",
    "Ejection",
    "EnhancedCacheManager",
    "Headers",
    "Health",
    "Hedge",
    "InlineBlocks",
    "InstanceState",
    "InstanceStatus",
    "Lease",
    "Limiter",
    "LoadBalancer",
    "Platform",
    "PoruwaError",
    "Retry",
    "SecurityFields",
    "SecurityMiddleware",
    "Session",
    "Sessions",
    "Tally",
    "WriteRefused",
    "WriteUnacknowledged",
    "Writes",
    "WrittenChange",
    "client_bucket",
    "collect_blocks",
    "collect_tags",
    "content_security_policy_of",
    "csrf_token_of",
    "end_other_sessions",
    "prove_again",
    "security_of",
    "session_of",
    "sign_in",
    "sign_out",
    "tag",
]

_HOMES = {
    "Tally": "poruwa.stores.tally",
    "WriteRefused": "poruwa.errors",
    "WriteUnacknowledged": "poruwa.errors",
    "Writes": "poruwa.app.writes",
    "WrittenChange": "poruwa.app.writes",
    "Change": "poruwa.rules.change",
    "Acknowledgement": "poruwa.stores.change_leases",
    "Asset": "poruwa.app.assets",
    "Assets": "poruwa.app.assets",
    "BalancedTransport": "poruwa.app.http_transport",  # needs the extra `client`
    "Blocks": "poruwa.app.security.inline_blocks",  # needs Jinja2
    "BusUnavailable": "poruwa.errors",
    "CacheHeadersMiddleware": "poruwa.app.cache_headers",
    "CacheOptions": "poruwa.app.cache.enhanced",
    "ConfigError": "poruwa.errors",
    "CookieForm": "poruwa.rules.cookie",
    "Decision": "poruwa.rules.rate_limit",
    "Ejection": "poruwa.config.model",
    "EnhancedCacheManager": "poruwa.app.cache.enhanced",
    "Headers": "poruwa.config.model_security",
    "Health": "poruwa.config.model",
    "Hedge": "poruwa.config.model",
    "InlineBlocks": "poruwa.app.security.inline_blocks",
    "InstanceState": "poruwa.app.instance",
    "InstanceStatus": "poruwa.app.instance",
    "Lease": "poruwa.app.lease",
    "Limiter": "poruwa.app.limits",
    "LoadBalancer": "poruwa.app.load_balancer",
    "Platform": "poruwa.app.platform",
    "PoruwaError": "poruwa.errors",
    "Retry": "poruwa.config.model",
    "SecurityFields": "poruwa.rules.security_headers",
    "SecurityMiddleware": "poruwa.app.security.middleware",
    "Session": "poruwa.app.security.sessions",
    "Sessions": "poruwa.app.security.sessions",
    "client_bucket": "poruwa.rules.rate_limit",
    "collect_blocks": "poruwa.app.security.inline_blocks",
    "collect_tags": "poruwa.app.tags",
    "content_security_policy_of": "poruwa.app.security.request_security",
    "csrf_token_of": "poruwa.app.security.request_security",
    "end_other_sessions": "poruwa.app.security.sign_in",
    "prove_again": "poruwa.app.security.sign_in",
    "security_of": "poruwa.app.security.request_security",
    "session_of": "poruwa.app.security.request_security",
    "sign_in": "poruwa.app.security.sign_in",
    "sign_out": "poruwa.app.security.sign_in",
    "tag": "poruwa.app.tags",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
