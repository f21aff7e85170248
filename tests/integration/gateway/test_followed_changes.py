"""A worker applies the change log: what changed dies, what may have changed is not served.

Issue 5; DESIGN section 6, rules 1, 3, 5 and 6. A real bus and one real worker, so that order is
sure; what siblings do is in ``test_followed_siblings``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.followed_site import HOST, FollowedSite, ask, followed_site, said
from fakes.origin import Call


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FollowedSite]:
    with followed_site(tmp_path_factory.mktemp("followed")) as running:
        running.await_sure()
        yield running


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[FollowedSite]:
    """Whose bus and worker may be frozen and killed."""
    with followed_site(tmp_path) as running:
        running.await_sure()
        yield running


def kept(site: FollowedSite, path: str, body: str = "1", **options: object) -> None:
    """Have ``path`` stored, with ``body``."""
    site.page(path, body, **options)  # type: ignore[arg-type]
    assert site.body(path) == body
    assert "; hit" in said(site.get(path))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("own-tag", {"tags": ["venue:7"]}),
        ("class-tag", {"tags": ["page:class-tag"]}),
        ("path", {"urls": (b"/pages/path",)}),
        ("url", {"urls": (f"http://{HOST}/pages/url?utm=1".encode(),)}),
        ("pattern", {"patterns": ("/pages/patt*",)}),
        ("all", {"everything": True}),
    ],
)
def test_what_changed_is_gone_when_the_change_is_acknowledged(
    site: FollowedSite, name: str, what: dict[str, object]
) -> None:
    path = f"/pages/{name}"
    kept(site, path, fields='Cache-Groups: "venue:7"\r\n')
    kept(site, "/free/other" if name != "all" else path)
    site.page(path, "2", fields='Cache-Groups: "venue:7"\r\n')
    tags = what.pop("tags", [])
    told = site.publish(*tags, **what)  # type: ignore[misc, arg-type]
    assert told.is_complete
    assert [answer.lapsed for answer in told.layers.values()] == [False]
    assert [layer.partition("/")[0] for layer in told.layers] == ["gateway"]
    assert site.body(path) == "2"
    assert "; hit" in said(site.get(path))
    if name != "all":
        assert "; hit" in said(site.get("/free/other"))


def test_a_soft_change_is_served_once_more(site: FollowedSite) -> None:
    kept(site, "/pages/soft")
    site.page("/pages/soft", "2")
    site.publish("page:soft", soft=True)
    assert site.body("/pages/soft") == "1"
    site.gateway.until(lambda: site.body("/pages/soft") == "2", "the refreshed page")


def test_everything_may_be_aged(site: FollowedSite) -> None:
    kept(site, "/pages/aged")
    site.page("/pages/aged", "2")
    site.publish(everything=True, soft=True)
    assert site.body("/pages/aged") == "1"
    site.gateway.until(lambda: site.body("/pages/aged") == "2", "the refreshed page")


def test_a_pattern_holds_before_all_entries_have_been_compared(site: FollowedSite) -> None:
    """It is looked for in slices of 500; nobody is served meanwhile what it names."""
    site.origin.on("/pages/many", lambda call: call.reply(b"1"))
    with site.gateway.connect() as client:
        for number in range(1500):
            site.get(f"/pages/many?v={number}", client=client)
        site.origin.on("/pages/many", lambda call: call.reply(b"2"))
        site.publish(patterns=("/pages/many*",))
        for number in (1499, 0, 750):
            assert site.get(f"/pages/many?v={number}", client=client).body == b"2"
            assert "; hit" in said(site.get(f"/pages/many?v={number}", client=client))


def test_an_answer_older_than_a_change_of_its_tags_is_not_kept(site: FollowedSite) -> None:
    """Rule 1: what it is made of decides, not when it was fetched."""
    before = site.publish("page:other").position
    site.publish("page:stale")
    site.page("/pages/stale", "old", as_of=before)
    assert site.body("/pages/stale") == "old"
    assert "hit" not in said(site.get("/pages/stale"))
    now = site.publish("page:other").position
    site.page("/pages/stale", "new", as_of=now)
    assert site.body("/pages/stale") == "new"
    assert "; hit" in said(site.get("/pages/stale"))
    refused = site.gateway.metric('poruwa_fills_refused_total{class="page",layer="gateway"')
    assert refused >= 2


def test_a_position_of_another_log_is_not_believed(site: FollowedSite) -> None:
    """H3 of the model: what no change could ever come after would live for ever."""
    calls = site.held("/pages/future")
    with site.gateway.connect() as client:
        ask(client, "/pages/future")
        site.origin.await_calls("/pages/future", 1)
        site.publish("page:future")
        calls[0].reply(b"old", fields=b"Poruwa-As-Of: %d\r\n" % (1 << 62))
        assert client.response().body == b"old"
    site.page("/pages/future", "new", as_of=1 << 62)
    assert site.body("/pages/future") == "new"
    assert "; hit" in said(site.get("/pages/future"))


def test_what_was_being_fetched_when_its_tag_changed_is_neither_kept_nor_joined(
    site: FollowedSite,
) -> None:
    calls = site.held("/pages/slow")
    with site.gateway.connect() as first, site.gateway.connect() as second:
        ask(first, "/pages/slow")
        site.origin.await_calls("/pages/slow", 1)
        site.publish("page:slow")
        ask(second, "/pages/slow")
        site.origin.await_calls("/pages/slow", 2)  # it did not join
        calls[0].reply(b"old")
        calls[1].reply(b"new")
        assert first.response().body == b"old"
        assert second.response().body == b"new"
    assert site.body("/pages/slow") == "new"
    assert "; hit" in said(site.get("/pages/slow"))


def test_a_change_of_something_else_does_not_end_a_fetch(site: FollowedSite) -> None:
    calls = site.held("/pages/steady")
    with site.gateway.connect() as first:
        ask(first, "/pages/steady")
        site.origin.await_calls("/pages/steady", 1)
        site.publish("page:other")
        calls[0].reply(b"1")
        assert first.response().body == b"1"
    assert "; hit" in said(site.get("/pages/steady"))


def test_who_joined_does_not_get_what_its_instance_says_is_older(site: FollowedSite) -> None:
    """The instance had not applied what this worker had when the fetch began."""
    before = site.publish("page:other").position
    site.publish("page:behind")
    calls = site.held("/pages/behind")
    with site.gateway.connect() as first, site.gateway.connect() as second:
        ask(first, "/pages/behind")
        site.origin.await_calls("/pages/behind", 1)
        ask(second, "/pages/behind")
        site.gateway.until(
            lambda: site.gateway.metric(
                'poruwa_cache_requests_total{class="page",outcome="joined"'
            ),
            "a joined request",
        )
        calls[0].reply(b"old", fields=b"Poruwa-As-Of: %d\r\n" % before)
        assert first.response().body == b"old"
        site.origin.await_calls("/pages/behind", 2)
        calls[1].reply(b"new")
        assert second.response().body == b"new"


def test_a_crowd_shares_fetches_while_instances_are_unsure(site: FollowedSite) -> None:
    """Else an instance that is late with its lease gets every request, and is later still."""
    calls = site.held("/pages/crowd")
    with contextlib.ExitStack() as stack:
        first, *others = [stack.enter_context(site.gateway.connect()) for _ in range(30)]
        ask(first, "/pages/crowd")
        site.origin.await_calls("/pages/crowd", 1)
        before = joined(site)
        for client in others:
            ask(client, "/pages/crowd")
        site.gateway.until(lambda: joined(site) == before + len(others), "all of them")
        calls[0].reply(b"1", fields=b"Poruwa-Unsure: 1\r\n")
        assert first.response().body == b"1"
        for number in (1, 2):  # the next one, and one for who came while it began
            site.origin.await_calls("/pages/crowd", number + 1)
            calls[number].reply(b"2", fields=b"Poruwa-Unsure: 1\r\n")
        assert {client.response().body for client in others} == {b"2"}
        assert len(calls) == 3


def joined(site: FollowedSite) -> float:
    return site.gateway.metric('poruwa_cache_requests_total{class="page",outcome="joined"')


def test_a_fetch_says_what_is_known_here(site: FollowedSite) -> None:
    """So the instance's caches catch up, and the answer can be kept."""
    position = site.publish("page:told").position
    site.page("/pages/told", "1")
    site.body("/pages/told")
    (call,) = site.origin.seen("/pages/told")
    assert call.request.get("poruwa-position") == b"%d" % position


def test_an_instance_that_is_unsure_is_not_kept(site: FollowedSite) -> None:
    site.page("/pages/doubt", "1", fields="Poruwa-Unsure: 1\r\n")
    answer = site.get("/pages/doubt")
    assert answer.body == b"1"
    assert answer.get("poruwa-unsure") is None
    assert "hit" not in said(site.get("/pages/doubt"))


# Unsure.


def test_without_the_bus_what_has_tags_is_asked_of_the_origin(own_site: FollowedSite) -> None:
    site = own_site
    site.page("/brief/x", "1")
    site.body("/brief/x")
    kept(site, "/pages/x")
    kept(site, "/pages/error")
    kept(site, "/lax/x")
    kept(site, "/free/x")
    site.bus.kill()
    site.await_unsure("/pages/x")
    site.page("/pages/x", "2")
    answer = site.get("/pages/x")
    assert answer.body == b"2"
    assert said(answer) == "poruwa; fwd=bypass; fwd-status=200; detail=unsure"
    site.page("/pages/x", "3")
    assert site.body("/pages/x") == "3"  # nothing was kept
    for path in ("/lax/x", "/free/x"):
        answer = site.get(path)
        assert answer.body == b"1"
        assert "; hit" in said(answer)
        assert "; detail=unsure" in said(answer)
    with site.gateway.connect() as client:
        ask(client, "/pages/x", method="HEAD")
        answer = client.response(b"HEAD")
        assert (answer.get("content-length"), answer.body) == (b"1", b"")
    site.page("/pages/x", "3", fields='ETag: "v3"\r\n')
    assert site.get("/pages/x", 'If-None-Match: "v3"\r\n').status == 304
    answer = site.get("/pages/x", "Range: bytes=0-0\r\n")
    assert (answer.status, answer.body) == (206, b"3")
    # Nothing stale, not even while the origin fails.
    site.origin.on("/pages/error", lambda call: call.reply(status=b"503 Unavailable"))
    assert site.get("/pages/error").status == 503
    site.origin.on("/pages/error", lambda call: call.close())
    assert site.get("/pages/error").status == 502
    assert site.gateway.metric("poruwa_unsure_seconds_total") > 0
    assert site.gateway.metric('poruwa_sure{layer="gateway"}') == 0
    # And with the bus all is as before: what did not change meanwhile is served again.
    calls = len(site.origin.seen("/free/x"))
    site.bus.start()
    site.await_sure()
    kept(site, "/pages/x", "3")
    assert site.gateway.metric('poruwa_sure{layer="gateway"}') == 1
    assert len(site.origin.seen("/free/x")) == calls


def test_nobody_joins_a_fetch_that_is_under_way_while_unsure(own_site: FollowedSite) -> None:
    """Nor waits for its end; who come meanwhile share the next one, which begins after them."""
    site = own_site
    site.bus.kill()
    site.await_unsure()
    calls = site.held("/pages/alone")
    with contextlib.ExitStack() as stack:
        first, *others = [stack.enter_context(site.gateway.connect()) for _ in range(20)]
        ask(first, "/pages/alone")
        site.origin.await_calls("/pages/alone", 1)
        for client in others:
            ask(client, "/pages/alone")
        others.pop().close()  # one of them leaves
        site.origin.await_calls("/pages/alone", 2)  # the first one is still under way
        answering = threading.Thread(target=lambda: answer_as_they_come(calls, b"new", 1))
        answering.start()
        assert {client.response().body for client in others} == {b"new"}
        assert len(calls) < len(others) / 2  # few, where all that wait share one
        calls[0].reply(b"old")
        assert first.response().body == b"old"
        site.page("/pages/alone", "newest")
        assert site.body("/pages/alone") == "newest"
        answering.join()


def test_a_failed_fetch_past_the_cache_fails_for_who_waited_for_it(
    own_site: FollowedSite,
) -> None:
    site = own_site
    site.bus.kill()
    site.await_unsure()
    calls = site.held("/pages/failing")
    with contextlib.ExitStack() as stack:
        first, *others = [stack.enter_context(site.gateway.connect()) for _ in range(4)]
        ask(first, "/pages/failing")
        site.origin.await_calls("/pages/failing", 1)
        site.origin.on("/pages/failing", lambda call: call.close())
        for client in others:
            ask(client, "/pages/failing")
        calls[0].connection.sock.shutdown(socket.SHUT_RDWR)
        assert [client.response().status for client in (first, *others)] == [502] * 4
    site.page("/pages/failing", "well")
    assert site.body("/pages/failing") == "well"


def answer_as_they_come(calls: list[Call], body: bytes, begin: int) -> None:
    """Answer all calls from ``begin`` on, until none has come for a while."""
    quiet_until = time.monotonic() + 1.0
    while time.monotonic() < quiet_until:
        if len(calls) > begin:
            calls[begin].reply(body)
            begin += 1
            quiet_until = time.monotonic() + 1.0
        time.sleep(0.005)


def test_a_frozen_worker_serves_nothing_old_when_it_goes_on(own_site: FollowedSite) -> None:
    """What came to its socket while it was frozen is answered after a look at its own clock."""
    site = own_site
    kept(site, "/pages/frozen")
    (pid,) = site.gateway.worker_pids()
    with site.gateway.connect() as client:
        assert site.get("/pages/frozen", client=client).body == b"1"
        os.kill(pid, signal.SIGSTOP)
        try:
            told = site.publish("page:frozen")
            site.page("/pages/frozen", "2")
            ask(client, "/pages/frozen")  # waits in the kernel
        finally:
            os.kill(pid, signal.SIGCONT)
        assert told.is_complete
        assert [answer.lapsed for answer in told.layers.values()] == [True]
        assert client.response().body == b"2"
    site.await_sure()
    assert site.body("/pages/frozen") == "2"


def test_a_fetch_that_outlives_a_pause_is_not_kept_if_its_tag_changed(
    own_site: FollowedSite,
) -> None:
    site = own_site
    (pid,) = site.gateway.worker_pids()
    calls = site.held("/pages/paused")
    with site.gateway.connect() as client:
        ask(client, "/pages/paused")
        site.origin.await_calls("/pages/paused", 1)
        os.kill(pid, signal.SIGSTOP)
        try:
            calls[0].reply(b"old")
            site.publish("page:paused")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert client.response().body == b"old"
    site.page("/pages/paused", "new")
    assert site.body("/pages/paused") == "new"
    site.await_sure()
    assert site.body("/pages/paused") == "new"


def test_a_frozen_bus_makes_unsure(own_site: FollowedSite) -> None:
    site = own_site
    kept(site, "/pages/x")
    site.bus.freeze()
    try:
        site.await_unsure("/pages/x")
    finally:
        site.bus.thaw()
    site.gateway.until(lambda: "; hit" in said(site.get("/pages/x")), "what was kept before", 15.0)


def test_a_new_bus_means_that_all_has_changed(own_site: FollowedSite) -> None:
    site = own_site
    kept(site, "/pages/x")
    site.page("/pages/x", "2")
    site.bus.kill()
    site.await_unsure("/pages/x")
    site.bus.restart(keep=False)
    site.await_sure()
    assert site.body("/pages/x") == "2"


def test_a_gateway_starts_without_the_bus(tmp_path: Path) -> None:
    with followed_site(tmp_path) as first:
        first.bus.kill()
        (pid,) = first.gateway.worker_pids()
        os.kill(pid, signal.SIGKILL)  # the next one finds no bus
        first.gateway.until(
            lambda: (
                first.gateway.worker_pids() not in ([pid], [])
                and first.gateway.ask_admin("/readyz")[0] == 200
            ),
            "a new worker",
            15.0,
        )
        first.page("/pages/x", "1")
        assert "detail=unsure" in said(first.get("/pages/x"))
        first.bus.start()
        first.await_sure()
