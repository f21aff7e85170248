"""Errors of the API as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

PROBLEM_JSON = "application/problem+json"
_ERRORS_MAX = 20


class InvalidParameter(BaseModel):
    """One parameter that was refused."""

    parameter: str = Field(examples=["guests"])
    reason: str = Field(examples=["Input should be greater than or equal to 1"])


class Problem(BaseModel):
    """What went wrong, in the shape of RFC 9457."""

    type: str = Field("about:blank", description="A URI naming the kind of problem.")
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str | None = Field(None, examples=["There is no venue 99999."])
    instance: str | None = Field(None, description="The path that was asked for.")
    errors: list[InvalidParameter] | None = Field(
        None, description="Every parameter that was refused; only with status 422."
    )
    write: str | None = Field(
        None,
        description="What became of a write that was not acknowledged: `refused`, nothing of it "
        "was done; `stored`, it will be seen; `unknown`.",
    )


def is_api(request: Request) -> bool:
    """Whether ``request`` is answered with JSON whatever happens."""
    return str(request.scope["path"]).startswith("/api/")


def problem_response(
    request: Request,
    status: int,
    detail: str | None = None,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem about ``status``; ``detail`` says in one sentence what would be right.

    ``extra`` are members of this kind of problem alone (RFC 9457 section 3.2).
    """
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.scope["path"],
        "errors": list(errors) or None,
        **(extra or {}),
    }
    body = json.dumps({name: value for name, value in content.items() if value is not None})
    all_headers = {**(headers or {}), "Cache-Control": "no-store"}
    return Response(body, status, all_headers, PROBLEM_JSON)


def describe_problems(app: FastAPI) -> None:
    """Make the schema of ``app`` state problems under their own media type.

    FastAPI files every model under ``application/json``.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["operator"] = {"type": "http", "scheme": "bearer"}
        for operations in schema["paths"].values():
            for operation in operations.values():
                for status, response in operation["responses"].items():
                    content = response.get("content", {})
                    if status >= "400" and "application/json" in content:
                        content[PROBLEM_JSON] = content.pop("application/json")
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


async def on_invalid_request(request: Request, error: Exception) -> Response:
    """Answer parameters that FastAPI refused: 422 naming each and the reason."""
    assert isinstance(error, RequestValidationError)
    errors = [
        {"parameter": str(entry["loc"][-1]), "reason": str(entry["msg"])}
        for entry in error.errors()[:_ERRORS_MAX]
    ]
    names = ", ".join(sorted({entry["parameter"] for entry in errors}))
    return problem_response(request, 422, f"Refused: {names}.", errors=errors)
