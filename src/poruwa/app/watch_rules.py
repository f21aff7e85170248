"""What an event of a change stream means to the caches: the tags it changes. Pure.

A tag over fields (``"category:{category}"``) concerns a document before *and* after its change. An
event tells the document before only where the collection keeps pre-images; where a value of before
is not to be had, nothing less is right than that anything may have changed.

Source: MongoDB's manual, "Change Events".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from poruwa.app.outbox import OUTBOX
from poruwa.config.model import WatchedCollection
from poruwa.rules.change import Change

_FIELD: Final = re.compile(r"\{([^}]*)\}")
_PART: Final = re.compile(r"[A-Za-z0-9_.-]+")
_MISSING: Final = object()
#: Whole collections: renamed, dropped, and what is not known to be harmless.
_PER_DOCUMENT: Final = frozenset({"insert", "update", "replace", "delete"})

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TagTemplate:
    """A tag over a document's fields.

    Attributes:
        texts: what stands before, between and after the fields: one more than fields.
        fields: names, dotted for what lies deeper.
    """

    texts: tuple[str, ...]
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, template: str) -> TagTemplate:
        pieces = _FIELD.split(template)
        return cls(tuple(pieces[::2]), tuple(pieces[1::2]))

    def tags(self, values: Sequence[Iterable[object]]) -> Iterator[bytes]:
        """Give the tags for all combinations of values, one collection of values a field.

        A list stands for each of its elements. What cannot be a part of a tag gives none: nothing
        can have been tagged with it.
        """
        parts = [[text for each in some for text in _texts(each)] for some in values]
        for combination in product(*parts):
            tag = self.texts[0]
            for part, text in zip(combination, self.texts[1:], strict=True):
                tag += part + text
            yield tag.encode()


def _texts(value: object) -> list[str]:
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    if value is None or isinstance(value, Mapping):
        return []
    text = str(value)
    return [text] if _PART.fullmatch(text) else []


class WatchRules:
    """The mapping from collections to tags."""

    def __init__(self, watched: Sequence[WatchedCollection]) -> None:
        self._templates = {
            each.name: [TagTemplate.parse(tag) for tag in each.tags] for each in watched
        }
        self.needs_documents = tuple(
            name
            for name, templates in self._templates.items()
            if any(field != "_id" for each in templates for field in each.fields)
        )
        """Collections whose events must carry the documents before and after."""

    def pipeline(self) -> list[dict[str, Any]]:
        """Return the stream's stages: the watched collections, and our outbox's inserts."""
        names = list(self._templates)
        return [
            {
                "$match": {
                    "$or": [
                        {"ns.coll": {"$in": names}},
                        {"to.coll": {"$in": names}},
                        {"ns.coll": OUTBOX, "operationType": "insert"},
                        {"operationType": {"$in": ["dropDatabase", "invalidate"]}},
                    ]
                }
            }
        ]

    def tags_of(self, event: Event) -> set[bytes] | None:
        """Return the tags that an event changes; None for: anything may have changed."""
        if event["operationType"] not in _PER_DOCUMENT:
            return None
        tags: set[bytes] = set()
        for template in self._templates.get(event["ns"]["coll"], ()):
            values = [_values(event, field) for field in template.fields]
            if any(some is None for some in values):
                return None
            tags.update(template.tags([some for some in values if some is not None]))
        return tags

    def change_of(self, events: Sequence[Event]) -> Change | None:
        """Return what a batch of events changes; None for nothing.

        Transactions that hold an insert into the outbox are left out: who wrote them publishes
        them. All events of such a transaction must be in the batch, else some are published twice.
        """
        own = {
            transaction_of(event) for event in events if event.get("ns", {}).get("coll") == OUTBOX
        }
        others = [
            event
            for event in events
            if event.get("ns", {}).get("coll") != OUTBOX
            and not ((transaction := transaction_of(event)) and transaction in own)
        ]
        if not others:
            return None
        tags: dict[bytes, None] = {}
        is_everything = False
        for event in others:
            some = self.tags_of(event)
            if some is None:
                is_everything = True
            else:
                tags.update(dict.fromkeys(sorted(some)))
        if not (tags or is_everything):
            return None
        first, last = others[0].get("wallTime"), others[-1].get("clusterTime")
        return Change(
            tags=() if is_everything else tuple(tags),
            everything=is_everything,
            operation_time=None if last is None else (last.time, last.inc),
            written_at=0.0 if first is None else first.timestamp(),
            source="watch",
        )


def transaction_of(event: Event) -> tuple[bytes, int] | None:
    """Return what identifies the transaction of an event; None for a write without one."""
    number = event.get("txnNumber")
    return None if number is None else (bytes(event["lsid"]["id"]), int(number))


def _values(event: Event, field: str) -> list[object] | None:
    """Return the values a field had before and after; None where they cannot be told."""
    if field == "_id":
        return [event["documentKey"]["_id"]]
    kind = event["operationType"]
    before = event.get("fullDocumentBeforeChange")
    after = event.get("fullDocument")
    if kind == "insert":
        return None if after is None else _known(_lookup(after, field))
    if kind == "update" and not _is_touched(event, field):
        document = after if before is None else before
        return None if document is None else _known(_lookup(document, field))
    if before is None:
        return None
    values = _known(_lookup(before, field))
    if kind == "delete":
        return values
    updated = event.get("updateDescription", {}).get("updatedFields", {})
    if field in updated:
        return values + _known(updated[field])
    # The document as it is now. If it is gone or went on, a later event tells what was before that.
    return values if after is None else values + _known(_lookup(after, field))


def _known(value: object) -> list[object]:
    return [] if value is _MISSING else [value]


def _lookup(document: Mapping[str, Any], field: str) -> object:
    value: Any = document
    for name in field.split("."):
        if isinstance(value, list):  # as MongoDB reads a path through an array
            value = [each.get(name) for each in value if isinstance(each, Mapping)]
        elif isinstance(value, Mapping) and name in value:
            value = value[name]
        else:
            return _MISSING
    return value


def _is_touched(event: Event, field: str) -> bool:
    description = event.get("updateDescription", {})
    touched = [
        *description.get("updatedFields", {}),
        *description.get("removedFields", ()),
        *(each.get("field", "") for each in description.get("truncatedArrays", ())),
    ]
    root = field.partition(".")[0]
    return any(name.partition(".")[0] == root for name in touched)
