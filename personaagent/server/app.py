"""The app: routers, limits, headers, errors and the log, and a lifespan that closes cleanly."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio
import httpx
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from personaagent.errors import StoreError
from personaagent.server import (
    alignments,
    answers,
    approval,
    chat,
    health,
    interactions,
    personas,
    users,
    webhooks,
)
from personaagent.server.limits import BoundedBody
from personaagent.server.page import router as page
from personaagent.server.problems import handle_errors, log_error, problem
from personaagent.server.settings import Settings
from personaagent.server.state import Service

if TYPE_CHECKING:
    from personaagent.lm import PersonaLM
    from personaagent.memory import EpisodicMemory

log = logging.getLogger("personaagent.server")

_ABOUT = """Personas, memory and answers of the users of an application.

Every call takes a key (`Authorization: Bearer pa_...`), unless the store has none. Errors are
`application/problem+json`. A key for one user needs no `user` in its calls.
"""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def create_app(memory: EpisodicMemory, lm: PersonaLM, settings: Settings | None = None) -> FastAPI:
    """The service over a memory, as an ASGI app.

    Args:
        memory: with the users' interactions and personas; its store is closed with the app.
        lm: the one that answers.
        settings: limits and the like.
    """
    settings = settings or Settings()
    service = Service(memory, lm, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        try:
            with memory.watching():
                async with httpx.AsyncClient() as client, anyio.create_task_group() as beside:
                    beside.start_soon(webhooks.deliver, service, client)
                    beside.start_soon(_tidy, service)
                    yield
                    beside.cancel_scope.cancel()
        finally:
            service.store.close()

    app = FastAPI(
        title="PersonaAgent",
        version=version("personaagent"),
        description=_ABOUT,
        lifespan=lifespan,
    )
    app.state.service = service
    handle_errors(app)
    for room in (
        health,
        interactions,
        answers,
        chat,
        personas,
        approval,
        alignments,
        users,
        webhooks,
    ):
        app.include_router(room.router)
    app.include_router(page)
    if find_spec("mcp"):
        from personaagent.server.mcp_http import mcp_router

        app.include_router(mcp_router(service))
    # The last one that is added is the first that sees a request.
    app.add_middleware(BoundedBody, most=settings.body, patience=settings.patience)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match"],
            expose_headers=["ETag", "X-Request-Id"],
        )
    app.add_middleware(_Observed, service=service)
    return app


async def _tidy(service: Service) -> None:
    """Drop the answers that are too old for feedback, now and every hour."""
    while True:
        before = service.store.now() - service.settings.keep_answers
        try:
            await anyio.to_thread.run_sync(answers.drop_old, service.store, before)
        except StoreError as error:  # read-only, or away for now
            log_error(error)
        await anyio.sleep(3_600)


class _Observed:
    """Gives every response its headers, counts it, and writes a line about it.

    The line has the route and not the path, and an id that the server made: nothing in the log is
    a client's text.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, id, started_answer = time.perf_counter(), secrets.token_hex(8), False

        async def answered(message: Message) -> None:
            nonlocal started_answer
            if message["type"] == "http.response.start":
                started_answer = True
                headers = MutableHeaders(scope=message)
                for name, value in {**_HEADERS, "X-Request-Id": id}.items():
                    headers.setdefault(name, value)
                self._count(scope, message["status"], started, id)
            await send(message)

        try:
            await self.app(scope, receive, answered)
        except Exception as error:
            # Whoever else would log it would quote it.
            log_error(error)
            if not started_answer:
                failed = problem(500, "the server failed on this request; its log says where")
                await failed(scope, receive, answered)

    def _count(self, scope: Scope, status: int, started: float, id: str) -> None:
        seconds = time.perf_counter() - started
        known = getattr(scope.get("route"), "path", "(no route)")
        method = scope["method"] if scope["method"] in _METHODS else "(other)"
        self.service.metrics.request(method, known, status, seconds)
        log.info("%s %s %d %.1f ms %s", method, known, status, seconds * 1_000, id)


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
