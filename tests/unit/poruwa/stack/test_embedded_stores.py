"""Which servers `up` starts for a policy, and what of their words is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poruwa.config.load import parse_policy
from poruwa.config.model import Stores, ValkeyStore
from poruwa.stack.state import StateFolder, open_state
from poruwa.stack.valkey import (
    URL_VARIABLES,
    embedded_stores,
    relay_line_of_valkey,
    store_environment,
    store_places,
    valkey_plan,
)
from poruwa.stores.store_url import BUS_URL, CACHE_URL, store_from_url

_EXTERNAL = 'mode = "single"\nnodes = ["redis1:6379"]\n'
_OTHER = 'mode = "single"\nnodes = ["redis2:6379"]\n'


def stores_of(text: str) -> Stores:
    base = '[pools.app]\ninstances = ["127.0.0.1:3000"]\n[[routes]]\npath = "/*"\npool = "app"\n'
    return parse_policy(base + text, "site.toml").stores


@pytest.mark.parametrize(
    ("text", "started", "places"),
    [
        ("", ["cache", "bus"], ["cache", "bus"]),
        ('[stores.cache]\nmode = "embedded"\n', ["cache", "bus"], ["cache", "bus"]),
        (f"[stores.cache]\n{_EXTERNAL}", [], ["cache"]),
        (f"[stores.cache]\n{_EXTERNAL}[stores.bus]\n{_OTHER}", [], ["cache", "bus"]),
        (f"[stores.bus]\n{_OTHER}", ["cache"], ["cache", "bus"]),
        (
            f'[stores.cache]\n{_EXTERNAL}[stores.bus]\nmode = "embedded"\n',
            ["bus"],
            ["bus", "cache"],
        ),
    ],
)
def test_the_policy_says_which_are_started(
    text: str, started: list[str], places: list[str], tmp_path: Path
) -> None:
    stores = stores_of(text)
    with open_state(tmp_path / "state", least_free_bytes=0) as state:
        found = embedded_stores(stores, state)
    assert [store.name for store in found] == started
    assert list(store_places(stores, found)) == places
    assert list(store_environment(found)) == [URL_VARIABLES[name] for name in started]


def test_ports_and_passwords_outlive_a_run_and_differ(tmp_path: Path) -> None:
    with open_state(tmp_path / "state", least_free_bytes=0) as state:
        first = embedded_stores(Stores(), state)
    with open_state(tmp_path / "state", least_free_bytes=0) as state:
        assert embedded_stores(Stores(), state) == first
    assert first[0].port != first[1].port
    assert first[0].password != first[1].password
    assert first[0].password not in repr(first)


def test_the_url_is_what_clients_read(tmp_path: Path) -> None:
    assert URL_VARIABLES == {"cache": CACHE_URL, "bus": BUS_URL}
    with open_state(tmp_path / "state", least_free_bytes=0) as state:
        (cache, _) = embedded_stores(Stores(), state)
    read = store_from_url(cache.url, ValkeyStore())
    assert read.nodes == (f"127.0.0.1:{cache.port}",)
    assert read.password is not None
    assert read.password.reveal() == cache.password


def test_the_password_is_in_a_private_file_and_not_on_the_command_line(tmp_path: Path) -> None:
    with open_state(tmp_path / 'a "state"', least_free_bytes=0) as state:
        _require_private(state)


def _require_private(state: StateFolder) -> None:
    for store in embedded_stores(Stores(), state):
        spec = valkey_plan(store, state).make_spec(1)
        assert store.password not in " ".join(spec.argv)
        assert spec.env is None
        configuration = Path(spec.argv[1])
        assert configuration.stat().st_mode & 0o777 == 0o600
        assert f"requirepass {store.password}\n" in configuration.read_text()


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        ("7:M 26 Nov 2026 16:34:52.721 # Bad file format", "warning", "Bad file format"),
        ("7:M 26 Nov 2026 16:34:52.721 * Ready to accept connections tcp", "info", "Ready to"),
        ("*** FATAL CONFIG FILE ERROR", "info", "*** FATAL"),
        ("7:M 26 Nov 2026 16:34:52.721 # WARNING Memory overcommit must be enabled! Wi", "", ""),
        ("7:M 26 Nov 2026 16:34:53.461 # Valkey is now ready to exit, bye bye...", "", ""),
        ("7:signal-handler (1795710893) Received SIGTERM scheduling shutdown...", "", ""),
    ],
)
def test_lines_of_every_start_and_end_are_left_out(line: str, level: str, text: str) -> None:
    with capture_logs() as logs:
        relay_line_of_valkey("bus", line)
    shown = [(entry["log_level"], entry["component"]) for entry in logs]
    assert shown == ([(level, "bus")] if level else [])
    assert all(entry["event"].startswith(text) for entry in logs)
