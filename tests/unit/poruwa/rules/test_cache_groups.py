"""Cache groups: RFC 9875, read as Structured Fields (RFC 9651)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poruwa.rules.cache_groups import MAX_GROUP_BYTES, MAX_GROUPS, parse_groups


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        pytest.param(None, (), id="absent"),
        pytest.param(b"", (), id="empty"),
        pytest.param(b'"scripts"', (b"scripts",), id="9875-2-one"),
        pytest.param(b'"eventcalendar", "ts:1"', (b"eventcalendar", b"ts:1"), id="9875-2-several"),
        pytest.param(b'"a","A", "a"', (b"a", b"A"), id="9875-2.1-case-sensitive-once-each"),
        pytest.param(b'"a";x=1;y="b", "c"', (b"a", b"c"), id="9875-2-parameters-ignored"),
        pytest.param(b'"a, b", "c\\"\\\\d"', (b"a, b", b'c"\\d'), id="9651-4.2.5-escapes"),
        pytest.param(b'""', (b"",), id="9651-4.2.5-empty-string"),
        pytest.param(b"a", (), id="9875-2-token"),
        pytest.param(b'"a", b', (), id="9651-4.2-one-token-spoils-it"),
        pytest.param(b'"a", 1', (), id="9651-4.2-integer"),
        pytest.param(b'("a" "b")', (), id="9651-4.2-inner-list"),
        pytest.param(b'%"a"', (), id="9651-4.2-display-string"),
        pytest.param(b':YQ==:, "a"', (), id="9651-4.2-bytes"),
        pytest.param(b'"a",', (), id="9651-4.2.1-trailing-comma"),
        pytest.param(b'"a', (), id="9651-4.2.5-unclosed"),
        pytest.param(b'"a" "b"', (), id="9651-4.2.1-no-comma"),
        pytest.param(b'"caf\xc3\xa9"', (), id="9651-4.2.5-not-ascii"),
        pytest.param(b'"a\\b"', (), id="9651-4.2.5-other-escape"),
    ],
)
def test_parse_groups(value: bytes | None, groups: tuple[bytes, ...]) -> None:
    assert parse_groups(value) == groups


def test_as_many_and_as_long_as_must_be_supported() -> None:
    """RFC 9875 section 2: 32 groups, 32 characters."""
    names = [b"%032d" % number for number in range(32)]
    assert parse_groups(b", ".join(b'"%b"' % name for name in names)) == tuple(names)


def test_what_exceeds_the_limits_is_left_out() -> None:
    names = [b"%d" % number for number in range(MAX_GROUPS + 1)]
    many = b", ".join(b'"%b"' % name for name in names)
    assert parse_groups(many) == tuple(names[:MAX_GROUPS])
    longest, too_long = b"a" * MAX_GROUP_BYTES, b"b" * (MAX_GROUP_BYTES + 1)
    assert parse_groups(b'"%b", "%b", "c"' % (too_long, longest)) == (longest, b"c")
    assert parse_groups(b'"a", ' * 200_000 + b'"a"') == ()


@settings(deadline=None)
@given(st.lists(st.text("ab\"\\, ;()%'~ ", max_size=9), max_size=40))
def test_there_and_back(names: list[str]) -> None:
    quoted = ['"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names]
    expected = list(dict.fromkeys(name.encode() for name in names))[:MAX_GROUPS]
    assert parse_groups(", ".join(quoted).encode()) == tuple(expected)


PIECES = (b'"', b"a", b"\\", b",", b" ", b";", b"=", b"(", b")", b"%", b":", b"@1", b"?1", b"\xff")


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES)).map(b"".join)))
def test_no_bytes_break_it(value: bytes) -> None:
    groups = parse_groups(value)
    assert len(groups) <= MAX_GROUPS
    assert all(b'"' in value for _ in groups)
