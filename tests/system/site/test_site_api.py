"""The JSON API of the running site (requirement F)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from weddinglk.web import api_models
from weddinglk.web.problem import Problem


@pytest.mark.parametrize(
    ("path", "model"),
    [("/venues?per_page=100", api_models.ResultModel[api_models.VenueSummary]),
     ("/venues/1", api_models.VenueModel), ("/vendors/1", api_models.VendorModel),
     ("/venues/1/reviews", api_models.PageModel[api_models.ReviewModel]),
     ("/vendors/1/reviews", api_models.PageModel[api_models.ReviewModel]),
     ("/venues/1/availability", api_models.AvailabilityModel),
     ("/vendors", api_models.ResultModel[api_models.VendorSummary]),
     ("/search?q=beach", api_models.ResultModel[api_models.SearchHit])],
)  # fmt: skip
def test_answers_have_their_documented_shape(
    site: httpx.Client, path: str, model: type[Any]
) -> None:
    """F: every answer validates against the model its schema was made from."""
    response = site.get(f"/api/v1{path}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    model.model_validate_json(response.content)


def test_lists_of_places_and_suggestions(site: httpx.Client) -> None:
    """F: 25 districts; a few suggestions that lead to pages; pictures that are there."""
    picture = site.get("/api/v1/venues/1").json()["picture"]
    assert site.get(picture).headers["content-type"] == "image/svg+xml"
    districts = site.get("/api/v1/districts?lang=ta").json()
    assert len(districts) == 25
    assert {d["name"] for d in districts if d["id"] == "kandy"} == {"கண்டி"}
    assert sum(d["venue_count"] for d in districts) == 100
    suggestions = site.get("/api/v1/suggestions?q=garden&lang=si").json()
    assert 0 < len(suggestions) <= 8
    assert all(site.get(s["url"]).status_code == 200 for s in suggestions)
    assert suggestions[0]["url"].startswith("/si/")


@pytest.mark.parametrize("language", ["en", "si", "ta"])
def test_language_of_texts(site: httpx.Client, language: str) -> None:
    """F: by parameter or by header, stated in the answer."""
    asked = site.get(f"/api/v1/venues/1?lang={language}")
    negotiated = site.get("/api/v1/venues/1", headers={"Accept-Language": f"{language}-LK"})
    assert asked.json() == negotiated.json()
    assert (asked.headers["content-language"], "vary" in asked.headers) == (language, False)
    assert negotiated.headers["content-language"] == language
    assert negotiated.headers["vary"] == "Accept-Language"


@pytest.mark.parametrize(
    ("path", "parameter"),
    [("/venues?guests=many", "guests"), ("/venues?guests=0", "guests"),
     ("/venues?per_page=101", "per_page"), ("/venues?page=0", "page"),
     ("/venues?district=atlantis", "district"), ("/venues?style=cave", "style"),
     ("/venues?sort=luck", "sort"), ("/venues?lang=fr", "lang"), ("/venues/0", "venue_id"),
     ("/venues/99999999999", "venue_id"), ("/vendors?sort=guests", "sort"),
     ("/vendors?language=de", "language"), ("/vendors?category=magic", "category"),
     ("/suggestions", "q"), ("/search?q=" + 101 * "x", "q"),
     ("/venues/1/reviews?per_page=1000", "per_page")],
)  # fmt: skip
def test_refused_parameters_are_named(site: httpx.Client, path: str, parameter: str) -> None:
    """F: 422 as problem+json (RFC 9457), with each parameter and a reason."""
    response = site.get(f"/api/v1{path}")
    assert response.status_code == 422
    problem = _problem(response)
    assert problem.errors is not None
    assert [error.parameter for error in problem.errors] == [parameter]
    assert problem.errors[0].reason
    assert parameter in (problem.detail or "")


@pytest.mark.parametrize("path", ["/venues/999999", "/vendors/999999", "/venues/999999/reviews",
                                  "/venues/999999/availability", "/vendors/999999/reviews",
                                  "/nothing"])  # fmt: skip
def test_what_is_not_there(site: httpx.Client, path: str) -> None:
    """F: 404 as problem+json."""
    response = site.get(f"/api/v1{path}")
    assert response.status_code == 404
    assert _problem(response).instance == f"/api/v1{path}"


def test_methods(site: httpx.Client) -> None:
    """F: 405 as problem+json, with Allow."""
    response = site.delete("/api/v1/venues/1")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET"
    _problem(response)


def test_pages_past_the_end_are_empty(site: httpx.Client) -> None:
    """F: a client that counts up ends by an empty page, not by the last again and again."""
    for path in ("/venues?page=900", "/search?q=beach&page=900", "/venues/1/reviews?page=900"):
        answer = site.get(f"/api/v1{path}").json()
        assert (answer["items"], answer["page"]) == ([], 900)
        assert answer["total"] > 0


def test_openapi_describes_every_operation(site: httpx.Client) -> None:
    """F: a schema with answers and problems for every path, and texts to read."""
    schema = site.get("/api/v1/openapi.json").json()
    assert len(schema["paths"]) == 10
    for path, item in schema["paths"].items():
        operation = item["get"]
        assert operation["description"], path
        content = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert "$ref" in content or content["type"] == "array", path
        assert operation["responses"]["422"]["content"]["application/problem+json"], path
        assert {"lang"} <= {parameter["name"] for parameter in operation["parameters"]}, path
    assert "ValidationError" not in str(schema)


def _problem(response: httpx.Response) -> Problem:
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem = Problem.model_validate_json(response.content)
    assert problem.status == response.status_code
    return problem
