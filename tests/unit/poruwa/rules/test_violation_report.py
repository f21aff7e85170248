"""What is made of browsers' reports: the forms they send, and the tricks that anybody can."""

from __future__ import annotations

import json

import pytest

from poruwa.rules.violation_report import (
    KINDS,
    MAX_REPORTS,
    OTHER,
    ViolationReport,
    clean_url,
    parse_reports,
)

# As Chromium 130 sends it.
REPORTED = {
    "age": 53531,
    "body": {
        "blockedURL": "https://evil.test/a.js?k=1#f",
        "columnNumber": 39,
        "disposition": "enforce",
        "documentURL": "https://user:pw@site.test/venues/1?token=secret#x",
        "effectiveDirective": "script-src-elem",
        "lineNumber": 121,
        "originalPolicy": "default-src 'self'; report-to default",
        "referrer": "https://www.google.com/",
        "sample": 'console.log("lo")',
        "sourceFile": "https://site.test/a.js?v=2",
        "statusCode": 200,
    },
    "type": "csp-violation",
    "url": "https://site.test/venues/1",
    "user_agent": "Mozilla/5.0",
}
# As Firefox and Safari do.
OLD = {
    "csp-report": {
        "blocked-uri": "inline",
        "column-number": 1,
        "disposition": "report",
        "document-uri": "https://site.test/?q",
        "effective-directive": "",
        "line-number": 7,
        "script-sample": "alert(1)",
        "source-file": "https://site.test/",
        "violated-directive": "Script-Src 'self' https://cdn.test",
    }
}


def parse(document: object) -> list[ViolationReport]:
    return parse_reports(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("document", "read"),
    [
        pytest.param(
            [REPORTED],
            ViolationReport(
                kind="csp-violation",
                directive="script-src-elem",
                page="https://site.test/venues/1",
                blocked="https://evil.test/a.js",
                source="https://site.test/a.js:121:39",
                disposition="enforce",
                sample='console.log("lo")',
            ),
            id="Reporting API 3.3: an array",
        ),
        pytest.param(
            OLD,
            ViolationReport(
                kind="csp-violation",
                directive="script-src",
                page="https://site.test/",
                blocked="inline",
                source="https://site.test/:7:1",
                disposition="report",
                sample="alert(1)",
            ),
            id="CSP3 5.3, report-uri: one object",
        ),
    ],
)
def test_both_forms_are_read(document: object, read: ViolationReport) -> None:
    """Secrets of URLs are not kept; a violated directive may come with its values."""
    assert parse(document) == [read]


def test_other_kinds_say_what_they_are_about() -> None:
    found = parse(
        [
            {"type": "coep", "url": "https://a.test/", "body": {"type": "corp"}},
            {"type": "permissions-policy-violation", "body": {"featureId": "camera"}},
            {"type": "made-up", "body": {"id": "x" * 1000}},
            {"type": "crash", "body": {}},
        ]
    )
    assert [(each.kind, each.directive[:8]) for each in found] == [
        ("coep", "corp"),
        ("permissions-policy-violation", "camera"),
        (OTHER, "x" * 8),
        ("crash", ""),
    ]
    assert {each.label for each in found} == {OTHER, "none"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"3",
        b"[3]",
        b"{}",
        b'{"csp-report": 3}',
        b'{"type": 1, "body": {}}',
        b'{"type": "csp-violation", "body": []}',
        b"\xff\xfe",
        b'"\\ud800"',
        b"[" * 60_000,
    ],
)
def test_what_is_no_report_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="report"):
        parse_reports(body)


def test_no_reports_are_none() -> None:
    assert parse_reports(b"[]") == []


def test_a_body_of_very_many_is_not_read_to_the_end() -> None:
    assert len(parse([REPORTED] * 1000)) == MAX_REPORTS


def test_values_of_other_types_are_empty() -> None:
    body = {name: [1] for name in ("effectiveDirective", "documentURL", "sourceFile", "sample")}
    assert parse([{"type": "csp-violation", "url": 3, "body": body}]) == [
        ViolationReport(kind="csp-violation")
    ]


def test_nothing_steers_a_terminal_or_begins_a_line() -> None:
    """Control characters, also of C1, line separators and direction overrides become blanks."""
    evil = "a\x1b[2J\r\nb\u2028\u202ec\x9b"
    body = {"sample": evil, "blockedURL": evil, "sourceFile": evil, "effectiveDirective": evil}
    (found,) = parse([{"type": "csp-violation", "url": evil, "body": body}])
    for text in (found.sample, found.blocked, found.source, found.directive, found.page):
        assert text.isprintable()
        assert text.startswith("a")


def test_sinhala_is_kept() -> None:
    text = "ශ්‍රී ලංකා"
    (found,) = parse([{"type": "csp-violation", "body": {"sample": text}}])
    assert found.sample == text


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://u:p@a.test:8/b?c#d", "https://a.test:8/b"),
        ("https://u@x:p@a.test/@b", "https://a.test/@b"),
        ("HTTPS:\\\\u:p@a.test\\b", "https:\\\\a.test\\b"),
        ("//u:p@a.test", "//a.test"),
        ("u:p@a.test/b", "u:"),
        ("x@data:secret", "data:"),  # a fuzz run: what is left may be read as another form
        ("x@ a", "a"),
        ("data:text/html,secret", "data:"),
        ("blob:https://a.test/1", "blob:"),
        ("eval", "eval"),
        ("", ""),
        ("https://a.test/" + "b" * 999, "https://a.test/" + "b" * 185),
    ],
)
def test_urls_lose_what_may_be_secret(url: str, kept: str) -> None:
    assert clean_url(url) == kept


def test_labels_are_few() -> None:
    """Metrics must not grow by what is sent (one series for each invented directive)."""
    reports = parse(
        [{"type": f"k{n}", "body": {"effectiveDirective": f"d{n}-src"}} for n in range(60)]
    )
    assert {(each.kind, each.label) for each in reports} == {(OTHER, OTHER)}
    assert OTHER not in KINDS
