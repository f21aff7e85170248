"""PATCH of a listing: its rules (RFC 5789, 7396, 6750, 9110), on one process without a bus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from site_process import UVICORN, free_port, port_answers, running, seeded_database, wait_for

TOKEN = "a token of 32 characters or more"
MERGE_PATCH = "application/merge-patch+json"
FIELDS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": MERGE_PATCH}
PATH = "/api/v1/venues/1"


@pytest.fixture(scope="module")
def edited_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A site with a database of its own, and an operator's token."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [UVICORN, "weddinglk.app:app", "--host", "127.0.0.1", "--port", str(port)]
    with seeded_database(tmp_path_factory.mktemp("database")) as database_url:
        settings = {"WEDDINGLK_DATABASE_URL": database_url, "WEDDINGLK_OPERATOR_TOKEN": TOKEN}
        log = tmp_path_factory.mktemp("site") / "site.log"
        with running([*command, "--loop", "uvloop", "--http", "httptools"], log, settings):
            wait_for(lambda: port_answers(port) and httpx.get(f"{url}/healthz").is_success, "it")
            with httpx.Client(base_url=url, timeout=10.0) as client:
                yield client


def patch(site: httpx.Client, content: object, path: str = PATH, **fields: str) -> httpx.Response:
    """Send a merge patch; ``content`` is JSON unless it is bytes."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return site.patch(path, content=body, headers=FIELDS | named)


@pytest.mark.parametrize(
    ("fields", "status", "challenge"),
    [
        ({}, 401, 'Bearer realm="weddinglk"'),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, 401, 'Bearer realm="weddinglk"'),
        ({"Authorization": TOKEN}, 401, 'Bearer realm="weddinglk"'),
        ({"Authorization": "Bearer"}, 401, 'Bearer realm="weddinglk", error="invalid_token"'),
        ({"Authorization": "Bearer x"}, 401, 'Bearer realm="weddinglk", error="invalid_token"'),
        (
            {"Authorization": "Bearer caf\u00e9".encode("latin-1")},
            401,
            'Bearer realm="weddinglk", error="invalid_token"',
        ),
        ({"Authorization": f"bearer {TOKEN}"}, 200, None),
    ],
)
def test_only_the_operator_edits(
    edited_site: httpx.Client, fields: dict[str, Any], status: int, challenge: str | None
) -> None:
    """RFC 6750 section 3, RFC 9110 section 11.6.1; whoever is refused learns nothing else."""
    response = edited_site.patch(
        PATH, content=b"{}", headers=fields | {"Content-Type": MERGE_PATCH}
    )
    assert (response.status_code, response.headers.get("www-authenticate")) == (status, challenge)
    if status == 401:
        assert response.headers["content-type"] == "application/problem+json"
        refused = edited_site.patch("/api/v1/venues/999999", content=b"?", headers=fields)
        assert refused.status_code == 401


@pytest.mark.parametrize(
    ("content_type", "field", "value"),
    [
        ("application/json", "accept-patch", MERGE_PATCH),
        ("application/json-patch+json", "accept-patch", MERGE_PATCH),
        ("", "accept-patch", MERGE_PATCH),
    ],
)
def test_other_types_are_refused(
    edited_site: httpx.Client, content_type: str, field: str, value: str
) -> None:
    """RFC 5789 section 2.2: 415 says what would be taken."""
    response = patch(edited_site, {}, Content_Type=content_type)
    assert (response.status_code, response.headers[field]) == (415, value)
    coded = patch(edited_site, {}, Content_Encoding="gzip")
    assert (coded.status_code, coded.headers["accept-encoding"]) == (415, "identity")
    named = patch(edited_site, {}, Content_Type=f"{MERGE_PATCH.upper()}; charset=utf-8")
    assert named.status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"name": NaN}', b'{"name": "a", "name": "b"}', b"[" * 60_000],
)
def test_no_json_is_no_patch(edited_site: httpx.Client, body: bytes) -> None:
    """RFC 8259: what readers would read differently is not read at all."""
    response = patch(edited_site, body)
    assert response.status_code == 400
    assert response.json()["detail"].startswith("The body is no JSON: ")


@pytest.mark.parametrize(
    ("path", "content", "refused"),
    [
        (PATH, [], ["body"]),
        (PATH, "text", ["body"]),
        (PATH, {"owner": 1, "rating": 5, "_id": 7}, ["owner", "rating", "_id"]),
        (PATH, {"tagline": None}, ["tagline"]),
        (PATH, {"tagline": "English only"}, ["tagline"]),
        (PATH, {"tagline": {"fr": "Bonjour", "en": "Good"}}, ["tagline.fr"]),
        (PATH, {"tagline": {"en": None, "si": 7, "ta": " "}},
         ["tagline.en", "tagline.si", "tagline.ta"]),
        (PATH, {"tagline": {"en": "x" * 201}}, ["tagline.en"]),
        (PATH, {"tagline": {"en": "two\nlines"}}, ["tagline.en"]),
        (PATH, {"tagline": {"en": "\ud83d"}}, ["tagline.en"]),
        (PATH, {"description": {"en": "a\x00b"}}, ["description.en"]),
        (PATH, {"name": ""}, ["name"]),
        (PATH, {"name": ["x"]}, ["name"]),
        (PATH, {"guests_max": True, "guests_min": "5"}, ["guests_max", "guests_min"]),
        (PATH, {"guests_min": 500, "guests_max": 400}, ["guests_min"]),
        (PATH, {"guests_max": 1e400}, ["guests_max"]),
        (PATH, {"facilities": ["wifi", "helipad"]}, ["facilities"]),
        (PATH, {"facilities": "wifi"}, ["facilities"]),
        (PATH, {"setting": "underwater"}, ["setting"]),
        (PATH, {"setting": {"a": 1}}, ["setting"]),
        ("/api/v1/vendors/1", {"guests_max": 5}, ["guests_max"]),
        ("/api/v1/vendors/1", {"languages": []}, ["languages"]),
        ("/api/v1/vendors/1", {"years_in_business": -1}, ["years_in_business"]),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_named(
    edited_site: httpx.Client, path: str, content: object, refused: list[str]
) -> None:
    """Every member that is wrong is named, with what would be right; nothing is written."""
    before = edited_site.get(path).text
    body = json.dumps(content).replace("Infinity", "1e400").encode()
    response = patch(edited_site, body, path)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert [entry["parameter"] for entry in response.json()["errors"]] == refused
    assert all(entry["reason"] for entry in response.json()["errors"])
    assert edited_site.get(path).text == before


def test_what_is_too_long_or_not_there(edited_site: httpx.Client) -> None:
    assert patch(edited_site, b" " * 70_000).status_code == 413
    missing = patch(edited_site, {"name": "Nobody"}, "/api/v1/venues/999999")
    assert (missing.status_code, missing.json()["detail"]) == (404, "There is no venue 999999.")
    assert patch(edited_site, {}, "/api/v1/venues/x").status_code == 422


def test_one_language_changes_alone(edited_site: httpx.Client) -> None:
    """RFC 7396: what a patch does not name stays; the answer is what GET answers from now on."""
    before = {code: edited_site.get(f"{PATH}?lang={code}").json() for code in ("en", "si", "ta")}
    answer = patch(edited_site, {"tagline": {"ta": "கடலோரத்தில் திருமணம்"}}, f"{PATH}?lang=ta")
    assert answer.status_code == 200, answer.text
    assert float(answer.headers["poruwa-acknowledged"]) >= 0
    assert (answer.headers["content-language"], answer.headers["content-location"]) == ("ta", PATH)
    now = {code: edited_site.get(f"{PATH}?lang={code}") for code in ("en", "si", "ta")}
    assert now["ta"].content == answer.content
    assert now["ta"].headers["etag"] == answer.headers["etag"]
    assert now["en"].json() == before["en"]
    assert now["si"].json() == before["si"]
    assert now["ta"].json() == before["ta"] | {"tagline": "கடலோரத்தில் திருமணம்"}


def test_what_is_so_already_is_acknowledged_all_the_same(edited_site: httpx.Client) -> None:
    """It may be the second try of a write that was stored, but of which not every cache knew."""
    text = edited_site.get(PATH).json()["tagline"]
    answer = patch(edited_site, {"tagline": {"en": text}})
    assert (answer.status_code, answer.json()["tagline"]) == (200, text)
    assert float(answer.headers["poruwa-acknowledged"]) >= 0
    nothing = patch(edited_site, {})
    assert (nothing.status_code, nothing.content) == (200, answer.content)
    assert "poruwa-acknowledged" not in nothing.headers


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("*", 200), ("{etag}", 200), ('"other", {etag}', 200), ("{variant}", 200),
        ('"other"', 412), ("W/{etag}", 412), ("", 412), ("{tamil}", 412),
    ],
)  # fmt: skip
def test_a_lost_update_is_refused(edited_site: httpx.Client, condition: str, status: int) -> None:
    """RFC 9110 section 13.1.1: strong comparison, with what GET answers in the same language."""
    etag = edited_site.get(PATH).headers["etag"]
    tamil = edited_site.get(f"{PATH}?lang=ta").headers["etag"]
    named = condition.format(etag=etag, variant=f'{etag[:-1]}-br"', tamil=tamil)
    wanted = f"{condition} as of {etag}"[:100]
    response = patch(edited_site, {"tagline": {"en": wanted}}, If_Match=named)
    assert response.status_code == status, response.text
    assert (edited_site.get(PATH).json()["tagline"] == wanted) == (status == 200)


@pytest.mark.parametrize("language", ["en", "si", "ta"])
def test_a_change_shows_everywhere_at_once(edited_site: httpx.Client, language: str) -> None:
    """The next read after the answer: page, cards, search and API; the other listings are kept."""
    venue = edited_site.get(PATH).json()
    district = venue["district"]["id"]
    places = [
        f"/{language}/venues/1", f"/{language}/venues?district={district}",
        f"/{language}/compare?venue=1&venue=2",
        f"/api/v1/venues?district={district}&lang={language}",
        f"{PATH}?lang={language}", f"/{language}/search?q={venue['name']}",
        f"/api/v1/search?q={venue['name']}&lang={language}",
    ]  # fmt: skip
    for round_number in range(3):
        for place in places:
            edited_site.get(place)  # whatever can be kept is
        word = f"{language}zq{'abc'[round_number]}xk"
        tagline = f"{word} veil"
        answer = patch(edited_site, {"tagline": {language: tagline}})
        assert answer.status_code == 200
        for place in places:
            assert tagline in edited_site.get(place).text, place
        found = edited_site.get(f"/api/v1/search?q={word}&lang={language}").json()
        assert [hit["venue"]["id"] for hit in found["items"]] == [1]
        assert found["suggestion"] is None
    gone = edited_site.get(f"/api/v1/search?q={language}zqaxk&lang={language}").json()
    assert gone["suggestion"] != f"{language}zqaxk"


def test_filters_and_orders_follow(edited_site: httpx.Client) -> None:
    """What decides where a venue is listed changes the lists, not only its card."""
    largest = "/api/v1/venues?sort=guests&per_page=1"
    before = edited_site.get(largest).json()["items"][0]["id"]
    number = 2 if before != 2 else 3
    path = f"/api/v1/venues/{number}"
    assert (
        patch(edited_site, {"guests_max": 9_999, "facilities": ["wifi"]}, path).status_code == 200
    )
    assert edited_site.get(largest).json()["items"][0]["id"] == number
    found = edited_site.get("/api/v1/venues?guests=9999").json()
    assert [item["id"] for item in found["items"]] == [number]
    page = edited_site.get(f"/en/venues/{number}").text
    assert "9,999" in page


def test_a_vendor_is_edited_alike(edited_site: httpx.Client) -> None:
    path = "/api/v1/vendors/1"
    vendor = edited_site.get(path).json()
    answer = patch(
        edited_site, {"tagline": {"en": "Sweetest hours"}, "languages": ["ta", "en"]}, path
    )
    assert answer.status_code == 200
    assert answer.json()["languages"] == ["en", "ta"]
    for place in (f"/en/vendors/{vendor['category']}/1", f"/en/vendors/{vendor['category']}"):
        assert "Sweetest hours" in edited_site.get(place).text


def test_the_schema_tells_how(edited_site: httpx.Client) -> None:
    operation = edited_site.get("/api/v1/openapi.json").json()["paths"]["/api/v1/venues/{venue_id}"]
    content = operation["patch"]["requestBody"]["content"]
    assert set(content) == {MERGE_PATCH}
    assert content[MERGE_PATCH]["schema"]["properties"]["tagline"]["additionalProperties"] is False
    assert operation["patch"]["security"] == [{"operator": []}]


def test_without_a_token_nobody_edits(site: httpx.Client) -> None:
    response = patch(site, {"name": "Mine now"})
    assert response.status_code == 403
    assert "WEDDINGLK_OPERATOR_TOKEN" in response.json()["detail"]
