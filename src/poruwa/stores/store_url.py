"""Where a store is: by the environment's URL, else by the policy.

Apart from ``stores.valkey_connection``, so that who has no store does not load its client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import unquote, urlsplit

from poruwa.config.address import Address
from poruwa.config.model import StoreMode, ValkeyStore
from poruwa.config.setting import Secret
from poruwa.errors import ConfigError

CACHE_URL: Final = "PORUWA_CACHE_URL"
BUS_URL: Final = "PORUWA_BUS_URL"
"""Variables that `poruwa up` gives to instances; each overrides the nodes of its store."""

DEFAULT_PORT: Final = 6379
_SCHEMES: Final = {"valkey": False, "redis": False, "valkeys": True, "rediss": True}
_HIGHEST_DATABASE: Final = 15


def store_from_url(url: str, store: ValkeyStore) -> ValkeyStore:
    """Return ``store`` with the server, user, password, database and TLS that ``url`` names.

    Args:
        url: ``valkey://[user[:password]@]host[:port][/database]``, or ``valkeys://`` for TLS;
            ``redis`` and ``rediss`` mean the same. User and password are percent-encoded.

    Raises:
        ConfigError: none of these. The message does not repeat the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
        is_tls = _SCHEMES[parts.scheme]
        database = int(parts.path.strip("/") or "0")
    except (KeyError, ValueError):
        raise _bad_url() from None
    is_odd = parts.query or parts.fragment or not parts.hostname
    if is_odd or not 0 <= database <= _HIGHEST_DATABASE:
        raise _bad_url()
    password = parts.password
    return replace(
        store,
        mode=StoreMode.SINGLE,
        nodes=(str(Address(host=parts.hostname or "", port=port)),),
        username=unquote(parts.username) if parts.username else None,
        password=None if password is None else Secret("env:URL", unquote(password)),
        database=database,
        tls=is_tls,
    )


def _bad_url() -> ConfigError:
    return ConfigError(
        "the URL of a store is not one; write valkey://user:password@host:port/0, "
        "or valkeys:// for TLS, with user and password percent-encoded"
    )


def store_from_environment(
    store: ValkeyStore | None, variable: str, environ: Mapping[str, str]
) -> ValkeyStore | None:
    """Return where a store is: what ``variable`` names, else the policy's nodes, else None.

    Args:
        store: the policy's section; None where it has none.
        variable: ``CACHE_URL`` or ``BUS_URL``.

    Raises:
        ConfigError: the variable holds no usable URL.
    """
    url = environ.get(variable, "")
    if url:
        return store_from_url(url, store or ValkeyStore())
    return store if store is not None and store.nodes else None
