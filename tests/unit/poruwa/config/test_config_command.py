"""``poruwa config``: exit codes, text and JSON of its verbs (Show 7, A8, H2)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from poruwa.cli.config import app
from poruwa.errors import ConfigError

_WEDDINGLK = Path(__file__).parents[4] / "src" / "weddinglk"
_SITE = str(_WEDDINGLK / "site.toml")
_PRODUCTION = str(_WEDDINGLK / "site.production.toml")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def bad_file(tmp_path: Path) -> str:
    path = tmp_path / "bad.toml"
    path.write_text('[limit]\n[pools.app]\ncount = 3\n[[routes]]\npath = "/*"\npool = "ap"\n')
    return str(path)


def test_check_accepts_and_lists_what_is_not_built() -> None:
    result = run("check", _SITE)
    assert result.exit_code == 0, result.output
    assert "good: no problems, no warnings" in result.output
    assert "not built yet" in result.output
    assert "classes.*.lifetimes.cdn" in result.output


def test_check_accepts_production_without_its_secrets() -> None:
    """H2: the file can be verified on a machine that has none of them."""
    assert run("check", _PRODUCTION).exit_code == 0


def test_check_with_secrets_names_those_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REDIS_PASSWORD", raising=False)
    result = run("check", _PRODUCTION, "--with-secrets")
    assert result.exit_code == 1
    assert "the environment variable REDIS_PASSWORD is not set" in result.output


def test_check_refuses_with_every_line(bad_file: str) -> None:
    result = run("check", bad_file)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    places = [line.removeprefix(f"{bad_file}:").split(":")[0] for line in lines[:-1]]
    assert places == ["1", "3", "6"]
    assert "refused: 3 problems" in lines[-1]


def test_check_tells_programs_the_same(bad_file: str) -> None:
    result = run("check", bad_file, "--json")
    assert result.exit_code == 1
    tree = json.loads(result.output)
    assert tree["usable"] is False
    assert [problem["key"] for problem in tree["problems"]] == [
        "limit",
        "pools.app.count",
        "routes[1].pool",
    ]


def test_show_prints_bounds_and_everything_else() -> None:
    result = run("show", _SITE)
    assert result.exit_code == 0
    assert "# How long after a change the old may still be seen, at most:" in result.output
    assert 'keys = "env:PORUWA_AFFINITY_KEYS"' in result.output


def test_show_tells_programs_the_same() -> None:
    tree = json.loads(run("show", _SITE, "--json").output)
    assert tree["policy"]["pools"]["app"]["health"]["interval"] == "30s"
    assert {bound["class"] for bound in tree["staleness"]} >= {"venue", "static", "booking"}


def test_show_of_a_bad_file_is_an_error_of_the_command(bad_file: str) -> None:
    result = run("show", bad_file)
    assert isinstance(result.exception, ConfigError)
    assert "limit" in result.exception.message


@pytest.mark.parametrize("program", ["nginx", "haproxy"])
def test_render_writes_a_file(program: str, tmp_path: Path) -> None:
    output = tmp_path / "front.conf"
    result = run("render", program, _SITE, "--https", ":8443", "--output", str(output))
    assert result.exit_code == 0, result.output
    assert "8443" in output.read_text()


def test_render_says_when_the_instances_are_not_known() -> None:
    result = run("render", "haproxy", _SITE, "--in-front-of", "pools")
    assert isinstance(result.exception, ConfigError)
    assert "render in front of the gateway" in result.exception.message


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--https", "everywhere", "--https: 'everywhere' is not an address"),
        ("--certificate", "a b.pem", "holds white space"),
        ("--gateway", "gw1", "--gateway: 'gw1' is not an address"),
        ("--http", "unix:/run/x", "is a Unix socket"),
    ],
)
def test_render_refuses_what_would_break_the_file(option: str, value: str, says: str) -> None:
    result = run("render", "haproxy", _SITE, option, value)
    assert isinstance(result.exception, ConfigError)
    assert says in result.exception.message
