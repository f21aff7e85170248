"""Security fields of a route's answers, made from the policy once.

Place on the path: none of its own. ``gateway.heads`` puts them on what instances answer and into
what is stored, ``gateway.exchange`` on what is answered here, ``gateway.error_pages`` on errors.
Which value stands beside an application's own is decided in ``poruwa.rules.security_headers``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from poruwa.gateway.error_pages import ErrorFields
from poruwa.rules.own_paths import REPORTS_PATH
from poruwa.rules.security_headers import SecurityFields

if TYPE_CHECKING:
    from poruwa.config.model import Headers, Policy, Route


def security_of(route: Route, policy: Policy) -> SecurityFields | None:
    """Return the fields of a route's answers; None where the policy states none.

    Files never go without ``nosniff``: their types are guessed from their names.
    """
    section = _section_of(route, policy)
    if route.static is not None and section.content_type_options is None:
        section = replace(section, content_type_options="nosniff")
    fields = SecurityFields(section, domain=policy.site.domain, report_path=_report_path(section))
    return fields if fields.names else None


def error_security_of(route: Route, policy: Policy) -> ErrorFields | None:
    """Return those of a route's error pages; None where the policy states none."""
    section = _section_of(route, policy)
    domain = policy.site.domain
    if not SecurityFields(section, domain=domain).names:
        return None
    return ErrorFields(section, domain=domain, report_path=_report_path(section))


def _section_of(route: Route, policy: Policy) -> Headers:
    return policy.headers if route.headers is None else route.headers


def _report_path(section: Headers) -> str | None:
    """Return where violations are reported to; None without a policy that could be violated."""
    if section.content_security_policy is None:
        return section.report_to
    return section.report_to or REPORTS_PATH.decode()
