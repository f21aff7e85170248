"""Static files: read once at start, named by their content, answered from memory.

The URL is ``/static/{fingerprint}/{name}``. Under it there is one content for good, and a response
says so. A fingerprint of another build (of a page from before or after a deploy) is looked for
where all builds keep their files (``platform.assets``); none is answered with our own file: what
pages say of the content (``integrity``) would not be true of it.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from poruwa import Asset, Assets

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


class StaticFiles:
    """All static files by name; ``css/*.css`` are joined, in their order, to ``site.css``.

    Args:
        files: of this build.
        assets: the platform's, where `share` makes them available to other instances.
    """

    def __init__(self, files: Mapping[str, Asset], assets: Assets) -> None:
        self._files = files
        self._assets = assets
        self._urls = {name: f"/static/{file.fingerprint}/{name}" for name, file in files.items()}
        self._integrities = {name: _integrity(file.body) for name, file in files.items()}

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
        return self._integrities[name]

    async def share(self) -> None:
        """Make the files available to all instances; the platform goes on with it by itself."""
        await self._assets.keep(self._files.values())

    async def respond(self, request: Request) -> Response | None:
        """Return the response to a request for ``{fingerprint}/{name}``, of whichever build.

        None where no build is known to have it. Nobody may store what is answered then.
        """
        name = request.path_params["name"]
        asset = await self._assets.get(request.path_params["fingerprint"], name)
        if asset is None:
            return None
        response = _response(asset)
        response.headers["Cache-Control"] = IMMUTABLE
        return response

    def response(self, name: str) -> Response:
        """Return the file ``name`` as it is, for a path that holds no fingerprint.

        Raises:
            KeyError: there is no such file.
        """
        return _response(self._files[name])


def load_static_files(assets: Assets, directory: Path = STATIC_DIRECTORY) -> StaticFiles:
    """Read every file of ``directory``; hidden ones and the parts of the style sheet aside."""
    style = "".join(p.read_text("utf-8") for p in sorted((directory / "css").glob("*.css")))
    bodies = {"site.css": compact_css(style).encode()}
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.suffix in _MEDIA_TYPES:
            bodies[path.name] = path.read_bytes()
    files = {
        name: Asset(name, _MEDIA_TYPES[Path(name).suffix], body) for name, body in bodies.items()
    }
    return StaticFiles(files, assets)


def compact_css(text: str) -> str:
    """Return the style sheet without comments and needless space; strings must hold none."""
    return _CSS_AROUND.sub(r"\1", _CSS_SPACE.sub(" ", _CSS_COMMENT.sub("", text))).strip()


def _response(asset: Asset) -> Response:
    headers = {"ETag": f'"{asset.fingerprint}"', "X-Content-Type-Options": "nosniff"}
    return Response(asset.body, headers=headers, media_type=asset.media_type)


def _integrity(body: bytes) -> str:
    return f"sha384-{b64encode(hashlib.sha384(body).digest()).decode()}"
