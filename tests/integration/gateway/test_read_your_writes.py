"""Whoever has written sees it: the signed cookie, and what it makes gateway and instance do.

Issue 5; DESIGN section 6, rule 7. And the fields that say positions: never from a client, never to
one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.followed_site import FollowedSite, ask, followed_site, said
from fakes.wire import Response

AHEAD = 1_000  # changes that have not come here
SET_COOKIE = re.compile(
    rb"follow-seen=(\d+\.[A-Za-z0-9_=-]{24}); Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FollowedSite]:
    with followed_site(tmp_path_factory.mktemp("seen")) as running:
        running.await_sure()
        yield running


def written(site: FollowedSite, position: int, fields: str = "", method: str = "POST") -> Response:
    """Return the answer to a write that is at ``position``."""
    lines = f"Poruwa-Position: {position}\r\n{fields}".encode()
    site.origin.on("/write", lambda call: call.reply(b"done", fields=lines))
    with site.gateway.connect() as client:
        ask(client, "/write", method=method)
        return client.response(method.encode())


def seen(answer: Response) -> bytes:
    """Return the Set-Cookie that says a position; empty without. The other one is affinity's."""
    lines = [line for line in answer.all("set-cookie") if b"follow-seen=" in line]
    assert len(lines) <= 1
    return lines[0] if lines else b""


def cookie(site: FollowedSite, position: int) -> str:
    """Return a Cookie line of who has written at ``position``."""
    match = SET_COOKIE.fullmatch(seen(written(site, position)))
    assert match is not None
    return f"Cookie: other=1; follow-seen={match[1].decode()}; last=2\r\n"


def told(site: FollowedSite, path: str) -> list[bytes | None]:
    """Return which positions the origin was told, in the calls of ``path``."""
    return [call.request.get("poruwa-position") for call in site.origin.seen(path)]


def now(site: FollowedSite) -> int:
    return site.publish("page:nobody").position


def test_a_write_gives_its_client_the_position(site: FollowedSite) -> None:
    position = now(site)
    answer = written(site, position)
    assert seen(answer).startswith(b"follow-seen=%d." % position)
    assert answer.get("poruwa-position") is None


def test_browsers_that_keep_it_get_the_prefixed_name(site: FollowedSite) -> None:
    """Over TLS, or from localhost."""
    site.origin.on("/write", lambda call: call.reply(fields=b"Poruwa-Position: 7\r\n"))
    with site.gateway.connect() as client:
        client.send(b"POST /write HTTP/1.1\r\nHost: localhost:8000\r\nContent-Length: 0\r\n\r\n")
        line = seen(client.response())
    assert line.startswith(b"__Host-follow-seen=7.")
    assert b"; Secure" in line


@pytest.mark.parametrize("said_position", ["-1", "1.5", "1, 2", "x", "9" * 40, ""])
def test_what_is_no_position_gives_no_cookie(site: FollowedSite, said_position: str) -> None:
    site.origin.on(
        "/odd", lambda call: call.reply(fields=f"Poruwa-Position: {said_position}\r\n".encode())
    )
    with site.gateway.connect() as client:
        ask(client, "/odd", method="POST")
        assert not seen(client.response())


def test_no_cookie_on_what_shared_caches_may_store(site: FollowedSite) -> None:
    shared = "Cache-Control: public, max-age=60\r\n"
    assert not seen(written(site, now(site), shared))
    assert not seen(written(site, now(site), method="GET"))


def test_who_has_seen_what_came_here_is_served_from_here(site: FollowedSite) -> None:
    site.page("/pages/here", "1")
    site.body("/pages/here")
    fields = cookie(site, now(site))
    assert "; hit" in said(site.get("/pages/here", fields))


def test_who_is_ahead_goes_past_the_cache_and_the_instance_is_told(site: FollowedSite) -> None:
    position = now(site) + AHEAD
    site.page("/pages/ahead", "1")
    site.body("/pages/ahead")
    site.page("/pages/ahead", "2")
    answer = site.get("/pages/ahead", cookie(site, position))
    assert answer.body == b"2"
    assert said(answer) == "poruwa; fwd=bypass; fwd-status=200; detail=behind"
    assert told(site, "/pages/ahead")[-1] == b"%d" % position
    assert site.body("/pages/ahead") == "1"  # others are served as before


def test_who_is_a_little_ahead_waits_for_it(tmp_path: Path) -> None:
    """Position and change come by two ways; the change is here within the wait."""
    patient = '[stores.coherence]\nread_your_writes_wait = "5s"\n'
    with followed_site(tmp_path, more_policy=patient) as site:
        site.await_sure()
        site.page("/pages/wait", "1")
        site.body("/pages/wait")
        position = now(site) + 1
        with site.gateway.connect() as client:
            ask(client, "/pages/wait", cookie(site, position))
            assert now(site) == position
            assert "; hit" in said(client.response())
        assert len(site.origin.seen("/pages/wait")) == 1


def test_what_passes_tells_the_position_too(site: FollowedSite) -> None:
    """Private pages are made from cached data as well."""
    position = now(site)
    site.get("/private", cookie(site, position))
    assert told(site, "/private") == [b"%d" % position]


def test_a_fetch_is_joined_only_by_whose_position_it_holds(site: FollowedSite) -> None:
    position = now(site)
    calls = site.held("/pages/join")
    with (
        site.gateway.connect() as stranger,
        site.gateway.connect() as writer,
        site.gateway.connect() as another,
    ):
        fields = cookie(site, position)
        ask(stranger, "/pages/join")
        site.origin.await_calls("/pages/join", 1)
        ask(writer, "/pages/join", fields)  # the fetch said this position: it may join
        site.gateway.until(
            lambda: site.gateway.metric(
                'poruwa_cache_requests_total{class="page",outcome="joined"'
            ),
            "a joined request",
        )
        ahead = cookie(site, position + AHEAD)
        ask(another, "/pages/join", ahead)
        site.origin.await_calls("/pages/join", 2)
        calls[0].reply(b"1")
        calls[1].reply(b"2")
        assert [stranger.response().body, writer.response().body] == [b"1", b"1"]
        assert another.response().body == b"2"


def test_a_validation_begun_before_a_write_is_not_for_the_writer(site: FollowedSite) -> None:
    """Its tags are known, and no change is of them: others may join it."""
    site.page("/brief/own", "1", fields='ETag: "1"\r\n')
    site.body("/brief/own")
    site.gateway.until(lambda: "fwd=stale" in said(site.get("/brief/own")), "its age")
    count = len(site.origin.seen("/brief/own"))
    calls = site.held("/brief/own")
    site.gateway.until(lambda: begun(site, count), "a validation")
    with site.gateway.connect() as stranger, site.gateway.connect() as writer:
        fields = cookie(site, now(site))
        joined = 'poruwa_cache_requests_total{class="brief",outcome="joined"'
        before = site.gateway.metric(joined)
        ask(stranger, "/brief/own")
        site.gateway.until(lambda: site.gateway.metric(joined) > before, "a joined request")
        ask(writer, "/brief/own", fields)
        site.origin.await_calls("/brief/own", count + 2)
        calls[0].send(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n')
        calls[1].reply(b"2")
        assert stranger.response().body == b"1"
        assert writer.response().body == b"2"


def begun(site: FollowedSite, count: int) -> bool:
    """Have somebody ask who leaves at once; return whether the origin was asked for it."""
    with site.gateway.connect() as client:
        ask(client, "/brief/own")
    return len(site.origin.seen("/brief/own")) > count


@pytest.mark.parametrize(
    "forge",
    [
        lambda value: value[:-1] + ("A" if value[-1] != "A" else "B"),
        lambda value: "9" + value,
        lambda value: value.partition(".")[0],
        lambda value: value.partition(".")[0] + ".",
        lambda value: "." + value.partition(".")[2],
        lambda value: f"{value}; follow-seen={value}",
    ],
    ids=["mac", "position", "no-mac", "empty-mac", "no-position", "twice"],
)
def test_a_forged_cookie_is_none(site: FollowedSite, forge) -> None:  # type: ignore[no-untyped-def]
    position = now(site) + AHEAD
    genuine = cookie(site, position)
    match = re.search(r"follow-seen=([^;\r]+)", genuine)
    assert match is not None
    site.page("/pages/forged", "1")
    site.body("/pages/forged")
    answer = site.get("/pages/forged", f"Cookie: follow-seen={forge(match[1])}\r\n")
    assert "; hit" in said(answer)


def test_a_cookie_of_an_earlier_epoch_is_none(site: FollowedSite) -> None:
    site.get("/earlier", cookie(site, 5))
    assert told(site, "/earlier") == [None]


# The fields.

SMUGGLED = [
    "Poruwa-Position: 99999999999999",
    "poruwa-position: 99999999999999",
    "PORUWA-POSITION: 99999999999999",
    "pOrUwA-pOsItIoN:99999999999999",
    "Poruwa_Position: 99999999999999",
    "PORUWA_position: 99999999999999",
    "Poruwa-As-Of: 99999999999999",
    "poruwa_as_of: 99999999999999",
    "Poruwa-Unsure: 1",
    "poruwa_unsure: 1",
    "Poruwa-Position: 1\r\nPoruwa-Position: 99999999999999",
    "Connection: poruwa-position\r\nPoruwa-Position: 99999999999999",
]


@pytest.mark.parametrize("number", range(len(SMUGGLED)))
@pytest.mark.parametrize(
    ("method", "path", "is_fetched"),
    [
        ("GET", "/private/smuggled", False),
        ("POST", "/private/posted", False),
        ("GET", "/pages/smuggled", True),
        ("POST", "/pages/posted", False),
    ],
)
def test_no_client_says_a_position(
    site: FollowedSite, number: int, method: str, path: str, is_fetched: bool
) -> None:
    path = f"{path}-{number}"
    own = now(site)
    with site.gateway.connect() as client:
        ask(client, path, f"{SMUGGLED[number]}\r\n", method=method)
        assert client.response().status == 200
    (call,) = site.origin.seen(path)
    received = [each for each in call.request.fields if each[0].lower().startswith(b"poruwa")]
    assert received == ([(b"poruwa-position", b"%d" % own)] if is_fetched else [])


@pytest.mark.parametrize("path", ["/private/back", "/pages/back", "/free/back"])
def test_no_client_hears_a_position(site: FollowedSite, path: str) -> None:
    fields = b"poruwa-as-of: 5\r\nPORUWA-POSITION: 6\r\nPoruwa_Unsure: 1\r\nPoruwa_As_Of: 7\r\n"
    site.origin.on(path, lambda call: call.reply(b"1", fields=fields * 2))
    for _ in range(2):
        answer = site.get(path)
        assert answer.body == b"1"
        assert not [name for name, _ in answer.fields if name.lower().startswith(b"poruwa")]
