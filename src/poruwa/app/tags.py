"""What a response depends on: ``tag`` collects it while the response is made.

On a request's path this stands where data is loaded, below the views: a loader tags what it
returns, so that every page and list made of it says so. ``cache_headers`` opens the collection
around each request and writes it as ``Cache-Groups`` (RFC 9875); the cache manager opens one around
each load. Knows no HTTP and no cache.

Beside the tags stands the position in the log of changes that the work is certainly not older than
(``as_of``), and the one that it must not be older than (``needed``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Final

MAX_TAGS: Final = 512
"""Tags of one response: as many as the gateway reads. RFC 9875 section 2 demands 32."""

MAX_TAG_CHARACTERS: Final = 128
"""Longest tag. RFC 9875 section 2 demands 32; CDNs take 1,024 but bound the sum."""

MAX_FIELD_BYTES: Final = 16 * 1024
"""Longest ``Cache-Groups``: half of what a server commonly takes as a whole header section."""

# The form that the policy's tags have. Every one of these is a Structured Field String as it
# stands (RFC 9651 section 3.3.3), and none holds the comma or the blank that separates tags in
# Cache-Tag and Surrogate-Key.
_TAG = re.compile(r"[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.-]+)*")


class Collector:
    """What is learned of one piece of work (a request, a load) while it is done.

    Args:
        as_of: the position this process had applied when the work began; 0 without a log.
        needed: the position that the work must see (read your writes); 0 for any.
        load: what identifies the load this is collected for, None for a request.
        outer: the collector of the load or request that asked for this one.

    Attributes:
        tags: in the order they were named. A dict for its order: the same page has the same field
            from every process.
        as_of: the earliest position of anything that went in.
        is_unsure: something went in that this process could not be sure of.
        written: the position of the latest change that the work itself made; 0 for none.
    """

    __slots__ = ("as_of", "is_unsure", "load", "needed", "outer", "tags", "written")

    def __init__(
        self,
        as_of: int = 0,
        needed: int = 0,
        load: object | None = None,
        outer: Collector | None = None,
    ) -> None:
        self.tags: dict[str, None] = {}
        self.as_of = as_of
        self.needed = needed
        self.load = load
        self.outer = outer
        self.is_unsure = False
        self.written = 0

    def add(self, tags: Mapping[str, None], as_of: int) -> None:
        """Take in something with these tags, which is not older than ``as_of``."""
        # One more than is written tells that there were too many.
        if len(self.tags) <= MAX_TAGS:
            self.tags.update(tags)
        if as_of < self.as_of:
            self.as_of = as_of

    def is_within(self, load: object) -> bool:
        """Tell whether this is part of ``load``, which therefore cannot be waited for."""
        collector: Collector | None = self
        while collector is not None:
            if collector.load is load:
                return True
            collector = collector.outer
        return False


collected: ContextVar[Collector | None] = ContextVar("poruwa.tags", default=None)


def tag(*tags: str) -> None:
    """State that the response under way depends on ``tags``: ``tag("venue:12", "venues")``.

    A change of any of them makes every copy of the response out of date. Tag before loading, also
    what turns out not to exist: its coming is a change. Each counts once, however often named.

    Works in whatever the request runs: functions it awaits, tasks and threads it starts (those of
    ``asyncio.to_thread`` and Starlette's pool). Outside a request, and once the response has begun,
    it does nothing, so that a command or a background task may call the same loaders.

    Args:
        tags: parts of ASCII letters, digits, ``_ . -``, joined by colons; 1 to
            ``MAX_TAG_CHARACTERS`` characters each.

    Raises:
        ValueError: one of them is not such a tag. None is collected then.
    """
    for name in tags:
        check_tag(name)
    collector = collected.get()
    # One more than is written tells that there were too many.
    if collector is not None and len(collector.tags) <= MAX_TAGS:
        for name in tags:
            collector.tags[name] = None


@contextmanager
def collect_tags() -> Iterator[Collection[str]]:
    """Collect the tags of a block apart, for what remembers its result: each use tags anew.

    ::

        with poruwa.collect_tags() as tags:
            value = await load()
        kept = value, tuple(tags)  # and at each use: poruwa.tag(*kept[1])

    The tags are in the order they were named, and go to nobody else.
    """
    outer = collected.get()
    collector = Collector() if outer is None else Collector(outer.as_of, outer.needed, outer=outer)
    token = collected.set(collector)
    try:
        yield collector.tags.keys()
    finally:
        collected.reset(token)
        if outer is not None:  # whatever becomes of the tags, the value may go into the outer work
            outer.as_of = min(outer.as_of, collector.as_of)
            outer.is_unsure = outer.is_unsure or collector.is_unsure


def cache_groups(tags: Collection[str]) -> bytes | None:
    """Return the ``Cache-Groups`` field that names ``tags``, a list of strings.

    RFC 9875 section 2. None where they are more than ``MAX_TAGS``, or make more than
    ``MAX_FIELD_BYTES``: a part of them would be a lie, as a change of one left out would not reach
    the response.

    Args:
        tags: at least one, as ``tag`` has checked them.
    """
    if len(tags) > MAX_TAGS:
        return None
    field = b'"%b"' % '", "'.join(tags).encode("ascii")
    return field if len(field) <= MAX_FIELD_BYTES else None


def note_write(position: int) -> None:
    """State that the request under way has made the change at ``position`` of the log.

    The client gets the position, so that its next requests are answered by what has applied it;
    what this request still reads comes from caches that have.
    """
    collector = collected.get()
    while collector is not None:
        collector.written = max(collector.written, position)
        collector.needed = max(collector.needed, position)
        collector = collector.outer


@lru_cache(maxsize=16_384)  # the same few thousand names all day: 0.1 us each, not 1.5
def check_tag(name: str) -> None:
    """Raise ValueError unless ``name`` is a tag."""
    if len(name) > MAX_TAG_CHARACTERS:
        shown = f"{name[:40]!r}..."
        raise ValueError(
            f"tag {shown} has {len(name)} characters; {MAX_TAG_CHARACTERS} is the most"
        )
    if _TAG.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} is no tag; write parts of ASCII letters, digits, '_', '.' and '-', "
            'joined by colons, such as "venue:12"'
        )
