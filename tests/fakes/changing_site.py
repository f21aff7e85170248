"""A gateway whose policy is written anew and reloaded, before two instances and a chat server."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from websockets.sync.server import ServerConnection, serve

from fakes.gateway_process import GatewayProcess, is_running
from fakes.origin import Origin

DONE_SECONDS = 30.0  # of a reload, on a machine that does much else
WORKERS = 2
POLICY = """
[listeners.http]
address = "127.0.0.1:0"
{listeners}
[admin]
address = "127.0.0.1:0"
[gateway]
workers = {workers}
old_workers = "{old_workers}"
[timeouts]
drain = "1s"
idle = "{idle}"
[pools.app]
instances = [{instances}]
[pools.app.health]
interval = "{interval}"
fast_interval = "{fast_interval}"
timeout = "1s"
jitter = {jitter}
[pools.chat]
instances = ["{chat}"]
health.kind = "tcp"
[[routes]]
path = "/chat"
pool = "chat"
{routes}
[[routes]]
path = "/*"
pool = "app"
"""
REDIRECT = """
[[routes]]
path = "/moved"
[routes.redirect]
to = "/new"
"""


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


class Site:
    """Use `running_site`. Settings are those in braces in `POLICY`."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None, **settings: object
    ) -> None:
        self.origins = [Origin(name=f"app{number}") for number in range(2)]
        for origin in self.origins:
            origin.keeps_calls = False
        self._chat = serve(echo, "127.0.0.1", 0, compression=None)
        self._chatting = threading.Thread(target=self._chat.serve_forever)
        self._chatting.start()
        self.policy_path = folder / "site.toml"
        try:
            self.gateway = GatewayProcess(
                folder, policy=self.policy(**settings), environment=environment
            )
        except BaseException:
            self.close()
            raise

    def policy(self, **settings: object) -> str:
        """Return a policy with ``settings``, and defaults for the others."""
        host, port = self._chat.socket.getsockname()
        defaults: dict[str, object] = {
            "listeners": "",
            "workers": WORKERS,
            "old_workers": "60s",
            "idle": "60s",
            "interval": "2s",
            "fast_interval": "100ms",
            "jitter": 0.1,
            "instances": ", ".join(f'"{each.address}"' for each in self.origins),
            "routes": "",
            "chat": f"{host}:{port}",
        }
        return POLICY.format(**(defaults | settings))

    def write(self, **settings: object) -> None:
        self.policy_path.write_text(self.policy(**settings))

    def events(self, text: str) -> list[dict[str, Any]]:
        return [event for event in self.gateway.log_events() if event["event"] == text]

    def send(self, number: signal.Signals, outcome: str) -> dict[str, Any]:
        """Send a signal, wait for the line that tells the outcome, and return it."""
        before = len(self.events(outcome))
        self.gateway.process.send_signal(number)
        self.gateway.until(lambda: len(self.events(outcome)) > before, outcome, DONE_SECONDS)
        return self.events(outcome)[-1]

    def reload(self) -> dict[str, Any]:
        return self.send(signal.SIGHUP, "reload done")

    def upgrade(self) -> dict[str, Any]:
        return self.send(signal.SIGUSR2, "upgrade done")

    def await_refusal(self, reason: str, number: signal.Signals = signal.SIGHUP) -> None:
        """Send a signal and wait for a line that says no, for a reason that matches."""
        self.gateway.process.send_signal(number)
        self.gateway.until(
            lambda: any(
                event["event"].endswith("refused, all goes on as before")
                and re.search(reason, event["reason"])
                for event in self.gateway.log_events()
            ),
            f"a refusal because of {reason}",
            DONE_SECONDS,
        )

    def workers(self, state: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.gateway.status()["workers"]
        return [each for each in found if state in (None, each["state"])]

    def await_ended(self, pids: list[int], seconds: float = 20.0) -> None:
        self.gateway.until(
            lambda: not any(map(is_running, pids)), f"the end of workers {pids}", seconds
        )

    def close(self) -> None:
        """End what stands behind the gateway."""
        self._chat.shutdown()
        self._chatting.join(10)
        for origin in self.origins:
            origin.stop()


@contextlib.contextmanager
def running_site(
    folder: Path, *, environment: Mapping[str, str] | None = None, **settings: object
) -> Iterator[Site]:
    """Run a site; its gateway must end well, leave no process and log no fault of ours."""
    site = Site(folder, environment, **settings)
    try:
        yield site
    except BaseException:
        site.gateway.kill()
        raise
    else:
        site.gateway.stop()
    finally:
        site.close()
