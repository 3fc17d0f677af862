"""What a request is refused with: one form for every error (RFC 9457), and no text of a user.

Texts of errors are for the caller alone, whose data they may quote. The log gets the kind of error
and where it arose.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from personaagent.errors import (
    BudgetError,
    ConflictError,
    DataError,
    EmbeddingError,
    LMError,
    PersonaAgentError,
    StoreError,
)
from personaagent.server import tenants

log = logging.getLogger("personaagent.server")

MEDIA = "application/problem+json"
_STATUS: tuple[tuple[type[PersonaAgentError], int], ...] = (
    (ConflictError, 409),
    (DataError, 422),
    (BudgetError, 503),
    (LMError, 502),
    (EmbeddingError, 502),
    (StoreError, 503),
    (PersonaAgentError, 500),
)


class Problem(Exception):
    """A request that is refused; the detail is read by people."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """The response that says what is wrong."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, headers=dict(headers or {}), media_type=MEDIA)


def status_of(error: PersonaAgentError) -> int:
    """The HTTP status of one of our errors."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def detail_of(request: Request, error: PersonaAgentError) -> str:
    """What the error says, in the caller's own names: no tenant, no path or address of ours."""
    if isinstance(error, EmbeddingError):
        return "the embedding model cannot be asked now"
    said = tenants.told(getattr(request.state, "tenant", ""), str(error))
    service = request.app.state.service
    return said.replace(service.store.name, "the store")


def handle_errors(app: FastAPI) -> None:
    """Have every error of the app answered in this form."""

    @app.exception_handler(Problem)
    async def refused(request: Request, error: Problem) -> JSONResponse:
        del request
        return problem(error.status, error.detail, error.headers)

    @app.exception_handler(PersonaAgentError)
    async def failed(request: Request, error: PersonaAgentError) -> JSONResponse:
        status = status_of(error)
        if status >= 500:
            log_error(error)
        return problem(status, detail_of(request, error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        fields = [
            {"at": ".".join(str(part) for part in one["loc"]), "problem": one["msg"]}
            for one in error.errors()
        ]
        first = fields[0] if fields else {"at": "body", "problem": "it cannot be read"}
        return problem(422, f"{first['at']}: {first['problem']}", fields=fields)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        del request
        return problem(error.status_code, str(error.detail), error.headers)


def log_error(error: BaseException) -> None:
    """The kind of an error and the lines that led to it; not what it says, which may quote."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    where = " < ".join(
        f"{one.filename.rpartition('/')[2]}:{one.lineno}" for one in reversed(frames)
    )
    log.error("%s at %s", type(error).__name__, where)
