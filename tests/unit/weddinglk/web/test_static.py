"""Static files (requirement B10)."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from poruwa import Assets
from weddinglk.web.static import STATIC_DIRECTORY, StaticFiles, compact_css, load_static_files


def load(directory: Path = STATIC_DIRECTORY) -> StaticFiles:
    return load_static_files(Assets(None, "test"), directory)


def test_names_change_with_content(tmp_path: Path) -> None:
    """B10: the fingerprint is of the bytes; the parts of the style sheet are joined in order."""
    (tmp_path / "css").mkdir()
    (tmp_path / "css/20-b.css").write_text("b { color: red }")
    (tmp_path / "css/10-a.css").write_text("/* note */ a { color : blue; }")
    (tmp_path / "site.js").write_text("1")
    (tmp_path / "secret.txt").write_text("no")
    before = load(tmp_path)
    (tmp_path / "site.js").write_text("2")
    after = load(tmp_path)
    assert before.url("site.css") == after.url("site.css")
    assert before.url("site.js") != after.url("site.js")
    assert before._files["site.css"].body == b"a{color : blue;}b{color: red}"
    assert "secret.txt" not in before._files


def test_pages_say_what_the_files_hold() -> None:
    """D7: the integrity of a file is the SHA-384 of the bytes that are sent."""
    files = load()
    for name in ("site.css", "site.js"):
        digest = hashlib.sha384(files._files[name].body).digest()
        assert files.integrity(name) == f"sha384-{base64.b64encode(digest).decode()}"
    template = (STATIC_DIRECTORY.parent / "templates/base.html").read_text("utf-8")
    for element in re.findall(r"<script src[^>]*>|<link rel=.stylesheet[^>]*>", template):
        assert "integrity=" in element


def test_no_script_makes_markup_from_text() -> None:
    """52, D8: none of what Trusted Types guard, as no policy is allowed that would let it pass."""
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|parseFromString|HTMLUnsafe|\bdocument\.write"
    sinks += r"|\beval\(|new Function|createContextualFragment|createPolicy|srcdoc|\.src\b"
    for path in STATIC_DIRECTORY.glob("*.js"):
        assert not re.search(sinks, path.read_text("utf-8")), path


def test_compacting_keeps_what_css_needs() -> None:
    """B9: descendant combinators, calc and @media keep their spaces."""
    text = "@media (max-width: 3rem) { .a .b:not(.c) { width: calc(1px + 2px) } }"
    assert compact_css(text) == "@media (max-width: 3rem){.a .b:not(.c){width: calc(1px + 2px)}}"


def test_the_site_is_small() -> None:
    """B10: style and script stay below 48 kB together before compression."""
    files = load()._files
    assert len(files["site.css"].body) + len(files["site.js"].body) < 48_000


def test_nothing_leads_to_a_third_party() -> None:
    """D7: no request to anybody else, no inline style or handler, in any of our files."""
    sources = [*STATIC_DIRECTORY.rglob("*.*"), *(STATIC_DIRECTORY.parent / "templates").glob("*")]
    for path in sources:
        text = path.read_text("utf-8")
        found = {url for url in re.findall(r"https?://[\w.-]+", text) if "w3.org" not in url}
        assert not found, (path, found)
        if path.suffix == ".html":
            assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", text), path
            assert not re.search(r"<script(?![^>]*\ssrc=)", text), path
