"""What operators changed is kept whole, read back alike, and never dropped without a word."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.errors import StackError
from poruwa.rules.topology import Change, Changes, Drain
from poruwa.stack.kept_changes import KeptChanges

CHANGES: Changes = {
    "app": {
        "app.1": Change(weight=5, drain=Drain(since=1.5, limit_seconds=60.0, remove=True)),
        "10.0.0.7:3000": Change(address="10.0.0.7:3000"),
        "unix:/run/app.sock": Change(removed=True),
    }
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    kept = KeptChanges(tmp_path / "state")
    kept.open()
    assert kept.read() == {}
    kept.write(CHANGES)
    assert KeptChanges(tmp_path / "state").read() == CHANGES
    assert kept.path is not None
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.path.parent.stat().st_mode) == 0o700
    kept.write({})
    assert kept.read() == {}
    assert sorted(each.name for each in kept.path.parent.iterdir()) == [
        "gateway.lock", "runtime.json",
    ]  # fmt: skip
    kept.close()


def test_without_a_folder_nothing_is_kept() -> None:
    kept = KeptChanges(None)
    kept.open()
    kept.write(CHANGES)
    assert (kept.path, kept.read()) == (None, {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Input data was truncated"),
        ('{"version": 1, "pools": {"app": {', "truncated"),
        ("[]", "Expected `object`"),
        ('{"version": 2, "pools": {}}', "version 2, and this poruwa reads 1"),
        ('{"version": 1}', "missing required field `pools`"),
        ('{"version": 1, "pools": {"app": {"a": {"wait": 1}}}}', "unknown field `wait`"),
        ('{"version": 1, "pools": {"app": {"a": {"weight": 257}}}}', "<= 256"),
        ('{"version": 1, "pools": {"app": {"a": {"weight": true}}}}', "got `bool`"),
        ('{"version": 1, "pools": {"app": {"a b": {"weight": 2}}}}', "not an address"),
        ('{"version": 1, "pools": {"app": {"a": {"address": "nowhere"}}}}', "not an address"),
        ('{"version": 1, "pools": {"a/b": {}}}', "a name of letters"),
        ('{"version": 1, "pools": {}} x', "malformed"),
        ("\udcff", "malformed"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "runtime.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StackError, match=r"runtime\.json cannot be used") as caught:
        KeptChanges(tmp_path).read()
    assert says in caught.value.message
    assert "delete it to go by the policy alone" in caught.value.message


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    (folder / "runtime.json").write_bytes(data)
    with pytest.raises(StackError, match=r"runtime\.json"):
        KeptChanges(folder).read()


def test_a_folder_is_for_one_gateway(tmp_path: Path) -> None:
    first, second = KeptChanges(tmp_path), KeptChanges(tmp_path)
    first.open()
    with pytest.raises(StackError, match="Another gateway keeps its changes in"):
        second.open()
    first.close()
    second.close()
    third = KeptChanges(tmp_path)
    third.open()
    third.close()


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    kept = KeptChanges(tmp_path)
    kept.write(CHANGES)
    (tmp_path / "runtime.json.new").mkdir()  # also root cannot write to that
    with pytest.raises(StackError):
        kept.write({})
    assert kept.read() == CHANGES
    assert os.listdir(tmp_path / "runtime.json.new") == []
