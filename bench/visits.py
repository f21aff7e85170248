"""Visitors of the site: what they look at and change, how often, and with what pauses.

A page is read for a while before the next is asked for, so a number of visitors is not a number of
requests at a time. Pages and the API are asked for by load generators of their own at once, so that
each has latencies of its own. Who is signed in sends a session cookie with everything. Of all that
is asked, a share are changes of venues, each of which must show everywhere.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.browser_headers import CHROMIUM
from bench.edits import EditSample, edit
from bench.errors import BenchError
from bench.processes import fetch
from bench.site_stack import items_of
from bench.wrk import Load, Sample, run_wrk
from bench.zipf import SEED, zipf_walk

THINK_MILLISECONDS = 1000
API_SHARE = 0.2  # of the visitors, signed out as well
SIGNED_IN_SHARE = 0.2
WRITE_SHARE = 0.02  # of the requests
LEAST_OF_DUE = 0.75  # requests of the visitors; the first come late, and answers take their time
_LANGUAGES = ("", "/si", "/ta")
_DISTRICTS = ("Colombo", "Kandy", "Galle", "Matara", "Gampaha", "Kurunegala", "Jaffna", "Badulla")
_WORDS = ("beach", "garden", "ballroom", "flowers", "photographer", "cake", "poruwa", "hill")
_VENUES = 120
_VENDORS = 60
_PER_PAGE = 60
_FILLERS = 16
_WALK_REQUESTS = 20_000
_SIGNED_IN: Mapping[str, str] = {
    **CHROMIUM,
    "Cookie": "weddinglk.session-token=" + "4pXo7cQ2" * 32,
}
_API_HEADERS: Mapping[str, str] = {"Accept": "application/json", "Accept-Encoding": "gzip"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Files of the two walks, how many different URLs each has, and the venues in them."""

    pages: Path
    api: Path
    page_count: int
    api_count: int
    venues: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """What a number of visitors met with. A sample's requests are answered ones."""

    visitors: int
    pages: Sample
    signed_in: Sample
    api: Sample
    edits: EditSample

    @property
    def reads(self) -> tuple[Sample, Sample, Sample]:
        return self.pages, self.signed_in, self.api

    @property
    def requests(self) -> int:
        return sum(each.requests for each in self.reads) + self.edits.changes

    @property
    def requests_per_second(self) -> float:
        return sum(each.requests_per_second for each in self.reads)

    @property
    def errors(self) -> int:
        return sum(each.error_count for each in self.reads) + self.edits.error_count

    @property
    def p95_ms(self) -> float:
        """Of the slowest kind of reading."""
        return max(each.p95_ms for each in self.reads)

    @property
    def kept_up(self) -> bool:
        """Whether they asked about as often as visitors do whom nothing delays.

        Where they did not, the load generators had no time to note the latencies that would be.
        """
        due = self.visitors * (self.pages.seconds * 1000 / THINK_MILLISECONDS - 1)
        return (
            self.requests >= due * LEAST_OF_DUE
            and self.edits.changes >= self.edits.due * LEAST_OF_DUE
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "visitors": self.visitors,
            "pages": self.pages.as_dict(),
            "signed_in": self.signed_in.as_dict(),
            "edits": self.edits.as_dict(),
            "api": self.api.as_dict(),
        }


def write_walk(port: int, work: Path) -> Walk:
    """Ask the site on ``port`` what it has, and write what visitors look at.

    Raises:
        BenchError: the site's API tells of too little.
    """
    venues = [f"/venues/{item['id']}" for item in _listed(port, "venues", _VENUES)]
    vendors = [
        f"/vendors/{item['category']}/{item['id']}" for item in _listed(port, "vendors", _VENDORS)
    ]
    pages, api = page_paths(venues, vendors), api_paths(venues)
    walk = Walk(
        pages=work / "walk-pages.txt",
        api=work / "walk-api.txt",
        page_count=len(pages),
        api_count=len(api),
        venues=venues,
    )
    for path, paths in ((walk.pages, pages), (walk.api, api)):
        lines = zipf_walk(paths, _WALK_REQUESTS)
        path.write_text("".join(f"{line}\n" for line in lines))
    return walk


def page_paths(venues: Sequence[str], vendors: Sequence[str]) -> list[str]:
    """Return the pages in the three languages, most popular first: the homes, then all mixed."""
    lists = ["/venues", "/vendors", "/about"]
    lists += [f"/venues?district={district}" for district in _DISTRICTS]
    lists += [f"/search?q={word}" for word in _WORDS]
    inner = [*lists, *venues, *vendors]
    others = [language + path for language in _LANGUAGES for path in inner]
    random.Random(SEED).shuffle(others)
    return ["/", "/si", "/ta", *others]


def api_paths(venues: Sequence[str]) -> list[str]:
    """Return what programs ask for, most popular first."""
    lists = [f"/api/v1/{kind}?district={name}" for kind in ("venues", "vendors")
             for name in _DISTRICTS]  # fmt: skip
    lists += [f"/api/v1/search?q={word}" for word in _WORDS]
    paths = [*lists, *(f"/api/v1{venue}" for venue in venues)]
    random.Random(SEED).shuffle(paths)
    return paths


def visit(
    port: int, visitors: int, walk: Walk, *, token: str, seconds: int, start: int = 0
) -> Visits:
    """Have so many visitors look around for ``seconds``, while venues are changed.

    Args:
        token: what the site takes changes by.
        start: where in the walks they begin, so that repetitions do not all ask for the same.

    Raises:
        BenchError: nothing was answered.
    """
    api_visitors = max(1, round(visitors * API_SHARE))
    signed_in = max(1, round(visitors * SIGNED_IN_SHARE))
    url = f"http://127.0.0.1:{port}/"
    loads = [
        Load(
            connections=count,
            seconds=seconds,
            headers=headers,
            paths=path,
            start=begin % _WALK_REQUESTS,
            think_milliseconds=THINK_MILLISECONDS,
        )
        for count, headers, path, begin in (
            (max(1, visitors - api_visitors - signed_in), CHROMIUM, walk.pages, start),
            (signed_in, _SIGNED_IN, walk.pages, start + _WALK_REQUESTS // 2),
            (api_visitors, _API_HEADERS, walk.api, start),
        )
    ]
    with ThreadPoolExecutor(len(loads) + 1) as threads:
        editing = threads.submit(
            edit, port, token, walk.venues,
            per_second=visitors * WRITE_SHARE * 1000 / THINK_MILLISECONDS,
            seconds=seconds, start=start,
        )  # fmt: skip
        pages, members, api = threads.map(lambda load: run_wrk(url, load, core=None), loads)
    return Visits(
        visitors=visitors, pages=pages, signed_in=members, api=api, edits=editing.result()
    )


def fill_caches(port: int, walk: Walk, *, seconds: int) -> None:
    """Walk through both walks without thinking, so that what a running site has kept is kept."""
    url = f"http://127.0.0.1:{port}/"
    for headers, path in ((CHROMIUM, walk.pages), (_API_HEADERS, walk.api)):
        load = Load(connections=_FILLERS, seconds=seconds, headers=headers, paths=path)
        run_wrk(url, load, core=None)


def most_held(
    is_held: Callable[[int], bool], *, start: int, most: int, precision: float = 0.1
) -> int:
    """Return the largest number that is held, at most ``most``; 0 where ``start`` is not.

    By doubling from ``start`` until one is not held, then by halving the distance until it is
    within ``precision`` of the number.
    """
    held, failed = 0, start
    while failed <= most and is_held(failed):
        held, failed = failed, failed * 2
        if held < most < failed:
            failed = most
        elif held == most:
            return most
    while held and failed - held > max(1, held * precision):
        middle = (held + failed) // 2
        if is_held(middle):
            held = middle
        else:
            failed = middle
    return held


def _listed(port: int, kind: str, count: int) -> list[dict[str, Any]]:
    """Return the first ``count`` venues or vendors of the API."""
    found: list[dict[str, Any]] = []
    page = 1
    while len(found) < count:
        status, body = fetch(port, f"/api/v1/{kind}?per_page={_PER_PAGE}&page={page}")
        items = items_of(json.loads(body)) if status == 200 else []
        if not items:
            raise BenchError(
                f"The site's API told of {len(found)} {kind}, not of {count} (status {status})."
            )
        found += items
        page += 1
    return found[:count]
