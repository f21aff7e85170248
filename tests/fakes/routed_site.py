"""A small site whose routes have policies of their own, as a process: behind a gateway, or alone.

Run by uvicorn as ``routed_site:app`` with this folder on PYTHONPATH. Every page has an inline
script of its own; a POST is answered with its body.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

import poruwa
from fakes.authority import TRUSTED_SOURCE
from fakes.raw_client import RawClient

ALONE_VARIABLE = "ROUTED_SITE_ALONE"
READY_SECONDS = 30.0
SCRIPT = "document.title = 1"
STRICT = "default-src 'none'; style-src 'self'; frame-ancestors 'none'"
POLICY = f"""
[site]
domain = "weddinglk.test"
[listeners.http]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[gateway]
workers = 1
[trust]
proxies = ["{TRUSTED_SOURCE}"]
[headers]
content_security_policy = "default-src 'self'; object-src 'none'; frame-ancestors 'none'"
[pools.app]
instances = ["unix:{{socket}}"]
health.kind = "tcp"
[classes.page]
scope = "shared"
lifetimes = {{{{ browser = "0s", gateway = "1h" }}}}
[[routes]]
path = "/*"
pool = "app"
[[routes]]
path = "/kept/*"
pool = "app"
data_class = "page"
[[routes]]
path = "/strict/*"
pool = "app"
headers.content_security_policy = "{STRICT}"
[[routes]]
path = "/strict/kept/*"
pool = "app"
data_class = "page"
headers.content_security_policy = "{STRICT}"
[[routes]]
path = "/maps/*"
pool = "app"
headers.content_security_policy = "default-src 'self'; img-src https://tiles.test; frame-ancestors 'none'"
[[routes]]
path = "/api/*"
pool = "app"
accepts = ["application/json"]
cors = {{{{ origins = ["https://reader.test"], methods = ["POST"] }}}}
"""  # noqa: E501


class RoutedInstance:
    """The site's process, on a Unix socket as ``poruwa up`` has them, or alone on a port.

    Attributes:
        address: for a ``RawClient``.
    """

    def __init__(self, folder: Path, policy_path: Path, socket_path: Path | None) -> None:
        where: str | tuple[str, int]
        if socket_path is None:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                port = int(listener.getsockname()[1])
            self.address, where = f"127.0.0.1:{port}", ("127.0.0.1", port)
            how = ("--port", str(port), "--no-proxy-headers")
        else:
            self.address, where = f"unix:{socket_path}", str(socket_path)
            how = ("--uds", str(socket_path), "--proxy-headers", "--forwarded-allow-ips", "*")
        self._log = folder / f"instance-{'socket' if socket_path else 'port'}.log"
        paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                (sys.executable, "-m", "uvicorn", "routed_site:app", *how,
                 "--log-level", "warning", "--no-access-log"),
                env=os.environ
                | {"PYTHONPATH": os.pathsep.join(paths), "PORUWA_POLICY": str(policy_path)}
                | ({ALONE_VARIABLE: "1"} if socket_path is None else {}),
                stdout=log,
                stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_listening(where):
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    @staticmethod
    def _is_listening(where: str | tuple[str, int]) -> bool:
        with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as probe:
            return probe.connect_ex(where) == 0

    def connect(self, *, source: str | None = None) -> RawClient:
        return RawClient(self.address, source=source)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


# In the instance.


def _make_app() -> Starlette:
    template = Environment(extensions=[poruwa.InlineBlocks], autoescape=True).from_string(
        "<p>page</p>{% script %}" + SCRIPT + "{% endscript %}"
    )

    async def page(request: Request) -> Response:
        with poruwa.collect_blocks() as blocks:
            html = template.render()
        policy = blocks.policy(poruwa.content_security_policy_of(request))
        assert policy is not None
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    async def echo(request: Request) -> Response:
        return Response(await request.body())

    platform = poruwa.Platform.from_file(os.environ["PORUWA_POLICY"])
    app = Starlette(
        routes=[Route("/{path:path}", page), Route("/{path:path}", echo, methods=["POST"])],
        lifespan=platform.lifespan,
    )
    platform.install(app, has_gateway=ALONE_VARIABLE not in os.environ)
    return app


if __name__ == "routed_site":
    app = _make_app()
