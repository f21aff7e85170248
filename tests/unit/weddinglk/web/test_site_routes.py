"""The site's policies against the handlers of the site: what each route takes, and is held to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import weddinglk
from poruwa.config.load import parse_policy
from poruwa.config.model import Policy, Route, Scope
from poruwa.rules.routing import RouteTable
from weddinglk.web import account, editing, shortlist, sign_in
from weddinglk.web.editing import MERGE_PATCH
from weddinglk.web.private import FORM

FOLDER = Path(weddinglk.__file__).parent
PEOPLE = [route for noun in (sign_in, account, shortlist) for route in noun.routes]
LANGUAGES = ("", "/en", "/si", "/ta")


@pytest.fixture(params=["site.toml", "site.production.toml"])
def policy(request: pytest.FixtureRequest) -> Policy:
    return parse_policy((FOLDER / request.param).read_text(), request.param)


def route_of(policy: Policy, method: str, path: str) -> Route:
    index = RouteTable(policy.routes).match(b"", method.encode(), path.encode())
    assert index is not None
    return policy.routes[index]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_takes_a_form_takes_nothing_else_and_is_limited(policy: Policy, language: str) -> None:
    """Check 34: no body of a type that scripts and foreign forms choose."""
    for handler in PEOPLE:
        for method in handler.methods or ():
            route = route_of(policy, method, language + handler.path)
            assert route.accepts == (FORM,), handler
            assert route.rate_limit == "person", handler


def test_what_takes_an_edit_takes_a_merge_patch_alone(policy: Policy) -> None:
    """Check 34."""
    writes = [(route.path, method) for route in editing.router.routes for method in route.methods]
    assert {method for _, method in writes} == {"PATCH"}
    for path, method in writes:
        route = route_of(policy, method, re.sub(r"\{.*?\}", "1", path))
        assert route.accepts == (MERGE_PATCH,), path


def test_what_everybody_shares_is_limited_by_no_count(policy: Policy) -> None:
    """A dormitory reads through one address, and a hit costs less than its count would save."""
    shared = {each.name for each in policy.classes if each.scope is Scope.SHARED}
    limited = [each.name for each in policy.routes if each.rate_limit is not None]
    assert limited
    assert not [each for each in policy.routes if each.data_class in shared and each.rate_limit]
