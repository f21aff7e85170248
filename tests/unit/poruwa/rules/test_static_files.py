"""Which file a path means (B10), and what identifies and describes it."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poruwa.rules.routing import normalise_path
from poruwa.rules.static_files import (
    WantedFile,
    cache_control,
    content_type,
    entity_tag,
    wanted_file,
)


@pytest.mark.parametrize(
    ("path", "prefix", "relative", "is_folder"),
    [
        (b"/static/site.css", b"/static/", b"site.css", False),
        (b"/static/a/b.js", b"/static/", b"a/b.js", False),
        (b"/static/", b"/static/", b"", True),
        (b"/static", b"/static/", b"", False),  # a folder without its slash: to be redirected
        (b"/static/a/", b"/static/", b"a", True),
        (b"/", b"/", b"", True),
        (b"/favicon.ico", b"/", b"favicon.ico", False),
        (b"/favicon.ico", b"/favicon.ico", b"favicon.ico", False),  # a route for one file
        (b"/t/north/files/x.png", b"/t/{tenant}/files/", b"x.png", False),
        (b"/static/K%C3%A4the%20%26.txt", b"/static/", "Käthe &.txt".encode(), False),
        (b"/static/a%2541", b"/static/", b"a%41", False),  # decoded once
        (b"/static/a..b", b"/static/", b"a..b", False),
        (b"/.well-known/security.txt", b"/", b".well-known/security.txt", False),
    ],
)
def test_path_of_a_file(path: bytes, prefix: bytes, relative: bytes, is_folder: bool) -> None:
    assert wanted_file(path, prefix) == WantedFile(relative=relative, is_folder=is_folder)


@pytest.mark.parametrize(
    "path",
    [
        b"/static/../secret",
        b"/static/%2e%2e/secret",
        b"/static/%2E./secret",
        b"/static/.",
        b"/static/..%2fsecret",
        b"/static/a%2Fb",
        b"/static/a%5Cb",
        b"/static/a\\b",
        b"/static/a%00.txt",
        b"/static/a%0Ab",
        b"/static/a%7F",
        b"/static/.git/config",
        b"/static/.env",
        b"/static/%2Eenv",
        b"/static/a/.hidden",
        b"/static/.well-known/x",  # not the site's root
        b"/static//a",
        b"/static/a//b",
        b"//static/a",
    ],
)
def test_path_that_can_mean_no_file(path: bytes) -> None:
    assert wanted_file(path, b"/static/") is None


def test_redirect_to_a_folder_cannot_leave_the_site() -> None:
    """``Location: //evil/`` would be another host."""
    assert wanted_file(b"//evil", b"/") is None
    assert wanted_file(b"//evil", b"/{name}/") is None


@settings(deadline=None)  # a time is not what is tested
@given(st.binary(max_size=40), st.booleans())
def test_no_path_leaves_the_folder(rest: bytes, is_quoted: bool) -> None:
    path = b"/static/" + (quote_from_bytes(rest).encode() if is_quoted else rest)
    for candidate in (path, normalise_path(path)):
        wanted = wanted_file(candidate, b"/static/") if candidate is not None else None
        if wanted is not None and wanted.relative:
            assert not wanted.relative.startswith(b"/")
            for name in wanted.relative.split(b"/"):
                assert name
                assert not name.startswith(b".")
                assert not set(name) & {0, 0x5C}


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        (b"site.css", b"text/css; charset=utf-8"),
        (b"a/APP.JS", b"text/javascript; charset=utf-8"),
        (b"index.html", b"text/html; charset=utf-8"),
        (b"a.min.svg", b"image/svg+xml"),
        (b"photo.avif", b"image/avif"),
        (b"data.json", b"application/json"),
        (b"archive.tar.gz", b"application/gzip"),
        (b"README", b"application/octet-stream"),
        (b"html", b"application/octet-stream"),
        (b"x.unknown", b"application/octet-stream"),
    ],
)
def test_content_type(name: bytes, media_type: bytes) -> None:
    assert content_type(name) == media_type


def test_entity_tag_tells_versions_apart() -> None:
    tag = entity_tag(size=10, modified_ns=5, inode=7)
    assert tag == entity_tag(size=10, modified_ns=5, inode=7)
    assert tag.startswith(b'"')
    assert tag.endswith(b'"')
    others = {
        entity_tag(size=11, modified_ns=5, inode=7),
        entity_tag(size=10, modified_ns=6, inode=7),
        entity_tag(size=10, modified_ns=5, inode=8),
        entity_tag(size=1, modified_ns=5, inode=7),
    }
    assert len(others | {tag}) == 5


def test_only_names_with_a_fingerprint_are_immutable() -> None:
    """B1: static a year, where the name changes with the content."""
    immutable = b"public, max-age=31536000, immutable"
    assert cache_control(fingerprinted=True, is_index=False) == immutable
    assert cache_control(fingerprinted=True, is_index=True) == b"no-cache"
    assert cache_control(fingerprinted=False, is_index=False) == b"no-cache"
