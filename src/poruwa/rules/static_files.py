"""Which file a path means, what type it has, what identifies its version.

Decides by names and numbers alone; opening files is ``gateway.static_files``' work, which also
makes sure that no link leads out of the folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

IMMUTABLE = b"public, max-age=31536000, immutable"  # a year (B1), RFC 8246
REVALIDATE = b"no-cache"
_WELL_KNOWN = b".well-known"  # RFC 8615: the one name with a dot that is meant for the public

# A table of our own: the system's differs from machine to machine.
_TEXT = "; charset=utf-8"
_TYPES = {
    "avif": "image/avif",
    "bmp": "image/bmp",
    "css": "text/css" + _TEXT,
    "csv": "text/csv" + _TEXT,
    "gif": "image/gif",
    "gz": "application/gzip",
    "htm": "text/html" + _TEXT,
    "html": "text/html" + _TEXT,
    "ico": "image/x-icon",
    "ics": "text/calendar" + _TEXT,
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript" + _TEXT,
    "json": "application/json",
    "jsonld": "application/ld+json",
    "map": "application/json",
    "md": "text/markdown" + _TEXT,
    "mjs": "text/javascript" + _TEXT,
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "rss": "application/rss+xml",
    "atom": "application/atom+xml",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "ttf": "font/ttf",
    "txt": "text/plain" + _TEXT,
    "vcf": "text/vcard" + _TEXT,
    "vtt": "text/vtt" + _TEXT,
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xhtml": "application/xhtml+xml",
    "xml": "application/xml",
    "zip": "application/zip",
}
_TYPE_BYTES = {suffix.encode(): name.encode() for suffix, name in _TYPES.items()}
_UNKNOWN_TYPE = b"application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFile:
    """A place in the folder: ``relative`` has no leading slash; empty for the folder itself.

    ``is_folder``: the path ended in a slash, so its index is wanted.
    """

    relative: bytes
    is_folder: bool


def wanted_file(path: bytes, prefix: bytes) -> WantedFile | None:
    """Return what ``path`` means below ``prefix``, or None if it can mean no file.

    Args:
        path: of the request, in normal form; percent codes are decoded here, once.
        prefix: the route's path without its ``*``; ``{name}`` stands for any segment. A prefix
            that does not end in a slash is a single file's path: its last segment is the file.

    No file has: empty segments (also outside the prefix: a redirect to ``//name/`` would leave
    the site), dot segments, hidden names but a leading ``.well-known``, control characters,
    backslashes, slashes that were encoded.
    """
    segments = path.split(b"/")[1:]
    depth = prefix.count(b"/") - 1
    if b"" in segments[:-1]:
        return None
    if len(segments) <= depth:  # "/static" of "/static/*"
        return WantedFile(relative=b"", is_folder=False)
    names = [unquote_to_bytes(segment) for segment in segments[depth:]]
    is_folder = names[-1] == b""
    if is_folder:
        names.pop()
    for index, name in enumerate(names):
        is_public = name == _WELL_KNOWN and depth == index == 0
        if (name.startswith(b".") and not is_public) or _has_unsafe_byte(name):
            return None
    return WantedFile(relative=b"/".join(names), is_folder=is_folder)


def content_type(name: bytes) -> bytes:
    """Return the media type for a file name, by its suffix; text is UTF-8."""
    _, dot, suffix = name.rpartition(b".")
    return _TYPE_BYTES.get(suffix.lower(), _UNKNOWN_TYPE) if dot else _UNKNOWN_TYPE


def entity_tag(*, size: int, modified_ns: int, inode: int) -> bytes:
    """Return the strong entity tag of a file's version, with its quotes.

    Replacing a file gives it another inode, rewriting it another time of modification. The
    numbers are hashed, since an inode is nobody else's business.
    """
    version = b"%d-%d-%d" % (size, modified_ns, inode)
    return b'"%b"' % blake2b(version, digest_size=12).hexdigest().encode()


def cache_control(*, fingerprinted: bool, is_index: bool) -> bytes:
    """Return the Cache-Control of a file; an index has a name without fingerprint."""
    return IMMUTABLE if fingerprinted and not is_index else REVALIDATE


def _has_unsafe_byte(name: bytes) -> bool:
    return b"/" in name or b"\\" in name or min(name) < 0x20 or 0x7F in name
