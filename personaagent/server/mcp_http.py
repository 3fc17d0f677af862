"""MCP over streamable HTTP: every request is its key's user's.

No session is kept between requests, so a key that is revoked is of no use from then on, and any
number of processes may answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from fastapi import APIRouter, FastAPI, Request
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Receive, Scope, Send

from personaagent.server.auth import Unchecked
from personaagent.server.mcp import Who, mcp_server, speaking_for
from personaagent.server.problems import Problem, problem
from personaagent.server.state import Service

PATH = "/mcp"


def mcp_router(service: Service, *, user: str | None = None, task: str | None = None) -> APIRouter:
    """What serves `/mcp`.

    Args:
        service: with memory, keys and the LM.
        user: whose memory it is where a key is for all users of its tenant, or there are no keys.
        task: as of `mcp_server`.
    """
    server = mcp_server(service.memory, lambda: service.lm, task=task)
    # Hosts and origins are looked at with the key (`auth`), as everywhere.
    anywhere = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    streaming = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        json_response=True,
        transport_security=anywhere,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        async with server.session_manager.run():
            yield

    router = APIRouter(lifespan=lifespan)
    router.add_route(PATH, _ByKey(streaming, service, user), include_in_schema=False)  # type: ignore[arg-type]
    return router


class _ByKey:
    """Finds out whose request it is before the protocol sees it."""

    def __init__(self, app: ASGIApp, service: Service, user: str | None) -> None:
        self.app = app
        self.service = service
        self.user = user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            who = await anyio.to_thread.run_sync(self._who, Request(scope))
        except Problem as refused:
            response = problem(refused.status, refused.detail, refused.headers)
            await response(scope, receive, send)
            return
        with speaking_for(who):
            await self.app(scope, receive, send)

    def _who(self, request: Request) -> Who:
        caller = Unchecked.of(self.service, request).checked()
        if self.user is None and caller.user is None:
            raise Problem(
                403,
                "MCP is for one user a connection: make a key for one with "
                "'personaagent keys add --user'",
            )
        stored = caller.stored(caller.user if self.user is None else self.user)
        return Who(stored, caller.shown(stored), caller.scopes)
