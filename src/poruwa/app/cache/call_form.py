"""From the arguments of a call to what it is cached under: one spelling, a key, tags.

Every way to write the same call (positions, names, defaults) has one spelling: a tuple with all
arguments in the order of the parameters. Keys are texts ``class\\nkey``; what comes from outside is
quoted in them, so that no two calls that differ can be made to share one (cache poisoning).
"""

from __future__ import annotations

import hashlib
import inspect
import re
import string
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from poruwa.app.tags import check_tag
from poruwa.errors import ConfigError

KeyOf = str | Callable[..., str] | None

LONGEST_KEY_BYTES: Final = 400
"""Longer keys are replaced by their hash: they are held in every layer, and travel."""

# What quoting leaves as it is (RFC 3986 section 2.3); everything else separates.
_SEPARATOR = re.compile(r"[^A-Za-z0-9_.~-]")
_BY_POSITION = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
_encode = msgspec.json.Encoder(order="deterministic", enc_hook=None).encode


class CallForm:
    """The signature of a cached function, and what the decorator was told about keys and tags.

    Args:
        function: asynchronous; each of its parameters has a name.
        data_class: name of the policy's class.
        key: a template such as ``"{venue_id}"``; a function of the same arguments that returns a
            text; None for the function's name with all its arguments.
        tags: templates such as ``"venue:{venue_id}"``.

    Attributes:
        count: of parameters.
        is_plain: whether all may be given by position, so that ``function(*spelling)`` calls it.

    Raises:
        ConfigError: no coroutine function, parameters without names, a method that is not bound, a
            place-holder that is no parameter, or a key that is the same for different arguments.
    """

    __slots__ = (
        "_key",
        "_name",
        "_names",
        "_signature",
        "_tags",
        "count",
        "data_class",
        "is_plain",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        data_class: str,
        key: KeyOf = None,
        tags: Sequence[str] = (),
    ) -> None:
        self.data_class = data_class
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        parameters = list(self._signature.parameters.values())
        self._names = [parameter.name for parameter in parameters]
        self.count = len(parameters)
        self.is_plain = all(parameter.kind in _BY_POSITION for parameter in parameters)
        self._key = key
        self._tags = tuple(tags)
        if not inspect.iscoroutinefunction(function):
            raise ConfigError(f"{self._name} is not asynchronous; write async def")
        if any(
            parameter.kind not in (*_BY_POSITION, parameter.KEYWORD_ONLY)
            for parameter in parameters
        ):
            raise ConfigError(
                f"{self._name} takes *args or **kwargs, of which no key can be made; name its "
                "parameters"
            )
        if self._names[:1] in (["self"], ["cls"]):
            raise ConfigError(
                f"{self._name} is a method, and its object would be part of every key; decorate "
                f'the bound method: self.load = platform.cached("{data_class}")(self._load)'
            )
        for template in self._tags:
            self._check_names(template)
        if isinstance(key, str):
            self._check_names(key)
            self._check_separators(key)

    def spelling(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return all arguments in the order of the parameters, defaults filled in.

        Raises:
            TypeError: as calling the function would.
        """
        if not kwargs and len(args) == self.count and self.is_plain:
            return args
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return tuple(bound.arguments.values())

    def call(self, function: Callable[..., Any], spelling: tuple[Any, ...]) -> Any:
        """Call ``function`` with a spelling."""
        if self.is_plain:
            return function(*spelling)
        named = dict(zip(self._names, spelling, strict=True))
        bound = self._signature.bind_partial()
        bound.arguments.update(named)
        return function(*bound.args, **bound.kwargs)

    def key(self, spelling: tuple[Any, ...]) -> str:
        """Return the key within the class.

        Raises:
            TypeError: an argument of which no key can be made, and no ``key`` was given.
        """
        if isinstance(self._key, str):
            quoted = {
                name: quote(str(value), safe="")
                for name, value in zip(self._names, spelling, strict=True)
            }
            return shortened(self._key.format_map(quoted))
        if self._key is not None:
            return shortened(str(self.call(self._key, spelling)))
        try:
            arguments = _encode(spelling).decode()
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"no key can be made of the arguments of {self._name} ({error}); say which of them "
                'matter: key="{name}", or a function of them'
            ) from error
        return shortened(f"{self._name}{arguments}")

    def tags(self, spelling: tuple[Any, ...]) -> tuple[str, ...]:
        """Return the tags of a call.

        Raises:
            ValueError: an argument makes one that is no tag.
        """
        if not self._tags:
            return ()
        named = dict(zip(self._names, spelling, strict=True))
        tags = tuple(template.format_map(named) for template in self._tags)
        for tag in tags:
            check_tag(tag)
        return tags

    def _check_names(self, template: str) -> None:
        for _, field, _, _ in _parts(template, self._name):
            if field is None:
                continue
            name = re.split(r"[.\[]", field, maxsplit=1)[0]
            if name not in self._names:
                known = ", ".join(self._names) or "none"
                raise ConfigError(
                    f"{template!r} names {{{name}}}, which is no parameter of {self._name}; it "
                    f"has: {known}"
                )

    def _check_separators(self, key: str) -> None:
        """Refuse a template such as ``{a}-{b}``, where ("x-y", "z") and ("x", "y-z") meet."""
        is_first = True
        for literal, field, _, _ in _parts(key, self._name):
            if not is_first and field is not None and not _SEPARATOR.search(literal):
                raise ConfigError(
                    f"the key {key!r} is the same for different arguments; put ':' or '/' between "
                    "its place-holders"
                )
            is_first = False


def full_key(data_class: str, key: str) -> bytes:
    """Return the key by which all layers and the log of changes know an object."""
    return f"{data_class}\n{key}".encode()


def shortened(key: str) -> str:
    """Return a key that fits on one line: a long or an odd one ends in the hash of it all."""
    if len(key) <= LONGEST_KEY_BYTES and key.isprintable():
        return key
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    start = "".join(character for character in key[:80] if character.isprintable())
    return f"{start}#{digest}"


def _parts(template: str, name: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"{template!r} of {name} is no template: {error}") from error
