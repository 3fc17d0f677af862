"""`/v1/alignments`: alignments are queued here, and done by workers beside the server.

Progress is read from the store, so it is the same whoever does the work, on this machine or
another.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import anyio
import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from personaagent.memory.encoding import microseconds
from personaagent.memory.queue import Job, Queue
from personaagent.memory.schema import journal
from personaagent.server import answers, tenants
from personaagent.server.auth import Caller, Reader, Serving, Writer
from personaagent.server.interactions import Strict, TaskName, User
from personaagent.server.problems import Problem
from personaagent.server.state import Service

router = APIRouter(prefix="/v1/alignments", tags=["alignments"])

EVERY = 1.0
"""Seconds between looks at a job."""

_ALIVE = 15  # looks after which a comment keeps the connection open
_LONGEST = 3_600  # looks; a client may ask again


class Wanted(Strict):
    """Whose persona is to be aligned."""

    user: str | None = None
    task: str | None = None


class Due(BaseModel):
    """An alignment that is due: `state` is waiting, running, interrupted or failed."""

    user: str
    task: str
    state: str
    trigger: str
    created: datetime
    due: datetime
    attempts: int
    problem: str | None


@router.post("", status_code=202)
def queue(wanted: Wanted, service: Serving, caller: Writer) -> Due:
    """Queue an alignment; where there is one already, that one."""
    user = caller.stored(wanted.user)
    task = service.task_of(user, wanted.task)
    if not service.store.of(user).count(task.name):
        raise Problem(422, "there is nothing to learn from: add interactions first")
    jobs = Queue(service.store)
    jobs.add(user, task.name, "request")
    job = _job(service, user, task.name)
    if job is None:  # a worker was quicker
        now = service.store.now()
        job = Job(user, task.name, "request", now, now, 0, None, None, "")
    return _due(service, job, caller)


@router.get("")
def all_due(service: Serving, caller: Reader, user: User = None) -> list[Due]:
    """The alignments that are due or under way, of all users that the caller reaches."""
    only = None if user is None else caller.stored(user)
    return [
        _due(service, job, caller)
        for job in Queue(service.store).jobs()
        if caller.reaches(job.user) and only in (None, job.user)
    ]


@router.get("/events")
def events(
    request: Request, service: Serving, caller: Reader, user: User = None, task: TaskName = None
) -> StreamingResponse:
    """The progress of one alignment, as server-sent events, until it ends.

    `waiting`, `running` (with the pieces of work done so far), `interrupted` and `failed` come as
    they change; `published` or `kept` is the last one, and comes at once where nothing is due.
    """
    stored = caller.stored(user)
    kind = service.task_of(stored, task)
    stream = _events(request, service, stored, kind.name, caller)
    return StreamingResponse(stream, media_type="text/event-stream")


async def _events(
    request: Request, service: Service, user: str, task: str, caller: Caller
) -> AsyncIterator[str]:
    before, last = await anyio.to_thread.run_sync(_champion, service, user, task), None
    for look in range(_LONGEST):
        name, said = await anyio.to_thread.run_sync(_state, service, user, task, before)
        if (name, said) != last:
            last = name, said
            data = tenants.told(caller.tenant, json.dumps(said))
            yield f"event: {name}\ndata: {data}\n\n"
        elif look % _ALIVE == 0:
            yield ": still there\n\n"
        if name in ("published", "kept", "failed"):
            return
        await anyio.sleep(EVERY)
        if await request.is_disconnected():
            return


def _state(
    service: Service, user: str, task: str, before: str | None
) -> tuple[str, dict[str, Any]]:
    """What there is to say of a job now, as an event and its data."""
    job = _job(service, user, task)
    if job is None:
        champion = service.store.of(user).persona(task)
        said = {"version": champion.version, "hash": champion.hash} if champion else {}
        return ("kept" if before == said.get("hash") else "published"), said
    state = job.state(service.store.now())
    if state == "failed":
        return state, {"attempts": job.attempts, "problem": job.problem}
    if state != "running":
        return state, {"attempts": job.attempts}
    return state, {"attempts": job.attempts, "done": _done(service, job)}


def _done(service: Service, job: Job) -> int:
    """How many pieces of work have been finished since a job was there."""
    since = sa.and_(journal.c.user == job.user, journal.c.created >= microseconds(job.created))
    count = (
        sa.select(sa.func.count()).select_from(journal).where(since, journal.c.run != answers.RUN)
    )
    with service.store.database.glance() as connection:
        return connection.scalar(count) or 0


def _champion(service: Service, user: str, task: str) -> str | None:
    champion = service.store.of(user).persona(task)
    return champion.hash if champion else None


def _job(service: Service, user: str, task: str) -> Job | None:
    jobs = Queue(service.store).jobs()
    return next((one for one in jobs if (one.user, one.task) == (user, task)), None)


def _due(service: Service, job: Job, caller: Caller) -> Due:
    return Due(
        user=caller.shown(job.user),
        task=job.task,
        state=job.state(service.store.now()),
        trigger=job.trigger,
        created=job.created,
        due=job.due,
        attempts=job.attempts,
        problem=tenants.told(caller.tenant, job.problem) or None,
    )
