"""`/healthz`, `/readyz` and `/metrics`: for whoever watches over the server."""

from __future__ import annotations

import sqlalchemy as sa
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from personaagent.errors import StoreError
from personaagent.memory.schema import meta
from personaagent.server.auth import Operator, Serving
from personaagent.server.problems import Problem

router = APIRouter(tags=["health"])


@router.get("/healthz", response_class=PlainTextResponse)
async def alive() -> str:
    """Whether the process is alive; it asks nothing of the database or the LM."""
    return "ok"


@router.get("/readyz", response_class=PlainTextResponse)
def ready(service: Serving) -> str:
    """Whether requests can be served: the database answers."""
    try:
        with service.store.database.glance() as connection:
            connection.execute(sa.select(meta.c.key).limit(1)).all()
    except StoreError:
        raise Problem(503, "the database does not answer") from None
    return "ready"


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(service: Serving, caller: Operator) -> Response:
    """Requests and LM calls, as Prometheus reads them; it takes the operator's key."""
    del caller
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
