"""What browsers report of pages: violations of their policies, crashes, deprecations.

Anybody can send a report, so nothing in one is taken at its word: texts are clipped and freed of
what could steer a terminal, URLs lose what may be secret (user, query, fragment), and what metrics
are labelled by comes out of short lists. Fields that are missing or of another type are empty.

Sources: Reporting API (W3C), section 3.3 (``application/reports+json``); Content Security Policy
Level 3 (W3C), sections 5.2 and 5.3 (``application/csp-report``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

MEDIA_TYPES: Final = (b"application/reports+json", b"application/csp-report", b"application/json")
MAX_BODY_BYTES: Final = 64 * 1024
MAX_REPORTS: Final = 64
"""Of one body; those after it are not read. Chromium sends what a minute brought at once."""

CSP: Final = "csp-violation"
OTHER: Final = "other"
KINDS: Final = frozenset(
    (
        CSP,
        "coep",
        "coop",
        "crash",
        "deprecation",
        "document-policy-violation",
        "integrity-violation",
        "intervention",
        "network-error",
        "permissions-policy-violation",
    )
)
_DIRECTIVES: Final = frozenset(
    (
        "base-uri",
        "child-src",
        "connect-src",
        "default-src",
        "font-src",
        "form-action",
        "frame-ancestors",
        "frame-src",
        "img-src",
        "manifest-src",
        "media-src",
        "object-src",
        "require-trusted-types-for",
        "sandbox",
        "script-src",
        "script-src-attr",
        "script-src-elem",
        "style-src",
        "style-src-attr",
        "style-src-elem",
        "trusted-types",
        "worker-src",
    )
)
_DISPOSITIONS: Final = frozenset(("enforce", "report", "reporting"))
# Where other kinds say what it was about, in the order in which they are looked for.
_SUBJECTS: Final = ("effectiveDirective", "type", "featureId", "policyId", "id", "reason")
_NAME_CHARACTERS: Final = 48
_URL_CHARACTERS: Final = 200
_SAMPLE_CHARACTERS: Final = 80
_JOINERS: Final = "\u200c\u200d"  # Sinhala and Tamil are not written without
_URL: Final = re.compile(r"(?:([a-z][a-z0-9+.-]*):)?([/\\]{2,})?([^/\\]*)(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationReport:
    """One report. Texts are printable, in one line, and "" where the browser said nothing.

    Attributes:
        kind: of ``KINDS``, or ``OTHER``.
        directive: the directive violated; of other kinds what it was about (``camera``, ``corp``).
        page: URL of the page.
        blocked: URL, scheme with its colon, or a word (``inline``, ``eval``).
        source: ``URL:line:column`` of what did it.
        disposition: ``enforce`` or ``report``.
        sample: how it begins, where the policy asks for samples.
    """

    kind: str
    directive: str = ""
    page: str = ""
    blocked: str = ""
    source: str = ""
    disposition: str = ""
    sample: str = ""

    @property
    def label(self) -> str:
        """What metrics call the directive: one of a fixed list."""
        if self.directive in _DIRECTIVES:
            return self.directive
        return OTHER if self.directive else "none"


def parse_reports(body: bytes) -> list[ViolationReport]:
    """Return the reports of a body, at most ``MAX_REPORTS``; its form tells which kind it is.

    Raises:
        ValueError: it is not JSON, or not of the form that browsers send.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError("the report is not JSON") from error
    entries = document if isinstance(document, list) else [document]
    return [_report(each) for each in entries[:MAX_REPORTS]]


def _report(entry: object) -> ViolationReport:
    if not isinstance(entry, dict):
        raise ValueError("a report is not an object; send what the Reporting API describes")
    old = entry.get("csp-report")
    if isinstance(old, dict):
        return _old_csp_report(old)
    kind, body = entry.get("type"), entry.get("body")
    if not isinstance(kind, str) or not isinstance(body, dict):
        raise ValueError('a report has neither "csp-report" nor "type" and "body"')
    if kind not in KINDS:
        kind = OTHER
    subject = next((text for name in _SUBJECTS if (text := _text(body, name))), "")
    return ViolationReport(
        kind=kind,
        directive=_name(subject),
        page=clean_url(_text(body, "documentURL") or _text(entry, "url")),
        blocked=clean_url(_text(body, "blockedURL")),
        source=_source(body, "sourceFile", "lineNumber", "columnNumber"),
        disposition=_disposition(_text(body, "disposition")),
        sample=clean_text(_text(body, "sample") or _text(body, "message"), _SAMPLE_CHARACTERS),
    )


def _old_csp_report(body: Mapping[str, Any]) -> ViolationReport:
    directive = _text(body, "effective-directive") or _text(body, "violated-directive")
    return ViolationReport(
        kind=CSP,
        directive=_name(directive),
        page=clean_url(_text(body, "document-uri")),
        blocked=clean_url(_text(body, "blocked-uri")),
        source=_source(body, "source-file", "line-number", "column-number"),
        disposition=_disposition(_text(body, "disposition")),
        sample=clean_text(_text(body, "script-sample"), _SAMPLE_CHARACTERS),
    )


def clean_url(url: str) -> str:
    """Return a URL without user, query and fragment, clipped; of one without ``//`` the scheme.

    A word without a colon (``inline``) stays.
    """
    text = clean_text(re.split(r"[?#]", url, maxsplit=1)[0], len(url)).strip()
    # Again, until nothing goes: what is left may read as something else with a user.
    while (shorter := _without_user(text)) != text:
        text = shorter
    return text


def _without_user(text: str) -> str:
    found = _URL.fullmatch(text)
    assert found is not None  # everything is optional, and the text has no line ends
    scheme, slashes, authority, path = found.groups(default="")
    if scheme and not slashes:
        return f"{scheme.lower()}:"[:_URL_CHARACTERS]
    authority = authority.rpartition("@")[2]
    start = f"{scheme.lower()}:{slashes}" if scheme else slashes
    return f"{start}{authority}{path}"[:_URL_CHARACTERS].strip()


def clean_text(text: str, characters: int) -> str:
    """Return the beginning of a text in one line, without what could steer a terminal."""
    return "".join(
        each if each.isprintable() or each in _JOINERS else " " for each in text[:characters]
    )


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _name(text: str) -> str:
    """Return the first word: old browsers send a directive with its values."""
    words = clean_text(text[: 4 * _NAME_CHARACTERS], 4 * _NAME_CHARACTERS).split()
    return words[0].lower()[:_NAME_CHARACTERS] if words else ""


def _disposition(text: str) -> str:
    if text not in _DISPOSITIONS:
        return ""
    return "report" if text == "reporting" else text


def _source(body: Mapping[str, Any], file: str, line: str, column: str) -> str:
    where = clean_url(_text(body, file))
    if not where:
        return ""
    for each in (line, column):
        number = body.get(each)
        if not isinstance(number, int) or not 0 <= number < 10_000_000:
            break
        where += f":{int(number)}"
    return where
