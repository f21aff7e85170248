"""Two builds of the site on one bus, and a visitor who looks at all that a page loads."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urldefrag

import httpx
from site_process import UVICORN, port_answers, running, wait_for

import weddinglk

IMMUTABLE = "public, max-age=31536000, immutable"
_PRELOAD = re.compile(r'<([^>]+)>; rel=preload; as=style; integrity="([^"]+)"')
_ELEMENT = re.compile(r"<(?:script|link|img|use|source)\s[^>]*>")
_ATTRIBUTE = re.compile(r'\s(src|href|integrity|rel)="([^"]*)"')
_BUILD = re.compile(r'<meta name="build" content="([^"]*)">')


def get(url: str, **fields: str) -> httpx.Response:
    """GET on a connection of its own; ``If_None_Match="x"`` is a field."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return httpx.get(url, headers=headers, timeout=20, verify=_tls_context())


@cache
def _tls_context() -> ssl.SSLContext:
    """Make once what httpx would make for every call, in 20 ms, although nobody speaks TLS."""
    return ssl.create_default_context()


def make_build(folder: Path, name: str) -> Path:
    """Copy the site's code, changed in every static file; return the folder for PYTHONPATH."""
    source = Path(weddinglk.__file__).parent
    code = folder / name
    shutil.copytree(source, code / "weddinglk", ignore=shutil.ignore_patterns("__pycache__"))
    static = code / "weddinglk/static"
    for path, added in (
        (static / "css/99-build.css", f":root {{ --build: {name} }}\n"),
        (static / "site.js", f"// {name}\n"),
        (static / "icons.svg", f"<!-- {name} -->\n"),
        (static / "favicon.svg", f"<!-- {name} -->\n"),
    ):
        with path.open("a", encoding="utf-8") as file:
            file.write(added)
    return code


class Instance:
    """One place in the pool: a port on which now this, now that build is run."""

    def __init__(self, folder: Path, port: int, settings: Mapping[str, str]) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._settings = settings
        self._stack = ExitStack()
        self._code: Path | None = None
        self._runs = 0

    def run(self, code: Path) -> None:
        """Have the build run there, ending another, and wait until it is ready."""
        if code == self._code:
            return
        self.stop()
        self._code = code
        self._runs += 1
        inherited = os.environ.get("PYTHONPATH")
        import_path = f"{code}{os.pathsep}{inherited}" if inherited else str(code)
        settings = {**self._settings, "WEDDINGLK_BUILD": code.name, "PYTHONPATH": import_path}
        command = [UVICORN, "weddinglk.app:app", "--host", "127.0.0.1", "--port", str(self.port)]
        log = self._folder / f"{self.port}-{self._runs}.log"
        self._stack.enter_context(
            running([*command, "--loop", "uvloop", "--http", "httptools"], log, settings)
        )
        wait_for(lambda: port_answers(self.port) and get(f"{self.url}/healthz").is_success, "it")
        assert build_of(get(f"{self.url}/en").text) == code.name

    def stop(self) -> None:
        self._stack.close()


@contextmanager
def instance(folder: Path, port: int, settings: Mapping[str, str]) -> Iterator[Instance]:
    made = Instance(folder, port, settings)
    try:
        yield made
    finally:
        made.stop()


def build_of(text: str) -> str:
    found = _BUILD.search(text)
    assert found, text[:500]
    return found[1]


@dataclass(frozen=True)
class Page:
    """A page that somebody has open.

    Attributes:
        build: that made it.
        files: of ``/static/`` that it loads, with the integrity it names, or none.
    """

    build: str
    files: frozenset[tuple[str, str]]

    @staticmethod
    def read(answer: httpx.Response) -> Page:
        assert answer.status_code == 200, answer.text[:500]
        files = set(_PRELOAD.findall(answer.headers["link"]))
        for element in _ELEMENT.findall(answer.text):
            attributes = dict(_ATTRIBUTE.findall(element))
            path = urldefrag(attributes.get("src") or attributes.get("href") or "").url
            if path.startswith("/static/"):
                files.add((path, attributes.get("integrity", "")))
        assert {path.rpartition("/")[2] for path, integrity in files if integrity} == {
            "site.css", "site.js",
        }  # fmt: skip
        assert {path.rpartition("/")[2] for path, integrity in files} == {
            "site.css", "site.js", "icons.svg", "favicon.svg",
        }  # fmt: skip
        return Page(build_of(answer.text), frozenset(files))

    def faults(self, url: str) -> list[str]:
        """Load every file, each on a connection of its own; return what a browser would refuse."""
        faults = []
        for path, integrity in sorted(self.files):
            answer = get(url + path)
            where = f"{path} of {self.build}"
            if answer.status_code != 200 or answer.headers["cache-control"] != IMMUTABLE:
                faults.append(f"{where}: {answer.status_code} {answer.headers['cache-control']}")
            elif self.build.encode() not in answer.content:
                faults.append(f"{where}: the file of another build")
            elif integrity and integrity != integrity_of(answer.content):
                faults.append(f"{where}: not what the page says it holds")
        return faults


def integrity_of(content: bytes) -> str:
    """Return what Subresource Integrity calls the content (W3C SRI, section 3.2)."""
    return f"sha384-{base64.b64encode(hashlib.sha384(content).digest()).decode()}"
