"""Values in L2: msgpack, read back into the type that the loader says it returns.

Checked when a function is decorated, so that no request finds out that a type cannot be read back.
The fingerprint of a type is part of the keys in L2: builds whose records differ never read each
other's (DESIGN section 6, rule 9).
"""

from __future__ import annotations

import hashlib
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from poruwa.errors import ConfigError

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_SHOWN: Final = 12  # hexadecimal digits of a fingerprint


class Codec:
    """Encodes and decodes values of one type.

    Args:
        annotation: the type; ``T | None`` is that of ``T`` with None.
        name: what messages call the function.
        has_any: whether parts may be of any type: they come back as what msgpack knows.

    Attributes:
        fingerprint: differs where the same bytes could mean something else.

    Raises:
        ConfigError: values of the type cannot be read back from msgpack.
    """

    __slots__ = ("_decoder", "_encode", "fingerprint")

    def __init__(self, annotation: Any, name: str, *, has_any: bool = False) -> None:
        kind = or_none(annotation)
        try:
            info = msgspec.inspect.type_info(kind)
            self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(kind)
        except (TypeError, NameError) as error:
            raise ConfigError(
                f"what {name} returns cannot be kept in Valkey: {error}; return a dataclass or "
                "another type that msgspec can read back, or drop the class's application lifetime"
            ) from error
        description = list(_describe(info, set(), None if has_any else name))
        digest = hashlib.sha256("\n".join(description).encode()).hexdigest()
        self.fingerprint = digest[:_SHOWN]
        self._encode = msgspec.msgpack.Encoder().encode

    def encode(self, value: object) -> bytes:
        """Return the bytes of a value.

        Raises:
            TypeError, ValueError: it is not of the type.
        """
        return self._encode(value)

    def decode(self, data: bytes) -> Any:
        """Return the value of these bytes.

        Raises:
            msgspec.DecodeError: they are none of this type.
        """
        return self._decoder.decode(data)


def return_type(function: Callable[..., Any]) -> Any:
    """Return the annotated type of what an asynchronous function returns.

    Raises:
        ConfigError: it has none, or names one that is not there.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise ConfigError(
            f"{name} says that it returns a type that cannot be found ({error}); import it outside "
            "of TYPE_CHECKING"
        ) from error
    if "return" not in hints:
        raise ConfigError(
            f"{name} does not say what it returns, as which it would be read back from Valkey; "
            "annotate it"
        )
    return hints["return"]


def or_none(annotation: Any) -> Any:
    """Return ``T | None`` for ``T``, and for ``T | None``."""
    if annotation is None or annotation is type(None):
        return None
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType) and type(None) in typing.get_args(annotation):
        return annotation
    return typing.Union[annotation, None]  # noqa: UP007  (annotation may be no class)


def _describe(info: Any, seen: set[type], name: str | None) -> Iterator[str]:
    """Yield what a type is made of, depth first; refuse what msgspec cannot read back."""
    is_any = isinstance(info, msgspec.inspect.AnyType)
    if isinstance(info, msgspec.inspect.CustomType) or (is_any and name is not None):
        kind = "Any" if is_any else info.cls.__qualname__
        raise ConfigError(
            f"what {name or 'is kept'} returns has a part of type {kind}, which would not come "
            "back from Valkey as it went; name types that msgspec knows (dataclasses, enums, "
            "dates, tuples), or drop the class's application lifetime"
        )
    yield type(info).__name__
    kind_of = getattr(info, "cls", None)
    if isinstance(kind_of, type):
        yield f"{kind_of.__module__}.{kind_of.__qualname__}"
        if isinstance(info, msgspec.inspect.EnumType):
            yield repr([(member.name, member.value) for member in info.cls])
            return
        if kind_of in seen:
            return
        seen.add(kind_of)
    for field in getattr(info, "fields", ()):
        yield f"{field.encode_name} {field.required} {_ADDRESS.sub('', repr(field.default))}"
        yield from _describe(field.type, seen, name)
    for attribute in ("item_type", "key_type", "value_type"):
        inner = getattr(info, attribute, None)
        if inner is not None:
            yield attribute
            yield from _describe(inner, seen, name)
    inner_types: Any = getattr(info, "item_types", ()) or getattr(info, "types", ())
    for inner in inner_types:
        yield from _describe(inner, seen, name)
    if isinstance(info, msgspec.inspect.LiteralType):
        yield repr(info.values)
