"""Templates to responses: with the headers that a page of ours has, also where something fails."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import cache
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import URL

from personaagent.errors import PersonaAgentError
from personaagent.server.page.session import LoginNeeded, Visitor, keep
from personaagent.server.problems import Problem, detail_of, log_error, status_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("personaagent.server.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["moment"] = _moment
    return made


def render(
    request: Request, name: str, visitor: Visitor | None, *, status: int = 200, **said: Any
) -> HTMLResponse:
    """A template as a response."""
    text = _templates().get_template(name).render(visitor=visitor, **said)
    response = HTMLResponse(text, status)
    if visitor is not None and visitor.fresh:
        keep(request, response, visitor.cookie)
    return response


def back_to(path: str, **query: str | None) -> RedirectResponse:
    """After a form: look at what came of it."""
    said = {name: value for name, value in query.items() if value}
    return RedirectResponse(str(URL(path).include_query_params(**said)), 303)


class PageRoute(APIRoute):
    """Errors as pages, a login where one is needed, and a strict policy on everything."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        whole = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                response = await whole(request)
            except LoginNeeded:
                response = RedirectResponse("/page/login", 303)
            except Problem as problem:
                response = _failed(request, problem.status, problem.detail)
                response.headers.update(problem.headers)
            except PersonaAgentError as error:
                if status_of(error) >= 500:
                    log_error(error)
                response = _failed(request, status_of(error), detail_of(request, error))
            response.headers["Content-Security-Policy"] = POLICY
            # With "no-referrer" browsers send forms with the origin "null", as other sites' are.
            response.headers["Referrer-Policy"] = "same-origin"
            return response

        return handled


def _failed(request: Request, status: int, detail: str) -> Response:
    return render(request, "problem.html", None, status=status, detail=detail, code=status)


def _moment(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M}" if when else "no time"
