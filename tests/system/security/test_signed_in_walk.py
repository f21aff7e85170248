"""Show 2: who is signed in gets the cached pages of everybody, and nobody else's bytes (D8)."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from contextlib import ExitStack

import httpx
import pytest

from fakes.every_response import PAGES
from fakes.tls_stack import SESSION, TlsStack

VISITORS = 10
CONNECTIONS = 64  # above 56 of them a worker of two accepts no more (gateway.acceptor)
USERS = 50
PRIVATE = ("/doors/me", "/doors/account", "/_poruwa/session", "/doors/devices")


def is_hit(response: httpx.Response) -> bool:
    return "; hit" in response.headers.get("cache-status", "")


def fill_every_worker(stack: TlsStack) -> None:
    """Ask for all pages by so many connections at once that each worker has some of them.

    A worker's first answer to a page is no hit even where a sibling has it, and which worker
    accepts a visitor is chance: it would decide more than two points.
    """
    stack.run("purge", "--pattern", "/*")
    with ExitStack() as held:
        clients = [held.enter_context(stack.client()) for _ in range(CONNECTIONS)]
        for path in PAGES:
            for client in clients:
                assert client.get(path).status_code == 200, path


def hit_rate(stack: TlsStack, tokens: list[str | None]) -> float:
    """Return the share of hits when visitors, one after the other, walk the 20 pages."""
    hits: list[bool] = []
    for token in tokens:
        fields = {} if token is None else {"Cookie": f"{SESSION}={token}"}
        with stack.client() as client:
            for path in PAGES:
                answer = client.get(path, headers=fields)
                assert answer.status_code == 200, path
                hits.append(is_hit(answer))
    return sum(hits) / len(hits)


@pytest.mark.check(47)
def test_a_signed_in_walk_has_the_hit_rate_of_a_signed_out_one(stack: TlsStack) -> None:
    """Within two points; also for sessions that are due for renewal."""
    assert len(PAGES) == 20
    fill_every_worker(stack)
    signed_out = hit_rate(stack, [None] * VISITORS)
    signed_in = hit_rate(stack, [stack.sign_in(f"visitor{n}") for n in range(VISITORS)])
    due = hit_rate(stack, [stack.token(f"due{n}", days_ago=25) for n in range(VISITORS)])
    assert signed_out > 0.98
    assert abs(signed_in - signed_out) <= 0.02
    assert abs(due - signed_out) <= 0.02


@pytest.mark.check(47)
async def test_fifty_at_once_get_no_byte_of_one_another(stack: TlsStack) -> None:
    """Every response is compared: shared pages with what nobody gets, private ones for marks."""
    stack.run("purge", "--pattern", "/*")
    users = [f"walker-{secrets.token_hex(8)}" for _ in range(USERS)]
    tokens = {user: stack.token(user, days_ago=25 * (n % 2)) for n, user in enumerate(users)}
    answers: list[tuple[str, str, httpx.Response]] = []

    async def walk(user: str, order: int) -> None:
        async with stack.async_client() as client:
            fields = {"Cookie": f"{SESSION}={tokens[user]}"}
            paths = [*PAGES, *PRIVATE]
            for path in paths[order % 24 :] + paths[: order % 24]:
                client.cookies.clear()
                answers.append((user, path, await client.get(path, headers=fields)))

    async with asyncio.TaskGroup() as group:
        for order, user in enumerate(users):
            group.create_task(walk(user, order))
    assert len(answers) == USERS * (len(PAGES) + len(PRIVATE))
    anonymous = {path: stack.get(path).content for path in PAGES}
    marks = {user: (user, tokens[user], stack.claims(tokens[user]).session_id.hex())
             for user in users}  # fmt: skip
    told = Counter[str]()
    for user, path, answer in answers:
        assert answer.status_code == 200, (path, answer.text)
        whole = answer.text + "\n".join(
            f"{name}: {value}" for name, value in answer.headers.items()
        )
        for other, theirs in marks.items():
            assert other == user or not any(mark in whole for mark in theirs), (path, whole)
        if path in PRIVATE:
            assert not is_hit(answer)
            told[user] += user in whole
        else:
            assert answer.content == anonymous[path], path
            assert not answer.headers.get_list("set-cookie"), path
    assert set(told.values()) == {3}, "each is told who they are by three private pages"
