"""The resolved policy as bytes, for the worker processes.

JSON over a private socket or an inherited descriptor only: the values of secrets are in it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from poruwa.config.model import Policy
from poruwa.config.setting import Secret


def encode_policy(policy: Policy) -> bytes:
    """Return ``policy``, secrets included, as JSON."""
    return msgspec.json.encode(policy, enc_hook=_encode_secret)


def decode_policy(data: bytes) -> Policy:
    """Return the policy that ``encode_policy`` wrote.

    Raises:
        msgspec.ValidationError: other data; the sender is of another version.
    """
    return msgspec.json.decode(data, type=Policy, dec_hook=_decode_secret)


def _encode_secret(value: Any) -> Any:
    if isinstance(value, Secret):
        return [value.source, value.reveal() if value.is_resolved else None]
    raise TypeError(f"{type(value).__name__} is not part of a policy")


def _decode_secret(type_: type, value: Any) -> Any:
    if type_ is Secret:
        source, text = value
        return Secret(source, text)
    raise TypeError(f"{type_.__name__} is not part of a policy")
