"""What is read: pages, lists, searches, the home page and the API, in three languages.

Found, not assumed: a page is read for the venues whose mark it shows once all have version 1.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from tests.coherence.client import Answer, Client, Gateway
from tests.coherence.marks import LANGUAGES, versions


class NotFound(Exception):
    """The site does not show what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One page: ``venues`` are those whose marks it shows."""

    path: str
    language: str
    kind: str
    fields: tuple[tuple[str, str], ...] = ()
    venues: frozenset[int] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A venue as the API shows it."""

    id: int
    name: str
    district: str


async def featured_venues(client: Client, gateway: Gateway) -> list[int]:
    """Return the ids of the venues on the home page."""
    answer = await client.ask(gateway, "/en")
    parts = answer.body.decode(errors="replace").split('href="/en/venues/')[1:]
    ids = [int(part.partition('"')[0]) for part in parts if part.partition('"')[0].isdigit()]
    if not ids:
        raise NotFound(f"the home page shows no venue (status {answer.status})")
    return list(dict.fromkeys(ids))


async def listings(client: Client, gateway: Gateway, wanted: int) -> list[Listing]:
    """Return the first venues of the API's list, at least ``wanted`` if there are so many."""
    answer = await client.ask(gateway, f"/api/v1/venues?per_page={wanted}")
    if answer.status != 200:
        raise NotFound(f"the API's list of venues answers {answer.status}: {answer.problem}")
    return [
        Listing(id=item["id"], name=item["name"], district=item["district"]["id"])
        for item in json.loads(answer.body)["items"]
    ]


async def listing(client: Client, gateway: Gateway, venue: int) -> Listing:
    answer = await client.ask(gateway, f"/api/v1/venues/{venue}")
    if answer.status != 200:
        raise NotFound(f"the API answers {answer.status} for venue {venue}")
    item = json.loads(answer.body)
    return Listing(id=venue, name=item["name"], district=item["district"]["id"])


async def find_targets(
    client: Client, gateway: Gateway, shown: Sequence[Listing], written: frozenset[int]
) -> list[Target]:
    """Return what shows venues of ``written``."""
    found: list[Target] = []
    for target in _candidates(shown):
        answer = await _settled(client, gateway, target)
        venues = frozenset(versions(answer.body, target.language)) & written
        if venues:
            found.append(
                Target(
                    path=target.path, language=target.language, kind=target.kind,
                    fields=target.fields, venues=venues,
                )
            )  # fmt: skip
    return found


def missing_kinds(found: Sequence[Target], shown: Sequence[Listing]) -> set[tuple[str, str]]:
    """Return kinds of pages, with their language, of which none shows what was written."""
    wanted = {(target.kind, target.language) for target in _candidates(shown)}
    return wanted - {(target.kind, target.language) for target in found}


async def _settled(client: Client, gateway: Gateway, target: Target) -> Answer:
    for _ in range(20):
        answer = await client.ask(gateway, target.path, fields=target.fields)
        if answer.status == 200:
            return answer
        await asyncio.sleep(0.1)
    raise NotFound(f"{target.path} answers {answer.status} {answer.problem}")


def _candidates(shown: Sequence[Listing]) -> list[Target]:
    first = shown[0]
    candidates: list[Target] = []

    def add(kind: str, path: str, language: str, *, is_api: bool = False) -> None:
        if is_api:
            path += ("&" if "?" in path else "?") + f"lang={language}"
        elif language != "en":
            path = f"/{language}{path}".rstrip("/") or "/"
        fields = (("Accept-Language", "en"),) if language == "en" and not is_api else ()
        candidates.append(Target(path=path, language=language, kind=kind, fields=fields))

    for each in shown:
        for language in LANGUAGES:
            add("venue", f"/venues/{each.id}", language)
            add("venue API", f"/api/v1/venues/{each.id}", language, is_api=True)
    for language in LANGUAGES:
        add("home", "/", language)
        add("list", "/venues", language)
        add("list API", "/api/v1/venues?per_page=50", language, is_api=True)
        name = quote(first.name)
        add("search", f"/search?q={name}", language)
        add("search API", f"/api/v1/search?q={name}", language, is_api=True)
    for each in shown:
        add("list", f"/venues?district={each.district}", "en")
        add("list", f"/venues?q={quote(each.name)}", "en")
    unique = {(each.path, each.fields): each for each in candidates}
    return list(unique.values())
