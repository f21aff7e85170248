"""``poruwa keys`` without a running stack: the ring of a state folder, and rings kept elsewhere."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poruwa.app.security.keys import KeyRing
from poruwa.cli.main import app
from poruwa.errors import ConfigError
from poruwa.stack.session_keys import KeptRing, shortened

OLD, NEW = "o" * 43, "n" * 43
TODAY = date(2026, 11, 26)
LIFE_SECONDS = 30 * 86_400.0
POLICY = """
[site]
name = "site"
[pools.app]
instances = ["127.0.0.1:9"]
[[routes]]
path = "/*"
pool = "app"
[session]
keys = "env:RING"
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "site.toml").write_text(POLICY)
    (tmp_path / "secrets").write_text(f"OTHER=x\nRING={OLD}\n")
    return tmp_path


def keys(state: Path, *arguments: str, ring: str | None = None) -> str:
    options = ["--policy", str(state / "site.toml")]
    options += ["--state", str(state)] if ring is None else ["--ring", "-"]
    result = CliRunner().invoke(app, ["keys", arguments[0], *options, *arguments[1:]], input=ring)
    if result.exception is not None:
        raise result.exception
    return result.output


def kept(state: Path) -> KeyRing:
    return KeptRing(state, "RING").read()


def test_rotating_makes_a_key_that_seals_and_keeps_the_other_secrets(state: Path) -> None:
    assert "seals from now on; 2 keys open" in keys(state, "rotate")
    found = kept(state)
    assert found.keys[0].secret == OLD.encode()
    assert found.sealing is found.keys[1]
    assert found.sealing.sealing_since is not None
    assert (state / "secrets").read_text().startswith("OTHER=x\n")
    assert (state / "secrets").stat().st_mode & 0o777 == 0o600
    assert OLD not in keys(state, "list")
    assert "out of use for 0 days" in keys(state, "list")


def test_rotating_goes_on_with_a_key_that_is_coming(state: Path) -> None:
    (state / "secrets").write_text(f"RING={OLD},next:{NEW}\n")
    assert "coming" in keys(state, "list")
    keys(state, "rotate")
    assert [each.secret for each in kept(state).keys] == [OLD.encode(), NEW.encode()]


def test_a_key_that_sessions_need_is_removed_by_force_alone(state: Path) -> None:
    keys(state, "rotate")
    name = kept(state).keys[0].name
    with pytest.raises(ConfigError, match="--force"):
        keys(state, "remove", "--", name)
    assert len(kept(state).keys) == 2
    assert "1 keys are left" in keys(state, "remove", "--force", "--", name)
    assert kept(state).named(name) is None


def test_a_ring_that_is_kept_elsewhere_is_printed_step_by_step(state: Path) -> None:
    first = keys(state, "rotate", ring=OLD).strip()
    assert first.startswith(f"{OLD},next:")
    second = keys(state, "rotate", ring=first).strip()
    assert second.startswith(f"{OLD},{first.rpartition(':')[2]}@")
    name = KeyRing.parse(OLD, "ring").sealing.name
    last = keys(state, "remove", "--force", "--", name, ring=second).strip()
    assert last == second.partition(",")[2]
    assert kept(state).text() == OLD


def test_a_ring_that_is_kept_elsewhere_is_not_changed_in_the_state_folder(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RING", NEW)
    with pytest.raises(ConfigError, match="not kept in the state folder"):
        keys(state, "rotate")


@pytest.mark.parametrize(
    ("since", "is_forced", "words"),
    [
        ("@2026-10-27", False, None),
        ("@2026-10-28", False, "since 29 days"),
        ("@2026-10-28", True, None),
        ("", False, "not known since when"),
        ("", True, None),
    ],
)
def test_a_key_may_go_once_no_session_can_need_it(
    since: str, is_forced: bool, words: str | None
) -> None:
    ring = KeyRing.parse(f"{OLD},{NEW}{since}", "ring")
    name = ring.keys[0].name

    def remove() -> KeyRing:
        return shortened(ring, name, TODAY, life_seconds=LIFE_SECONDS, is_forced=is_forced)

    if words is None:
        assert len(remove().keys) == 1
    else:
        with pytest.raises(ConfigError, match=words):
            remove()


def test_an_unknown_name_and_the_sealing_key_are_refused() -> None:
    ring = KeyRing.parse(f"{OLD},{NEW}", "ring")
    for name, words in (("zz", "no single key"), (ring.sealing.name, "rotate first")):
        with pytest.raises(ConfigError, match=words):
            shortened(ring, name, TODAY, life_seconds=0.0, is_forced=True)
