"""Which entries carry a tag: purges by tag, decided at once and paid for in slices.

Tags are RFC 9875's cache groups. A purge comes off the bus or from an operator; from the moment
``kill`` returns no hit serves what carried the tag, since a hit looks at ``Entry.alive``. That
costs one bit an entry (20,000 of them: about a millisecond). Giving their memory back costs many
times as much, and is left to ``reclaim``, called between requests.

The store tells this index what leaves it (``S3Fifo.on_evict``), and this index tells the store what
it may free. An entry may be listed before it is stored, while its body still arrives: a purge then
reaches it too, and the store refuses it.

Not here: patterns (``S3Fifo.entries``), and which changes came after a fill (``as_of``).
"""

from __future__ import annotations

from collections.abc import Callable

from poruwa.stores.entry import Entry


class TagIndex:
    """Entries by tag.

    Args:
        release: called by ``reclaim`` with each killed entry, to free it (``S3Fifo.drop``). It may
            call ``discard``.
    """

    __slots__ = ("_by_tag", "_killed", "_release")

    def __init__(self, release: Callable[[Entry], object]) -> None:
        self._release = release
        # Many tags name one page: a set for each would be 216 bytes, and work for the collector.
        self._by_tag: dict[bytes, Entry | set[Entry]] = {}
        self._killed: list[set[Entry]] = []

    def __len__(self) -> int:
        """Return the number of tags."""
        return len(self._by_tag)

    def add(self, entry: Entry) -> None:
        """List an entry under each of its tags."""
        for tag in entry.tags:
            known = self._by_tag.get(tag)
            if known is None:
                self._by_tag[tag] = entry
            elif isinstance(known, set):
                known.add(entry)
            elif known is not entry:
                self._by_tag[tag] = {known, entry}

    def discard(self, entry: Entry) -> None:
        """Forget an entry, if it is listed."""
        for tag in entry.tags:
            known = self._by_tag.get(tag)
            if known is entry:
                del self._by_tag[tag]
            elif isinstance(known, set):
                known.discard(entry)
                if not known:
                    del self._by_tag[tag]

    def entries(self, tag: bytes) -> set[Entry]:
        """Return the entries that carry a tag; not to be changed, nor kept over a change."""
        return self._of(tag)

    def count(self, tag: bytes) -> int:
        """Return how many live entries carry a tag: what ``kill`` would answer (dry runs)."""
        return sum(entry.alive for entry in self._of(tag))

    def kill(self, tag: bytes) -> int:
        """Let none of a tag's entries be served again; return how many that were served till now.

        Their memory, and their places under other tags, stay until ``reclaim``.
        """
        entries = self._of(tag)
        self._by_tag.pop(tag, None)
        killed = 0
        for entry in entries:
            if entry.alive:
                entry.alive = False
                killed += 1
        if entries:
            self._killed.append(entries)
        return killed

    def soft(self, tag: bytes, expires_at: float = 0.0) -> int:
        """Let a tag's entries be stale from ``expires_at`` on; return how many are earlier so.

        Args:
            expires_at: wall seconds. With the default they are stale by more than any
                stale-while-revalidate; with the present time they have that window from now on.
        """
        aged = 0
        for entry in self._of(tag):
            if entry.alive and entry.expires_at > expires_at:
                entry.expires_at = expires_at
                aged += 1
        return aged

    def reclaim(self, limit: int) -> int:
        """Release up to ``limit`` killed entries; return how many, 0 if none were left."""
        released = 0
        while self._killed and released < limit:
            entries = self._killed[-1]
            entry = entries.pop()
            if not entries:
                self._killed.pop()
            self.discard(entry)
            self._release(entry)
            released += 1
        return released

    def _of(self, tag: bytes) -> set[Entry]:
        """Return the entries of a tag: its own set, not a copy, where it has several."""
        known = self._by_tag.get(tag)
        if known is None:
            return set()
        return known if isinstance(known, set) else {known}
