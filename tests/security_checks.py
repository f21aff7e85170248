"""Which security checks a run of the tests has shown, by number: the last line of ``make test``.

``@pytest.mark.check(5)`` says that a test shows check 5 (SECURITY-CHECKS). A check counts where
every test that names it ran and passed, on whatever level it stands. The root's ``conftest.py``
loads this as a plug-in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import pytest

PROPERTY: Final = "security-check"
CHECKS: Final[Mapping[int, str]] = {
    1: "every cookie is Secure and has a prefix",
    2: "the session's cookie is HttpOnly, SameSite, Path=/, without Domain",
    3: "no cookie is longer than 4,096 bytes, none is cut",
    4: "no session id or token in a URL, body or log",
    5: "bytes before __Host- do not make another cookie of it",
    6: "two session cookies: neither is taken",
    7: "nameless cookies, quotes and $Version change no parsing",
    8: "a malformed cookie leaves its neighbours alone",
    9: "too many cookies: 431 and a page that clears them",
    10: "the affinity cookie says nothing and rides on nothing shared",
    11: "a new session id at sign-in and change of privilege",
    12: "a forged session is never adopted",
    13: "after a sign-out no instance takes the cookie",
    14: "a slow renewal brings no session back",
    15: "the idle limit holds without the browser's help",
    16: "the absolute limit survives renewals",
    17: "a new password ends all other sessions",
    18: "people end their own sessions, an administrator any",
    19: "sensitive acts want a fresh sign-in",
    20: "a hundred renewals at once are one session",
    21: "a renewed token lives no longer than it said, nor after its end",
    22: "at most one renewal per period",
    23: "a sign-out clears caches, storage and the session's cookie",
    24: "other algorithms in the token's place",
    25: "headers that ask for keys, compression and the like",
    26: "expiry, audience and type of tokens",
    27: "rotating keys signs nobody out, removing one does",
    28: "a key seals fewer than 2**32 tokens",
    29: "whatever bit is wrong, the answer is the same",
    30: "posts from other sites and sibling hosts",
    31: "foreign or missing origins",
    32: "sign-in and sign-out are protected, too",
    33: "a planted token is no token",
    34: "JSON routes take JSON; methods are what they are",
    35: "WebSockets from other origins",
    36: "a form of three hours ago",
    37: "OAuth: state",
    38: "OAuth: PKCE and nonce",
    39: "OAuth: issuer",
    40: "OAuth: whose account",
    41: "where a sign-in may lead back to",
    42: "OAuth: two tabs",
    43: "HSTS on every response",
    44: "the other fields on every response",
    45: "the audit's score",
    46: "no cookie on what shared caches keep",
    47: "personal pages are one person's",
    48: "cache deception",
    49: "cache poisoning by fields",
    50: "cache poisoning by spelling",
    51: "no error is stored",
    52: "cached pages run no script but their own",
    53: "forwarding fields from nobody in particular fill no new bucket",
    54: "an IPv6 household is one; guessing is slow, the owner not locked out",
    55: "what a 429 says",
    56: "one limit over all instances",
    57: "consent",
}
LATER: Final = frozenset((37, 38, 39, 40, 41, 42, 57))
"""Sign-in with others, and consent: not built yet."""

IN_SCOPE: Final = frozenset(CHECKS) - LATER


def shown(outcomes: Iterable[tuple[int, str]]) -> frozenset[int]:
    """Return the checks of which each test passed.

    Args:
        outcomes: number and pytest's word for what came of a test, in any order.
    """
    passed, others = set(), set()
    for number, outcome in outcomes:
        (passed if outcome == "passed" else others).add(number)
    return frozenset(passed - others)


def summary(outcomes: Iterable[tuple[int, str]]) -> list[str]:
    """Return the lines at the end of a run; none where it had no such test."""
    known = list(outcomes)
    if not known:
        return []
    found = shown(known)
    lines = [f"security checks: {len(found & IN_SCOPE)} of {len(IN_SCOPE)}"]
    missing = sorted(IN_SCOPE - found)
    if missing:
        lines.append(f"  not shown: {', '.join(map(str, missing))}")
    besides = sorted(found - IN_SCOPE)
    if besides:
        lines.append(f"  besides: {', '.join(map(str, besides))}")
    return lines


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "check(*numbers): shows these security checks.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("check"):
            for number in mark.args:
                if number not in CHECKS:
                    raise pytest.UsageError(f"{item.nodeid}: there is no security check {number}")
                item.user_properties.append((PROPERTY, number))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    outcomes = [
        (number, outcome)
        for outcome in ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
        for report in terminalreporter.stats.get(outcome, ())
        for name, number in getattr(report, "user_properties", ())
        if name == PROPERTY and isinstance(number, int)
    ]
    for line in summary(outcomes):
        terminalreporter.write_line(line, bold=True)
