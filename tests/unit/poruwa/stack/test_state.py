"""The state folder: one stack at a time, for its owner only, keys kept, clear refusals."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from poruwa.errors import StackError
from poruwa.stack.state import open_state, require_space, running_pid


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state"
    with open_state(path) as state:
        assert mode(path) == 0o700
        assert mode(state.sockets) == 0o700
        assert running_pid(path) == os.getpid()
    assert running_pid(path) is None
    assert not (path / "run").exists()


def test_an_open_folder_of_others_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with open_state(tmp_path):
        assert mode(tmp_path) == 0o700


def test_a_second_stack_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from poruwa.stack.state import open_state\n"
        "with open_state(pathlib.Path(sys.argv[1])):\n"
        "    print('locked', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        (sys.executable, "-c", program, str(tmp_path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with (
            pytest.raises(StackError, match=f"in use by pid {other.pid}.*--state"),
            open_state(tmp_path),
        ):
            pass
        other.kill()
    with open_state(tmp_path):  # what was killed holds nothing
        pass


def test_keys_are_made_once_and_kept_for_their_owner(tmp_path: Path) -> None:
    with open_state(tmp_path) as state:
        first = state.make_secrets(["B_KEYS", "A_KEYS"])
    with open_state(tmp_path) as state:
        second = state.make_secrets(["A_KEYS", "C_KEYS"])
    assert mode(tmp_path / "secrets") == 0o600
    assert second["A_KEYS"] == first["A_KEYS"]
    assert len({*first.values(), second["C_KEYS"]}) == 3
    assert all(len(value) >= 32 for value in first.values())
    with open_state(tmp_path) as state:
        assert state.make_secrets(["B_KEYS"]) == {"B_KEYS": first["B_KEYS"]}


def test_a_disk_with_too_little_space_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"MiB free; the stack needs .*--state"):
        require_space(tmp_path, 1 << 60)
    with pytest.raises(StackError, match="free"), open_state(tmp_path, least_free_bytes=1 << 60):
        pass


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(StackError, match="not a directory"), open_state(path):
        pass
    with pytest.raises(StackError, match="not a directory"), open_state(path / "below"):
        pass


@pytest.mark.skipif(not Path("/proc/sys").exists(), reason="needs a folder nobody can write")
def test_an_unwritable_place_is_refused() -> None:
    with (
        pytest.raises(StackError, match=r"cannot be written.*--state"),
        open_state(Path("/proc/sys/poruwa-state")),
    ):
        pass


def test_a_path_too_long_for_sockets_gets_them_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 60) / ("e" * 60)
    with open_state(path) as state:
        elsewhere = state.sockets
        assert path not in elsewhere.parents
        assert len(str(elsewhere)) < 88
        assert mode(elsewhere) == 0o700
    assert not elsewhere.exists()


def test_sockets_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "app.1.sock").write_text("")
    with open_state(tmp_path) as state:
        assert list(state.sockets.iterdir()) == []


def test_a_small_value_is_remembered(tmp_path: Path) -> None:
    with open_state(tmp_path) as state:
        assert state.recall("database.port") is None
        state.remember("database.port", 4711)
        assert state.recall("database.port") == "4711"


def test_the_operators_token_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    """Issue 5: who can read the state folder may edit; a restart locks nobody out."""
    with open_state(tmp_path / "state") as state:
        token = state.operator_token()
        assert len(token) >= 32
    with open_state(tmp_path / "state") as state:
        assert state.operator_token() == token
    file = tmp_path / "state" / "operator-token"
    assert file.read_text() == token
    assert file.stat().st_mode & 0o777 == 0o600
