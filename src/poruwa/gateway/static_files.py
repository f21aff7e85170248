"""Files of a folder, as a route with a ``static`` section serves them.

Place on the path: called by ``gateway.own_answers``; such a route has no instance. The disk is
touched by threads only, so that a slow one never holds up other requests. What a path means and
what a client needs of a file are decided in ``poruwa.rules.static_files`` and
``poruwa.rules.conditional``; how the bytes get to the client is ``gateway.file_sender``'s matter.

How a link is kept from leading out of the folder: what a path names is first held without being
opened (``O_PATH``), then the kernel is asked where that really is, then the held thing itself is
opened. Nothing can be exchanged in between, and no device or pipe is opened on the way. Links
that stay inside work, and the folder may itself be one that a deploy turns round.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from poruwa.config.model_route import StaticFolder
from poruwa.gateway.file_sender import FileReply, FileSender, OpenFile
from poruwa.rules.conditional import Representation, Selection, select
from poruwa.rules.http_date import format_http_date
from poruwa.rules.static_files import (
    WantedFile,
    cache_control,
    content_type,
    entity_tag,
    wanted_file,
)

if TYPE_CHECKING:
    from poruwa.gateway.exchange import Exchange

# Of each folder in each worker: enough to keep a disk busy, and a folder whose disk hangs holds up
# none but itself.
_THREADS = 4
_MISSING = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES))

_log = structlog.get_logger(component="files")


class StaticFiles:
    """The folder of one route.

    Args:
        section: the route's ``static`` section.
        prefix: the route's path without its ``*``.
        folder: what a relative ``section.folder`` is relative to.
    """

    __slots__ = ("_executor", "_fingerprinted", "_index", "_prefix", "_root")

    def __init__(self, section: StaticFolder, *, prefix: str, folder: Path) -> None:
        self._root = os.fsencode(folder / section.folder)
        self._prefix = prefix.encode()
        self._index = os.fsencode(section.index)
        self._fingerprinted = section.fingerprinted
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="files")

    def serve(self, exchange: Exchange) -> None:
        """Answer with the file that the path names, as soon as a thread has it."""
        if exchange.method not in (b"GET", b"HEAD"):
            exchange.response_lines += b"Allow: GET, HEAD\r\n"
            exchange.answer_error(405)
            return
        wanted = wanted_file(exchange.path, self._prefix)
        if wanted is None:
            exchange.answer_error(404)
            return
        _, question, query = exchange.target.partition(b"?")
        find = partial(
            self._find,
            wanted,
            exchange.method,
            exchange.head.fields,
            with_slash=exchange.path + b"/" + question + query,
        )
        FileSender(exchange, self._executor).send(find)

    # In a thread.

    def _find(
        self,
        wanted: WantedFile,
        method: bytes,
        fields: Mapping[bytes, bytes],
        *,
        with_slash: bytes,
    ) -> FileReply:
        """Return the answer, with the file still to be sent, or read if it is small.

        Raises:
            OSError: the disk failed, or no descriptor was left.
        """
        try:
            with _hold(self._root) as root, _hold(wanted.relative or b".", within=root) as place:
                if not stat.S_ISDIR(os.fstat(place).st_mode):
                    if wanted.is_folder or not _is_served(place, root):
                        return FileReply(status=404)
                    return self._file_reply(place, wanted.relative, method, fields)
                with _hold(self._index, within=place) as index:
                    if not _is_served(index, root):
                        return FileReply(status=404)
                    if not wanted.is_folder:
                        # Revalidated, since what is a folder today may be a file tomorrow.
                        lines = b"Location: %b\r\nCache-Control: no-cache\r\n" % with_slash
                        return FileReply(status=308, lines=lines)
                    return self._file_reply(index, self._index, method, fields, is_index=True)
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            if error.errno == errno.EACCES:
                _log.warning("no permission to read a file", file=os.fsdecode(wanted.relative))
            return FileReply(status=404)

    def _file_reply(
        self,
        held: int,
        name: bytes,
        method: bytes,
        fields: Mapping[bytes, bytes],
        *,
        is_index: bool = False,
    ) -> FileReply:
        """Return the answer for the file that ``held`` holds."""
        facts = os.fstat(held)
        now = time.time()
        representation = Representation(
            size=facts.st_size,
            etag=entity_tag(size=facts.st_size, modified_ns=facts.st_mtime_ns, inode=facts.st_ino),
            # RFC 9110 section 8.8.2.1: never later than the answer's own date.
            last_modified=min(facts.st_mtime_ns // 1_000_000_000, int(now)),
        )
        selection = select(method, fields, representation, now=now)
        lines = _lines(
            representation,
            selection,
            content_type(name),
            cache_control(fingerprinted=self._fingerprinted, is_index=is_index),
        )
        length = selection.end - selection.start
        reply = FileReply(status=selection.status, lines=lines, length=length)
        if selection.status in (200, 206):
            reply.take(_open_held(held), selection.start, is_read=method == b"GET")
        return reply


def _lines(
    representation: Representation, selection: Selection, media_type: bytes, caching: bytes
) -> bytes:
    """Return the header lines that go with a selection of a file."""
    if selection.status == 416:  # about the range, not the file: nothing here to be stored
        return b"Content-Range: bytes */%d\r\nCache-Control: no-store\r\n" % representation.size
    if selection.status == 412:
        return b"Cache-Control: no-store\r\n"
    assert representation.last_modified is not None  # a file always has one
    lines = b"ETag: %b\r\nLast-Modified: %b\r\nCache-Control: %b\r\n" % (
        representation.etag,
        format_http_date(representation.last_modified),
        caching,
    )
    if selection.status == 304:
        return lines
    if selection.status == 206:
        lines += b"Content-Range: bytes %d-%d/%d\r\n" % (
            selection.start,
            selection.end - 1,
            representation.size,
        )
    return lines + (b"Content-Type: %b\r\nAccept-Ranges: bytes\r\n" % media_type)


@contextmanager
def _hold(path: bytes, *, within: int | None = None) -> Iterator[int]:
    """Hold what ``path`` names, without opening it; links are followed."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_served(held: int, root: int) -> bool:
    """Tell whether what is held is a plain file that really lies inside the folder."""
    if not stat.S_ISREG(os.fstat(held).st_mode):
        return False
    folder = _real_path(root).rstrip("/") + "/"
    return _real_path(held).startswith(folder)


def _real_path(held: int) -> str:
    return os.readlink(f"/proc/self/fd/{held}")


def _open_held(held: int) -> OpenFile:
    return OpenFile(os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_CLOEXEC))
