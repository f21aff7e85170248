"""``platform.cached``: the function that stands in for a loader, and its hit path.

A hit in L1 is answered in the coroutine itself: one look-up by the arguments, three comparisons
(alive, not due, sure), the tags to whoever collects. Everything else is the reader's. Measured by
``python -m bench cached``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, ParamSpec, TypeVar

from poruwa.app.cache.call_form import CallForm, full_key
from poruwa.app.cache.layers import Layers
from poruwa.app.cache.reader import Reader
from poruwa.app.cache.source import Source, Wanted
from poruwa.app.tags import MAX_TAGS, collected
from poruwa.stores.s3fifo import MAX_FREQUENCY

P = ParamSpec("P")
R = TypeVar("R")


def cached_function(
    function: Callable[P, Coroutine[Any, Any, R]],
    *,
    form: CallForm,
    source: Source,
    reader: Reader,
    layers: Layers,
) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return a function that answers calls of ``function`` from the layers where it can."""
    count = form.count if form.is_plain else -1
    find = source.memo.get
    statistics = source.statistics
    find_collector = collected.get
    data_class = source.name

    async def read(args: tuple[Any, ...]) -> Any:
        key = full_key(data_class, form.key(args))
        tags = form.tags(args)
        return await reader.read(Wanted(source, key, tags, args, lambda: form.call(function, args)))

    @functools.wraps(function)
    async def cached(*args: P.args, **kwargs: P.kwargs) -> R:
        spelling: tuple[Any, ...] = args
        if kwargs or len(args) != count:
            spelling = form.spelling(args, kwargs)
        try:
            entry = find(spelling)
        except TypeError:  # an argument without a hash
            entry = None
        if entry is not None and entry.alive:
            now = monotonic()  # read in the call: a clock of before a pause would pass as sure
            log = layers.log
            if now < entry.expires_at and now < log.sure_until:
                collector = find_collector()
                if collector is None:
                    statistics.hits += 1
                    if entry.frequency < MAX_FREQUENCY:
                        entry.frequency += 1
                    return entry.value  # type: ignore[no-any-return]
                if collector.needed <= log.position:
                    # Not older than the collector's own as_of: no change came up to now.
                    if len(collector.tags) <= MAX_TAGS:
                        collector.tags.update(entry.labels)
                    statistics.hits += 1
                    if entry.frequency < MAX_FREQUENCY:
                        entry.frequency += 1
                    return entry.value  # type: ignore[no-any-return]
        return await read(spelling)  # type: ignore[no-any-return]

    return cached
