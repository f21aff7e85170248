"""Reading policies: defaults, secrets, names, several mistakes at once, no file at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poruwa.config.load import default_policy, load_policy, parse_policy, read_policy
from poruwa.config.model import BalancingMethod, HealthKind, Policy, Pool, Secret
from poruwa.errors import ConfigError

_SMALL = """
[pools.app]
instances = ["127.0.0.1:3000", { address = "127.0.0.1:3001", weight = 3, name = "big" }]
[[routes]]
path = "/*"
pool = "app"
"""
_KEY = "k" * 32


def test_what_is_left_out_has_the_given_defaults() -> None:
    """A2, A3: least-connections; interval 30 s, time-out 5 s, three failures."""
    policy = parse_policy(_SMALL, "site.toml")
    pool = policy.pool_named("app")
    assert pool.method is BalancingMethod.LEAST_CONNECTIONS
    assert (pool.health.interval_seconds, pool.health.timeout_seconds, pool.health.fall) == (
        30,
        5,
        3,
    )
    assert [instance.name for instance in pool.instances] == ["127.0.0.1:3000", "big"]
    assert policy.routes[0].name == "/*"
    assert policy.limits.body_bytes == 10 * 1024 * 1024


def test_all_mistakes_are_reported_together_in_the_order_of_the_file() -> None:
    """Show 7: one run shows every line to mend."""
    text = '[limits]\nbodi = "1MiB"\n[timeouts]\nidle = 5\n[gateway]\nworkers = 1.5\n' + _SMALL
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, "site.toml")
    lines = caught.value.message.splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "site.toml:2:",
        "site.toml:4:",
        "site.toml:6:",
    ]


def test_a_contradiction_is_not_reported_where_the_values_could_not_be_read() -> None:
    """A default stands in for what cannot be read; what it contradicts is nobody's mistake."""
    text = '[timeouts]\nconnect = "5s"\nfirst_byte = "2"\n' + _SMALL
    problems = read_policy(text, "site.toml").problems
    assert [problem.line for problem in problems] == [3]


def test_secrets_come_from_the_environment_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    text = f'[admin]\ntoken = "file:token"\n{_SMALL}[pools.app.affinity]\nkeys = "env:KEYS"\n'
    file = tmp_path / "site.toml"
    file.write_text(text)
    policy = load_policy(file, environ={"KEYS": _KEY})
    assert policy.admin.token is not None
    assert policy.admin.token.reveal() == "s3cret"
    assert policy.pools[0].affinity is not None
    assert policy.pools[0].affinity.keys == Secret("env:KEYS", _KEY)


def test_a_secret_never_shows() -> None:
    secret = Secret("env:KEYS", "s3cret")
    assert "s3cret" not in f"{secret} {secret!r} {[secret]}"


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "the environment variable KEYS is not set; set it, or name a file"),
        ({"KEYS": " "}, "the secret env:KEYS is empty"),
        ({"KEYS": "short"}, "shorter than 32 characters"),
        ({"KEYS": f"{_KEY},{_KEY}"}, "in the ring twice"),
    ],
)
def test_a_secret_that_cannot_be_used_is_refused(environ: dict[str, str], says: str) -> None:
    text = _SMALL + '[pools.app.affinity]\nkeys = "env:KEYS"\n'
    with pytest.raises(ConfigError, match=says):
        parse_policy(text, "site.toml", environ=environ)


def test_a_literal_secret_is_not_repeated_in_the_message() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_policy('[admin]\ntoken = "hunter2"\n' + _SMALL, "site.toml")
    assert "hunter2" not in caught.value.message


def test_file_names_start_at_the_folder_of_the_policy(tmp_path: Path) -> None:
    text = _SMALL + '[[routes]]\npath = "/files/*"\nstatic = { folder = "files" }\n'
    (tmp_path / "site.toml").write_text(text)
    policy = load_policy(tmp_path / "site.toml", environ={})
    assert policy.routes[1].static is not None
    assert policy.routes[1].static.folder == str(tmp_path / "files")


def test_false_takes_away_what_there_is_by_default() -> None:
    policy = parse_policy("[headers]\nframe_options = false\nhsts = false\n" + _SMALL, "site.toml")
    assert policy.headers.frame_options is None
    assert policy.headers.hsts is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b'[site]\nname = "\xff"\n', "site.toml:2: is not UTF-8"),
        (b"x" * (5 << 20), "over 4 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "site.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        load_policy(path, environ={})


def test_a_gateway_without_a_file_sends_everything_to_one_pool() -> None:
    policy = default_policy(
        listen="[::1]:0", upstreams=("127.0.0.1:1", "unix:/run/a.sock"), workers=2
    )
    assert policy.listeners[0].address == "[::1]:0"
    assert policy.gateway.workers == 2
    assert policy.admin.address is None
    assert [route.path for route in policy.routes] == ["/*"]
    pool: Pool = policy.pools[0]
    assert pool.health.kind is HealthKind.TCP
    assert [instance.address for instance in pool.instances] == ["127.0.0.1:1", "unix:/run/a.sock"]


@pytest.mark.parametrize(
    ("listen", "upstreams", "says"),
    [
        ("here", ("127.0.0.1:1",), "'here' is not an address"),
        (":1", (), "neither instances nor count"),
        (":1", ('a"b:1',), "is not an address"),
        (":1", ("a:1", "A:1"), "is already instance 1"),
    ],
)
def test_a_wrong_command_line_is_one_clear_error(
    listen: str, upstreams: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        default_policy(listen=listen, upstreams=upstreams)


def test_an_empty_text_is_refused_for_want_of_a_route_only() -> None:
    reading = read_policy("", "site.toml")
    assert [problem.render("site.toml").split(";")[0] for problem in reading.problems] == [
        "site.toml:1: routes: there is no route, so nothing is answered"
    ]
    assert Policy().pools == ()


_LINES = (Path(__file__).parents[4] / "src" / "weddinglk" / "site.toml").read_text().splitlines()
_PAIRS = [number for number, line in enumerate(_LINES) if " = " in line]
_VALUES = st.one_of(
    st.sampled_from(['""', "0", "-1", "true", "false", "[]", "{}", "[[]]", "[{}]", "nan", "inf"]),
    st.sampled_from(['"0s"', '"1y"', '"-1s"', '"{"', '"/{a}/{a}"', '"*."', '"[::1"', '"env:"']),
    st.sampled_from(["1979-05-27", "[1, 'a', {}]", "{ a = 1 }", "9223372036854775807", "1e400"]),
    st.text(st.characters(codec="ascii", exclude_categories=("Cc",))).map(
        lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    ),
)


@given(st.sampled_from(_PAIRS), _VALUES)
def test_no_value_whatever_breaks_the_reader(number: int, value: str) -> None:
    """Every value of site.toml replaced by anything: read or refused with a place, no crash."""
    lines = _LINES.copy()
    lines[number] = f"{lines[number].partition(' = ')[0]} = {value}"
    reading = read_policy("\n".join(lines), "site.toml")
    assert (reading.policy is None) == bool(reading.problems)
    for problem in reading.problems:
        assert 1 <= problem.line <= len(lines)


@given(st.text())
def test_no_text_whatever_breaks_the_reader(text: str) -> None:
    reading = read_policy(text, "site.toml")
    assert reading.policy is None
    assert reading.problems
