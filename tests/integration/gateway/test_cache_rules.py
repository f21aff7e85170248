# ruff: noqa: E501 - a case is a line
"""RFC 9111 through a real socket: each rule a case of requests, what the origin would say, and
what the client must get. Time is moved by the origin's Age and Date, not by waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import count

import pytest

from fakes.gateway_process import GatewayProcess
from fakes.origin import Call, Origin

_numbers = count(1)


def ago(seconds: float) -> str:
    """Return a date; cases are made minutes before they run, which their lifetimes must outlast."""
    return formatdate(time.time() - seconds, usegmt=True)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request; ``says`` is what the origin answers if it is asked; of the status ``gone`` it
    closes instead.

    ``asks`` is whether it must be; ``sends`` are lines that it must then get, ``lacks`` names of
    fields that it must not.
    """

    asks: bool
    method: str = "GET"
    request: str = ""
    says: str = ""
    says_status: str = "200 OK"
    body: str = ""
    status: int = 200
    gets: str | None = None
    has: dict[str, str] = field(default_factory=dict)
    sends: str = ""
    lacks: str = ""
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    rule: str
    steps: tuple[Step, ...]


FRESH = "Cache-Control: max-age=100"
STALE = "Cache-Control: max-age=10\nAge: 50"


def twice(rule: str, says: str, *, hit: bool, **more: str) -> Case:
    """The same request twice: the second is answered from the cache, or is not."""
    status = more.pop("says_status", "200 OK")
    first = Step(asks=True, says=says, says_status=status, body="one", **more)  # type: ignore[arg-type]
    code = int(status[:3])
    second = Step(asks=not hit, says=says, says_status=status, body="two", **more)  # type: ignore[arg-type]
    expected = "one" if hit else "two"
    return Case(
        rule=rule,
        steps=(
            Step(**{**first.__dict__, "status": code, "gets": "one"}),
            Step(**{**second.__dict__, "status": code, "gets": expected}),
        ),
    )


def part(first: int, last: int, *, tag: str = '"a"', control: str = FRESH) -> dict[str, str]:
    """What the origin says of a part of ten bytes."""
    return {
        "says": f"{control}\nETag: {tag}\nContent-Range: bytes {first}-{last}/10",
        "says_status": "206 Partial Content",
    }


CASES = [
    # What may be stored: section 3.
    twice("4.2.1 max-age", FRESH, hit=True),
    twice("4.2.1 s-maxage before max-age", "Cache-Control: max-age=0, s-maxage=100", hit=True),
    twice("4.2.1 s-maxage=0 before max-age", "Cache-Control: max-age=100, s-maxage=0", hit=False),
    twice("4.2.1 Expires", f"Date: {ago(0)}\nExpires: {ago(-36_000)}", hit=True),
    twice("4.2.1 Expires is compared with the origin's Date", f"Date: {ago(500)}\nExpires: {ago(450)}", hit=False),
    twice("5.3 Expires of 0 is past", "Expires: 0", hit=False),
    twice("5.3 max-age before Expires", f"{FRESH}\nExpires: {ago(50)}", hit=True),
    twice("4.2.2 heuristic by Last-Modified", f"Last-Modified: {ago(10_000)}", hit=True),
    twice("4.2.2 no heuristic for other statuses", f"Last-Modified: {ago(10_000)}", hit=False, says_status="201 Created"),
    twice("4.2.2 heuristic 404", f"Last-Modified: {ago(10_000)}", hit=True, says_status="404 Not Found"),
    twice("3 explicit lifetime of an error", FRESH, hit=True, says_status="503 Service Unavailable"),
    twice("3 unknown final status with a lifetime", FRESH, hit=True, says_status="299 Whatever"),
    twice("3 nothing that permits it", "X-Nothing: 1", hit=False),
    twice("5.2.2.5 no-store", f"{FRESH}, no-store", hit=False),
    twice("5.2.2.7 private", f"{FRESH}, private", hit=False),
    twice("5.2.2.4 no-cache is validated each time", f"{FRESH}, no-cache", hit=False),
    twice("5.2 names are case-insensitive", "cache-CONTROL: MAX-age=100", hit=True),
    twice("5.2 quoted form", 'Cache-Control: max-age="100"', hit=True),
    twice("4.2.1 an invalid max-age is stale", "Cache-Control: max-age=abc", hit=False),
    twice("5.2 commas in quotes do not split", 'Cache-Control: x="a, no-store", max-age=100', hit=True),
    twice("5.2.2 unknown directives are ignored", "Cache-Control: blah, max-age=100", hit=True),
    twice("5.2.2.3 must-understand and a known status", f"{FRESH}, no-store, must-understand", hit=True),
    twice("5.2.2.3 must-understand and an unknown status", f"{FRESH}, no-store, must-understand", hit=False, says_status="299 Whatever"),
    twice("5.1 Age counts", "Cache-Control: max-age=100\nAge: 200", hit=False),
    twice("5.1 an Age that is no number is ignored", "Cache-Control: max-age=100\nAge: soon", hit=True),
    twice("4.2.3 an old Date counts", f"{FRESH}\nDate: {ago(300)}", hit=False),
    twice("5.2.1.5 request no-store", FRESH, hit=False, request="Cache-Control: no-store"),
    twice("3.5 Authorization", FRESH, hit=False, request="Authorization: Basic eDp5"),
    *(
        Case(rule=f"3.5 Authorization and {leave}", steps=(
            Step(asks=True, says=f"{FRESH}, {leave}", request="Authorization: Basic eDp5", body="one",
                 sends="Authorization: Basic eDp5"),
            Step(asks=False, gets="one"),
            Step(asks=False, request="Authorization: Basic other", gets="one"),
        ))
        for leave in ("public", "must-revalidate", "s-maxage=100")
    ),
    Case(rule="3.5 what credentials get says nothing of what others get", steps=(
        Step(asks=True, says=FRESH, request="Authorization: Basic eDp5", body="mine", gets="mine"),
        Step(asks=True, says=FRESH, body="one", has={"Cache-Status": "poruwa; fwd=uri-miss; fwd-status=200; stored"}),
        Step(asks=False, gets="one"),
    )),
    twice("4.2 dates in any case", f"Date: {ago(0).upper()}\nExpires: {ago(-36_000).swapcase()}", hit=True),
    twice("4.2 a zone that is not GMT is none", f"Expires: {ago(-100).replace('GMT', 'UTC')}", hit=False),
    twice("5.1 of several ages the first counts", "Cache-Control: max-age=100\nAge: 0\nAge: 200", hit=True),
    twice("5.1 and not the last", "Cache-Control: max-age=100\nAge: 200\nAge: 0", hit=False),
    twice("5.1 a negative Age is ignored", "Cache-Control: max-age=100\nAge: -200", hit=True),
    twice("5.1 a large Age counts", "Cache-Control: max-age=100\nAge: 2147483649", hit=False),
    # RFC 9213.
    twice("9213 CDN-Cache-Control before Cache-Control", "CDN-Cache-Control: max-age=100\nCache-Control: no-store", hit=True),
    twice("9213 CDN-Cache-Control forbids", f"CDN-Cache-Control: no-store\n{FRESH}", hit=False),
    twice("9213 an invalid one is ignored", f"CDN-Cache-Control: max-age=&&\n{FRESH}", hit=True),
    twice("9213 private", f"CDN-Cache-Control: private\n{FRESH}", hit=False),
    twice("9213 no-cache", f"CDN-Cache-Control: no-cache\n{FRESH}", hit=False),
    twice("9213 a long one before a short one", "CDN-Cache-Control: max-age=100\nCache-Control: max-age=0", hit=True),
    twice("9213 a past Expires does not count", f"CDN-Cache-Control: max-age=100\nExpires: {ago(100)}", hit=True),
    twice("9213 what is no Dictionary is ignored", "CDN-Cache-Control: max-age=100, &&&&&\nCache-Control: no-store", hit=False),
    twice("9213 2.1 seconds in quotes are none", 'CDN-Cache-Control: max-age="100"\nCache-Control: no-store', hit=False),
    Case(rule="9213 2.2 it is passed on", steps=(
        Step(asks=True, says="CDN-Cache-Control: max-age=100, foo", has={"CDN-Cache-Control": "max-age=100, foo"}),
        Step(asks=False, has={"CDN-Cache-Control": "max-age=100, foo"}),
    )),
    Case(rule="4.1 the order of languages says nothing", steps=(
        Step(asks=True, says=f"{FRESH}\nVary: Accept-Language", request="Accept-Language: en, de", body="one"),
        Step(asks=False, request="Accept-Language: DE,en", gets="one"),
        Step(asks=True, says=f"{FRESH}\nVary: Accept-Language", request="Accept-Language: de, en;q=0.5", body="two", gets="two"),
    )),
    # Vary: section 4.1.
    twice("4.1 Vary on what is the same", f"{FRESH}\nVary: Foo", hit=True, request="Foo: 1"),
    twice("4.1 Vary: *", f"{FRESH}\nVary: *", hit=False),
    twice("4.1 Vary: * on another line", f"{FRESH}\nVary: Foo\nVary: *", hit=False, request="Foo: 1"),
    Case(rule="4.1 Vary on what differs", steps=(
        Step(asks=True, says=f"{FRESH}\nVary: Foo", request="Foo: 1", body="1", gets="1"),
        Step(asks=True, says=f"{FRESH}\nVary: Foo", request="Foo: 2", body="2", gets="2"),
        Step(asks=False, request="Foo: 1", gets="1"),
        Step(asks=False, request="Foo: 2", gets="2"),
        Step(asks=True, says=f"{FRESH}\nVary: Foo", body="0", gets="0"),
    )),
    # Requests: section 5.2.1.
    Case(rule="5.2.1.4 request no-cache", steps=(
        Step(asks=True, says=FRESH, body="one"),
        Step(asks=True, says=FRESH, request="Cache-Control: no-cache", body="two", gets="two"),
        Step(asks=False, gets="two"),
    )),
    Case(rule="5.4 Pragma: no-cache", steps=(
        Step(asks=True, says=FRESH, body="one"),
        Step(asks=True, says=FRESH, request="Pragma: no-cache", body="two", gets="two"),
    )),
    Case(rule="5.2.1.1 request max-age", steps=(
        Step(asks=True, says=f"{FRESH}\nAge: 30", body="one"),
        Step(asks=True, says=FRESH, request="Cache-Control: max-age=20", body="two", gets="two"),
    )),
    Case(rule="5.2.1.3 min-fresh", steps=(
        Step(asks=True, says=f"{FRESH}\nAge: 50", body="one"),
        Step(asks=False, request="Cache-Control: min-fresh=20", gets="one"),
        Step(asks=True, says=FRESH, request="Cache-Control: min-fresh=70", body="two", gets="two"),
    )),
    Case(rule="5.2.1.2 max-stale", steps=(
        Step(asks=True, says=STALE, body="one"),
        Step(asks=False, request="Cache-Control: max-stale=100", gets="one"),
        Step(asks=True, says=STALE, request="Cache-Control: max-stale=10", body="two", gets="two"),
    )),
    Case(rule="5.2.2.2 must-revalidate before max-stale", steps=(
        Step(asks=True, says=f"{STALE}\nCache-Control: must-revalidate", body="one"),
        Step(asks=True, says=STALE, request="Cache-Control: max-stale=100", body="two", gets="two"),
    )),
    Case(rule="5.2.1.7 only-if-cached", steps=(
        Step(asks=False, request="Cache-Control: only-if-cached", status=504,
             has={"Cache-Status": "poruwa; detail=only-if-cached"}),
        Step(asks=True, says=FRESH, body="one"),
        Step(asks=False, request="Cache-Control: only-if-cached", gets="one"),
    )),
    # Validation: section 4.3.
    Case(rule="4.3.1 validators are sent, 4.3.4 a 304 freshens", steps=(
        Step(asks=True, says=f'{STALE}\nETag: "a"\nX-Old: 1', body="one"),
        Step(asks=True, says=f'{FRESH}\nETag: "a"\nX-New: 2', says_status="304 Not Modified",
             sends='If-None-Match: "a"', gets="one",
             has={"X-New": "2", "X-Old": "1", "Cache-Status": "poruwa; fwd=stale; fwd-status=304; stored"}),
        Step(asks=False, gets="one", has={"X-New": "2"}),
    )),
    Case(rule="4.3.1 Last-Modified", steps=(
        Step(asks=True, says=f"{STALE}\nLast-Modified: {ago(1000)}", body="one"),
        Step(asks=True, says=FRESH, says_status="304 Not Modified",
             sends="If-Modified-Since: ", gets="one"),
    )),
    Case(rule="4.3.3 a 200 replaces", steps=(
        Step(asks=True, says=f'{STALE}\nETag: "a"', body="one"),
        Step(asks=True, says=f'{FRESH}\nETag: "b"', body="two", gets="two"),
        Step(asks=False, gets="two", has={"ETag": '"b"'}),
    )),
    Case(rule="4.3.2 If-None-Match is answered from the cache", steps=(
        Step(asks=True, says=f'{FRESH}\nETag: "a"', body="one"),
        Step(asks=False, request='If-None-Match: "a"', status=304, has={"ETag": '"a"'}, gets=""),
        Step(asks=False, request='If-None-Match: W/"a"', status=304, gets=""),
        Step(asks=False, request='If-None-Match: "b"', gets="one"),
    )),
    Case(rule="4.3.2 If-Modified-Since is answered from the cache", steps=(
        Step(asks=True, says=f"{FRESH}\nLast-Modified: {ago(1000)}", body="one"),
        Step(asks=False, request=f"If-Modified-Since: {ago(500)}", status=304, gets=""),
        Step(asks=False, request=f"If-Modified-Since: {ago(5000)}", gets="one"),
    )),
    Case(rule="4.3.2 without Last-Modified the Date counts", steps=(
        Step(asks=True, says=f"Cache-Control: max-age=36000\nDate: {ago(20)}", body="one"),
        Step(asks=False, request=f"If-Modified-Since: {ago(10)}", status=304, gets=""),
        Step(asks=False, request=f"If-Modified-Since: {ago(30)}", gets="one"),
    )),
    Case(rule="4.3.2 an empty If-None-Match names nothing", steps=(
        Step(asks=True, says=FRESH, body="one"),
        Step(asks=False, request="If-None-Match: ", gets="one"),
    )),
    Case(rule="4.3.4 what Connection names updates nothing", steps=(
        Step(asks=True, says=f'{STALE}\nETag: "a"\nX-Hop: 1', body="one"),
        Step(asks=True, says=f'{FRESH}\nETag: "a"\nX-Hop: 2\nConnection: X-Hop',
             says_status="304 Not Modified", gets="one", has={"X-Hop": "1"}),
    )),
    Case(rule="3.2 a digest of the stored bytes stays", steps=(
        Step(asks=True, says=f'{STALE}\nETag: "a"\nContent-MD5: rL0Y', body="one"),
        Step(asks=True, says=f'{FRESH}\nETag: "a"\nContent-MD5: N7Ud', says_status="304 Not Modified",
             gets="one", has={"Content-MD5": "rL0Y"}),
    )),
    Case(rule="4.3.1 a client's condition is not the cache's", steps=(
        Step(asks=True, says=f'{FRESH}\nETag: "a"', request='If-None-Match: "x"', body="one",
             gets="one", lacks="if-none-match"),
        Step(asks=False, gets="one"),
    )),
    Case(rule="4.3.2 a client's validator that matches the new answer", steps=(
        Step(asks=True, says=f'{FRESH}\nETag: "a"', request='If-None-Match: "a"', body="one",
             status=304, gets=""),
        Step(asks=False, gets="one"),
    )),
    # HEAD, ranges.
    Case(rule="4 HEAD from a stored GET", steps=(
        Step(asks=True, says=FRESH, body="one"),
        Step(asks=False, method="HEAD", gets="", has={"Content-Length": "3"}),
    )),
    Case(rule="4.3.5 a HEAD updates", steps=(
        Step(asks=True, says=f'{STALE}\nETag: "a"\nX-Old: 1', body="one"),
        Step(asks=True, method="HEAD", says=f'{FRESH}\nETag: "a"\nX-New: 2', body="one", gets=""),
        Step(asks=False, gets="one", has={"X-New": "2", "X-Old": "1"}),
    )),
    Case(rule="4.3.5 a HEAD with another length makes stale", steps=(
        Step(asks=True, says=FRESH, body="one"),
        Step(asks=True, method="HEAD", request="Cache-Control: no-cache", says=FRESH, body="three", gets=""),
        Step(asks=True, says=FRESH, body="three", gets="three"),
    )),
    Case(rule="4.3.5 a HEAD that fails changes nothing", steps=(
        Step(asks=True, says=FRESH, body="one"),
        Step(asks=True, method="HEAD", request="Cache-Control: no-cache", says_status="503 Oops", status=503, gets=""),
        Step(asks=False, gets="one"),
    )),
    Case(rule="14.2 (9110) a range of what is stored", steps=(
        Step(asks=True, says=f'{FRESH}\nETag: "a"', body="0123456789"),
        Step(asks=False, request="Range: bytes=2-4", status=206, gets="234",
             has={"Content-Range": "bytes 2-4/10"}),
        Step(asks=False, request="Range: bytes=-3", status=206, gets="789"),
        Step(asks=False, request="Range: bytes=20-", status=416,
             has={"Content-Range": "bytes */10"}),
        Step(asks=False, request='Range: bytes=0-1\nIf-Range: "b"', gets="0123456789"),
    )),
    Case(rule="14.6 (9110) several ranges", steps=(
        Step(asks=True, says=f"{FRESH}\nContent-Type: text/plain", body="0123456789"),
        Step(asks=False, request="Range: bytes=0-1,-2", status=206, has={"Content-Type": "multipart/byteranges; boundary="}),
        Step(asks=False, request="Range: bytes=0-1,2-3", status=206, gets="0123", has={"Content-Range": "bytes 0-3/10"}),
        Step(asks=False, request="Range: bytes=20-,30-", status=416, has={"Content-Range": "bytes */10"}),
        Step(asks=False, request="Range: bytes=1-,x", gets="0123456789"),
    )),
    Case(rule="4.3.1 a range of what is stale", steps=(
        Step(asks=True, says=f'{STALE}\nETag: "a"', body="0123456789"),
        Step(asks=True, says=f'{FRESH}\nETag: "a"', says_status="304 Not Modified", request="Range: bytes=2-4",
             sends='If-None-Match: "a"', lacks="range", status=206, gets="234"),
    )),
    # Parts: sections 3.3 and 3.4.
    Case(rule="3.3 a 206 is kept and answers what it has", steps=(
        Step(asks=True, request="Range: bytes=2-6", sends="Range: bytes=2-6", body="23456", **part(2, 6),
             status=206, gets="23456", has={"Content-Range": "bytes 2-6/10", "Cache-Status": "poruwa; fwd=uri-miss; fwd-status=206; stored"}),
        Step(asks=False, request="Range: bytes=2-6", status=206, gets="23456", has={"Content-Range": "bytes 2-6/10"}),
        Step(asks=False, request="Range: bytes=3-4", status=206, gets="34", has={"Content-Range": "bytes 3-4/10", "Age": "0"}),
        Step(asks=True, request="Range: bytes=6-7", body="67", **part(6, 7), status=206, gets="67",
             has={"Cache-Status": "poruwa; fwd=partial; fwd-status=206; stored"}),
        Step(asks=False, request="Range: bytes=3-7", status=206, gets="34567"),
    )),
    Case(rule="3.4 parts with no strong validator are not combined", steps=(
        Step(asks=True, request="Range: bytes=0-4", body="01234", **part(0, 4, tag='W/"a"'), status=206),
        Step(asks=True, request="Range: bytes=5-9", body="56789", **part(5, 9, tag='W/"a"'), status=206),
        Step(asks=True, says=FRESH, body="whole", lacks="range", gets="whole"),
    )),
    Case(rule="3.4 nor parts of another representation", steps=(
        Step(asks=True, request="Range: bytes=0-4", body="01234", **part(0, 4), status=206),
        Step(asks=True, request="Range: bytes=5-9", body="FGHIJ", **part(5, 9, tag='"b"'), status=206),
        Step(asks=True, request="Range: bytes=0-4", body="ABCDE", **part(0, 4, tag='"b"'), status=206, gets="ABCDE"),
        Step(asks=False, gets="ABCDEFGHIJ"),
    )),
    Case(rule="3.4 parts become the whole", steps=(
        Step(asks=True, request="Range: bytes=5-", body="56789", **part(5, 9), status=206),
        Step(asks=True, request="Range: bytes=0-4", body="01234", **part(0, 4), status=206),
        Step(asks=False, gets="0123456789", has={"ETag": '"a"', "Content-Range": "", "Content-Length": "10"}),
    )),
    Case(rule="3.3 the rest is asked for", steps=(
        Step(asks=True, request="Range: bytes=0-4", body="01234", **part(0, 4), status=206),
        Step(asks=True, body="56789", **part(5, 9), sends='If-Range: "a"', gets="0123456789",
             has={"Content-Range": "", "Content-Length": "10", "Cache-Status": "poruwa; fwd=partial; fwd-status=206; stored"}),
        Step(asks=False, gets="0123456789"),
    )),
    Case(rule="3.3 unless it has changed", steps=(
        Step(asks=True, request="Range: bytes=0-4", body="01234", **part(0, 4), status=206),
        Step(asks=True, says=f'{FRESH}\nETag: "b"', body="whole", sends="Range: bytes=5-", gets="whole"),
        Step(asks=False, gets="whole"),
    )),
    Case(rule="3.3 a part that is stale is asked for anew", steps=(
        Step(asks=True, request="Range: bytes=0-4", body="01234", **part(0, 4, control=STALE), status=206),
        Step(asks=True, request="Range: bytes=0-4", body="ABCDE", **part(0, 4, tag='"b"'), status=206, gets="ABCDE"),
    )),
    Case(rule="3.3 a range that the origin ignores", steps=(
        Step(asks=True, request="Range: bytes=0-1", says=FRESH, body="whole", gets="whole"),
        Step(asks=False, request="Range: bytes=0-1", status=206, gets="wh"),
    )),
    Case(rule="3 a 206 to who asked for the whole is not kept", steps=(
        Step(asks=True, body="01234", **part(0, 4), status=206),
        Step(asks=True, says=FRESH, body="whole", gets="whole"),
    )),
    Case(rule="15.3.7 (9110) more than the range that it names", steps=(
        Step(asks=True, request="Range: bytes=0-1", body="01234", **part(0, 1), status=206),
        Step(asks=True, request="Range: bytes=0-1", body="01", **part(0, 1), status=206, gets="01"),
    )),
    Case(rule="4.4 what is held in part is invalidated", steps=(
        Step(asks=True, request="Range: bytes=0-4", body="01234", **part(0, 4), status=206),
        Step(asks=True, method="POST", says="X-Done: 1"),
        Step(asks=True, request="Range: bytes=0-4", body="ABCDE", **part(0, 4), status=206, gets="ABCDE"),
    )),
    # Invalidation: section 4.4.
    *(
        Case(rule=f"4.4 {method} invalidates", steps=(
            Step(asks=True, says=FRESH, body="one"),
            Step(asks=True, method=method, says="X-Done: 1", body="done", gets="done"),
            Step(asks=True, says=FRESH, body="two", gets="two"),
        ))
        for method in ("POST", "PUT", "DELETE", "M-SEARCH")
    ),
    Case(rule="4.4 a failed POST does not invalidate", steps=(
        Step(asks=True, says=FRESH, body="one"),
        Step(asks=True, method="POST", says_status="500 Oops", body="no", status=500),
        Step(asks=False, gets="one"),
    )),
    Case(rule="4.4 Location of the same origin", steps=(
        Step(asks=True, says=FRESH, body="one", path="/other"),
        Step(asks=True, method="POST", says="Location: {other}", body="done"),
        Step(asks=True, says=FRESH, body="two", gets="two", path="/other"),
    )),
    Case(rule="9.3.3 (9110) a POST whose answer is what its target now is", steps=(
        Step(asks=True, method="POST", says=f"{FRESH}\nContent-Location: {{self}}", body="now"),
        Step(asks=False, gets="now"),
    )),
    Case(rule="9.3.3 (9110) not without a lifetime", steps=(
        Step(asks=True, method="POST", says=f"Last-Modified: {ago(10_000)}\nContent-Location: {{self}}", body="now"),
        Step(asks=True, says=FRESH, body="one", gets="one"),
    )),
    Case(rule="9.3.3 (9110) nor of another target", steps=(
        Step(asks=True, method="POST", says=f"{FRESH}\nContent-Location: {{other}}", body="now"),
        Step(asks=True, says=FRESH, body="one", gets="one"),
        Step(asks=True, says=FRESH, body="two", gets="two", path="/other"),
    )),
    Case(rule="9875 3 a group is invalidated", steps=(
        Step(asks=True, says=f'{FRESH}\nCache-Groups: "x", "y"', body="one"),
        Step(asks=True, says=f'{FRESH}\nCache-Groups: "z"', body="other", path="/other"),
        Step(asks=True, method="POST", says='Cache-Group-Invalidation: "y"', path="/third"),
        Step(asks=True, says=FRESH, body="two", gets="two"),
        Step(asks=False, gets="other", path="/other"),
    )),
    Case(rule="9875 3 not by a safe method, nor by a failure", steps=(
        Step(asks=True, says=f'{FRESH}\nCache-Groups: "x1"', body="one"),
        Step(asks=True, says='Cache-Group-Invalidation: "x1"', path="/third"),
        Step(asks=True, method="POST", says='Cache-Group-Invalidation: "x1"', says_status="500 Oops", status=500, path="/third"),
        Step(asks=False, gets="one"),
    )),
    # Stale: RFC 5861 and section 4.2.4.
    Case(rule="4.2.4 a disconnected cache serves stale", steps=(
        Step(asks=True, says=STALE, body="one"),
        Step(asks=True, says_status="gone", gets="one", has={"Age": "50", "Cache-Status": "poruwa; fwd=stale"}),
    )),
    *(
        Case(rule=f"5.2.2 unless {directive} forbids", steps=(
            Step(asks=True, says=f"{STALE}\nETag: \"a\"\nCache-Control: {directive}", body="one"),
            Step(asks=True, says_status="gone", status=504, has={"Cache-Status": "poruwa; fwd="}),
        ))
        for directive in ("must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2")
    ),
    Case(rule="4.3.3 an error of the origin does not forget what is stored", steps=(
        Step(asks=True, says=f'{STALE}\nETag: "a"', body="one"),
        Step(asks=True, says_status="503 Oops", body="no", status=503),
        Step(asks=True, says=FRESH, says_status="304 Not Modified", sends='If-None-Match: "a"', gets="one"),
        Step(asks=False, gets="one"),
    )),
    Case(rule="3 an error of the origin does not keep others from being stored", steps=(
        Step(asks=True, says_status="503 Oops", body="no", status=503),
        Step(asks=True, says=FRESH, body="one"),
        Step(asks=False, gets="one"),
    )),
    Case(rule="5861 3 not beyond the window", steps=(
        Step(asks=True, says=f'{STALE}\nETag: "a"\nCache-Control: stale-while-revalidate=20', body="one"),
        Step(asks=True, says=FRESH, body="two", gets="two"),
    )),
    Case(rule="5861 3 stale-while-revalidate", steps=(
        Step(asks=True, says=f"{STALE}\nCache-Control: stale-while-revalidate=1000", body="one"),
        Step(asks=True, says=FRESH, body="two", gets="one"),
        Step(asks=False, gets="two"),
    )),
    Case(rule="5861 4 stale-if-error", steps=(
        Step(asks=True, says=f"{STALE}\nCache-Control: stale-if-error=1000", body="one"),
        Step(asks=True, says_status="503 Oops", body="no", gets="one"),
    )),
    Case(rule="4.2.4 an error without leave to be stale", steps=(
        Step(asks=True, says=STALE, body="one"),
        Step(asks=True, says_status="503 Oops", body="no", status=503, gets="no"),
    )),
    # What clients are told.
    Case(rule="5.1 Age is sent", steps=(
        Step(asks=True, says=f"{FRESH}\nAge: 30", body="one"),
        Step(asks=False, has={"Age": "30"}),
    )),
    Case(rule="5.1 Age of what is not stored is passed on", steps=(
        Step(asks=True, says="Cache-Control: no-store\nAge: 30", body="one", has={"Age": "30"}),
    )),
    Case(rule="9211 2 after the caches nearer to the origin", steps=(
        Step(asks=True, says=f"{FRESH}\nCache-Status: Near; hit", has={"Cache-Status": "Near; hit, poruwa; fwd=uri-miss"}),
        Step(asks=False, has={"Cache-Status": "Near; hit, poruwa; hit; ttl="}),
    )),
    Case(rule="9211 Cache-Status", steps=(
        Step(asks=True, says=FRESH, body="one",
             has={"Cache-Status": "poruwa; fwd=uri-miss; fwd-status=200; stored"}),
        Step(asks=False, has={"Cache-Status": "poruwa; hit; ttl="}),
        Step(asks=True, method="POST", body="x", has={"Cache-Status": "poruwa; fwd=method"}),
    )),
    Case(rule="3.1 what is unknown is stored and sent", steps=(
        Step(asks=True, says=f"{FRESH}\nX-Mine: a\nX-Mine: b", body="one"),
        Step(asks=False, has={"X-Mine": "a, b"}),
    )),
    Case(rule="3.1 what Connection names is not", steps=(
        Step(asks=True, says=f"{FRESH}\nConnection: X-Hop\nX-Hop: 1", body="one"),
        Step(asks=False, has={"X-Hop": ""}),
    )),
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, Origin]]:
    origin = Origin()
    folder = tmp_path_factory.mktemp("cache")
    gateway = GatewayProcess(folder, "--upstream", origin.address, "--cache", "--workers", "1")
    yield gateway, origin
    gateway.stop()
    origin.stop()


@pytest.mark.parametrize("case", CASES, ids=[case.rule for case in CASES])
def test_rule(site: tuple[GatewayProcess, Origin], case: Case) -> None:
    gateway, origin = site
    base = f"/case-{next(_numbers)}"
    with gateway.connect() as client:
        for number, step in enumerate(case.steps, start=1):
            where = f"step {number} of {case.rule}"
            path = base + step.path
            asked: list[Call] = []
            origin.on(path, _teller(step, asked, base))
            request = "".join(f"{line}\r\n" for line in step.request.splitlines())
            length = "Content-Length: 0\r\n" if step.method in ("POST", "PUT", "M-SEARCH") else ""
            client.send(
                f"{step.method} {path} HTTP/1.1\r\nHost: localhost\r\n{request}{length}\r\n".encode()
            )
            answer = client.response(step.method.encode())
            if step.asks and not asked:
                time.sleep(0.3)  # a refresh in the background
            assert bool(asked) is step.asks, f"{where}: the origin was {'not ' * step.asks}asked"
            assert answer.status == step.status, where
            if step.gets is not None:
                assert answer.body.decode() == step.gets, where
            for name, value in step.has.items():
                got = b", ".join(answer.all(name)).decode()
                assert got.startswith(value) if value else not got, f"{where}: {name}: {got}"
            if step.sends:
                assert step.sends.lower().encode() in _lines(asked[0]), where
            if step.lacks:
                assert asked[0].request.get(step.lacks) is None, where
            if step.asks and answer.body == b"one" and "while" in case.rule:
                time.sleep(0.1)


def _teller(step: Step, asked: list[Call], base: str):  # type: ignore[no-untyped-def]
    def tell(call: Call) -> None:
        asked.append(call)
        says = step.says.replace("{other}", base + "/other").replace("{self}", base + step.path)
        fields = "".join(f"{line}\r\n" for line in says.splitlines()).encode()
        status = step.says_status.encode()
        if status == b"gone":
            call.close()
        elif status.startswith(b"304"):
            call.send(b"HTTP/1.1 304 Not Modified\r\n" + fields + b"\r\n")
        else:
            call.reply(step.body.encode(), status=status, fields=fields)

    return tell


def _lines(call: Call) -> bytes:
    return b"\n".join(name + b": " + value for name, value in call.request.fields).lower()
