"""Static files: read once at start, named by their content, answered from memory.

The URL is ``/static/{fingerprint}/{name}``. With the right fingerprint a response never changes
and says so. With another one (a page of an older build during a deploy) the present file is
served, but nobody may keep it under that name.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

STATIC_DIRECTORY = Path(__file__).parent.parent / "static"
IMMUTABLE = "public, max-age=31536000, immutable"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_CSS_SPACE = re.compile(r"\s+")
_CSS_AROUND = re.compile(r" ?([{};,]) ?")


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as it is sent."""

    body: bytes
    media_type: str
    fingerprint: str
    integrity: str


class StaticFiles:
    """All static files by name; ``css/*.css`` are joined, in their order, to ``site.css``."""

    def __init__(self, files: Mapping[str, StaticFile]) -> None:
        self._files = files
        self._urls = {name: f"/static/{file.fingerprint}/{name}" for name, file in files.items()}

    def url(self, name: str) -> str:
        """Return the fingerprinted path of ``name``.

        Raises:
            KeyError: there is no such file.
        """
        return self._urls[name]

    def integrity(self, name: str) -> str:
        """Return what pages say of the content of ``name`` (Subresource Integrity, section 3).

        Raises:
            KeyError: there is no such file.
        """
        return self._files[name].integrity

    def respond(self, request: Request) -> Response | None:
        """Return the response to a request for ``{fingerprint}/{name}``, ``None`` if unknown."""
        file = self._files.get(request.path_params["name"])
        if file is None:
            return None
        exact = request.path_params["fingerprint"] == file.fingerprint
        response = self.response(request.path_params["name"])
        response.headers["Cache-Control"] = IMMUTABLE if exact else "no-store"
        return response

    def response(self, name: str) -> Response:
        """Return the file ``name`` as it is, for a path that holds no fingerprint.

        Raises:
            KeyError: there is no such file.
        """
        file = self._files[name]
        headers = {"ETag": f'"{file.fingerprint}"', "X-Content-Type-Options": "nosniff"}
        return Response(file.body, headers=headers, media_type=file.media_type)


def load_static_files(directory: Path = STATIC_DIRECTORY) -> StaticFiles:
    """Read every file of ``directory``; hidden ones and the parts of the style sheet aside."""
    style = "".join(p.read_text("utf-8") for p in sorted((directory / "css").glob("*.css")))
    bodies = {"site.css": compact_css(style).encode()}
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.suffix in _MEDIA_TYPES:
            bodies[path.name] = path.read_bytes()
    return StaticFiles({name: _static_file(name, body) for name, body in bodies.items()})


def compact_css(text: str) -> str:
    """Return the style sheet without comments and needless space; strings must hold none."""
    return _CSS_AROUND.sub(r"\1", _CSS_SPACE.sub(" ", _CSS_COMMENT.sub("", text))).strip()


def _static_file(name: str, body: bytes) -> StaticFile:
    fingerprint = hashlib.blake2b(body, digest_size=8).hexdigest()
    integrity = f"sha384-{b64encode(hashlib.sha384(body).digest()).decode()}"
    return StaticFile(body, _MEDIA_TYPES[Path(name).suffix], fingerprint, integrity)
