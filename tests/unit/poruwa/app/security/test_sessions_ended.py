"""Ending all sessions of somebody, as often as they like within one second (checks 17, 18)."""

from __future__ import annotations

from poruwa.app.security.key_source import SessionKeys, passing_ring
from poruwa.app.security.sessions import Session, Sessions
from poruwa.config.model_security import Session as SessionSection
from poruwa.rules.cookie import CookieForm
from poruwa.rules.session import SessionRules

FORM = CookieForm(name=b"__Host-Http-id", max_age_seconds=3600)


async def test_all_end_also_those_that_began_right_after_the_last_time() -> None:
    rules = SessionRules.of(SessionSection(), "site")
    keys = SessionKeys(passing_ring())
    sessions = Sessions(rules, keys, FORM, clock=lambda: 1_800_000_000.0)
    for _ in range(3):
        _, line = await sessions.begin("c1")
        cookie = line.partition(b": ")[2].partition(b";")[0]
        assert isinstance(await sessions.of(cookie), Session)
        await sessions.end_all("c1")
        assert not isinstance(await sessions.of(cookie), Session)
