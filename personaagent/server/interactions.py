"""`/v1/interactions`: what a user really answered, added, listed, searched and deleted."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from personaagent.data import Interaction, Task
from personaagent.data.files import past
from personaagent.data.interaction import Signal
from personaagent.errors import DataError
from personaagent.memory import quarantine
from personaagent.server.auth import Caller, Reader, Serving, Writer
from personaagent.server.problems import Problem
from personaagent.server.state import Service

router = APIRouter(prefix="/v1/interactions", tags=["interactions"])

MOST = 1_000
"""Interactions in one request."""

User = Annotated[str | None, Query(description="Whose; a key for one user needs none.")]
TaskName = Annotated[str | None, Query(description="Needed where the user has several tasks.")]
RetryKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="Any text of yours that is the same when the same request is sent again.",
    ),
]


class Strict(BaseModel):
    """What a client sends: unknown fields are refused, so that a misspelled one is noticed."""

    model_config = ConfigDict(extra="forbid")


class Seen(Strict):
    """What was seen of the user's behaviour; it lowers the weight."""

    click: bool | None = None
    dwell: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    skip: bool | None = None
    edit: float | None = Field(default=None, ge=0, le=1)


class Given(Strict):
    """An interaction: a query, and what the user really answered or chose."""

    query: str = Field(min_length=1)
    response: str = Field(min_length=1)
    user: str | None = None
    task: str | None = None
    id: str | None = Field(default=None, min_length=1, max_length=200)
    time: Annotated[AwareDatetime, AfterValidator(past)] | None = None
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    source: str = Field(default="user", min_length=1, max_length=200)
    expires: AwareDatetime | None = None
    metadata: dict[str, str] = {}
    signal: Seen | None = None


class Remembered(BaseModel):
    """What became of the interactions: new and known ones, those that screening put aside, and
    those that stay away because they were erased."""

    ids: list[str]
    new: int
    known: int
    quarantined: int
    erased: int


class Shown(BaseModel):
    """An interaction as it is remembered."""

    id: str
    task: str
    query: str
    response: str
    time: datetime | None
    weight: float
    source: str
    expires: datetime | None
    metadata: dict[str, str]

    @classmethod
    def of(cls, one: Interaction) -> Shown:
        """The same without its user, whom the caller has named."""
        return cls(
            id=one.id,
            task=one.task,
            query=one.query,
            response=one.response,
            time=one.time,
            weight=one.weight,
            source=one.source,
            expires=one.expires,
            metadata=dict(one.metadata),
        )


class Page(BaseModel):
    """Some of a user's interactions, the latest first; `next` is the `before` of the next page."""

    interactions: list[Shown]
    next: str | None


class Found(BaseModel):
    """A memory that fits a query, with its score (its scale is the retriever's)."""

    score: float
    interaction: Shown


@router.post("", status_code=201)
def add(
    given: Given | Annotated[list[Given], Field(min_length=1, max_length=MOST)],
    service: Serving,
    caller: Writer,
    retry: RetryKey = None,
) -> Remembered:
    """Remember one interaction, or a list of them: all or none.

    Sending one again changes nothing where it has an `id` of yours, or the request an
    `Idempotency-Key`.
    """
    several = given if isinstance(given, list) else [given]
    made = [_interaction(service, caller, one, retry, at) for at, one in enumerate(several)]
    return remember(service, made)


def remember(service: Service, given: Sequence[Interaction]) -> Remembered:
    """Store interactions, and embed them, so that the next answer need not.

    Raises:
        Problem: an id is known with other content.
        DataError: an interaction breaks the contract.
    """
    stored = [_as_known(service, one) for one in given]
    added = service.memory.add(stored)
    return Remembered(
        ids=[one.id for one in stored],
        new=added.new,
        known=added.known,
        quarantined=added.quarantined,
        erased=added.erased,
    )


@router.get("")
def some(
    service: Serving,
    caller: Reader,
    user: User = None,
    task: TaskName = None,
    text: Annotated[str | None, Query(description="Only those that hold this text.")] = None,
    source: Annotated[str | None, Query(description="Only those of this source.")] = None,
    before: Annotated[str | None, Query(description="An id: only what came before it.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Page:
    """A user's interactions, the latest first."""
    memory = service.store.of(caller.stored(user))
    wanted = None if text is None else text.casefold()
    if wanted is None and source is None:
        found = memory.interactions(task, before_id=before, limit=limit + 1, include_expired=True)
    else:
        found = [
            one
            for one in memory.interactions(task, before_id=before, include_expired=True)
            if source in (None, one.source) and (wanted is None or _holds(one, wanted))
        ]
    page = found[::-1][:limit]
    more = len(found) > limit
    return Page(
        interactions=[Shown.of(one) for one in page], next=page[-1].id if more and page else None
    )


@router.get("/search")
def search(
    service: Serving,
    caller: Reader,
    query: Annotated[str, Query(min_length=1)],
    user: User = None,
    task: TaskName = None,
    k: Annotated[int, Query(ge=1, le=100)] = 4,
) -> list[Found]:
    """The memories of a user that fit a query best, best first."""
    stored = caller.stored(user)
    found = service.memory.recall(stored, query, k, task=task)
    return [Found(score=float(one.score), interaction=Shown.of(one.interaction)) for one in found]


class Aside(BaseModel):
    """An interaction that screening put aside, and why."""

    interaction: Shown
    reason: str
    created: datetime


@router.get("/quarantine")
def aside(service: Serving, caller: Reader, user: User = None) -> list[Aside]:
    """What screening put aside: nothing recalls it or learns from it."""
    found = quarantine.quarantined(service.store.of(caller.stored(user)))
    return [
        Aside(interaction=Shown.of(one.interaction), reason=one.reason, created=one.created)
        for one in found
    ]


class Release(Strict):
    """Which interaction is let into memory after all."""

    id: str
    user: str | None = None


@router.post("/quarantine/release")
def release(asked: Release, service: Serving, caller: Writer) -> Shown:
    """Let an interaction into memory: a person has looked at it."""
    memory = service.store.of(caller.stored(asked.user))
    if asked.id not in {one.interaction.id for one in quarantine.quarantined(memory)}:
        raise Problem(404, "there is nothing of this id in quarantine")
    return Shown.of(quarantine.release(memory, asked.id))


def _interaction(
    service: Service, caller: Caller, given: Given, retry: str | None, at: int
) -> Interaction:
    """What a client sent, as the store has it."""
    user = caller.stored(given.user)
    task = service.task_of(user, given.task)
    if given.time and given.expires and given.expires <= given.time:
        raise Problem(422, "expires: it is not after the time: the interaction was never valid")
    factor = 1.0 if given.signal is None else Signal(**given.signal.model_dump()).weight
    return Interaction(
        id=given.id or made_id(user, retry, at),
        user=user,
        task=task.name,
        query=given.query,
        response=_response(task, given.query, given.response),
        time=given.time,
        weight=given.weight * factor,
        source=given.source,
        expires=given.expires or task.expiry(given.time or datetime.now(UTC)),
        metadata=dict(given.metadata),
    )


def made_id(user: str, retry: str | None, at: int = 0) -> str:
    """An id for what has none: the same for a request that is sent again, else a new one."""
    if retry is None:
        return secrets.token_hex(12)
    return hashlib.sha256(f"{user}\0{at}\0{retry}".encode(errors="replace")).hexdigest()[:24]


def _as_known(service: Service, one: Interaction) -> Interaction:
    """An interaction without a time happened now, or when it was first sent."""
    if one.time is not None:
        return one
    known = service.store.of(one.user).get([one.id])
    if known:
        return replace(one, time=known[0].time, expires=known[0].expires)
    return replace(one, time=service.store.now())


def _response(task: Task, query: str, response: str) -> str:
    try:
        return task.answered(query, response)
    except DataError as error:
        raise Problem(422, f"response: {error}") from error


def _holds(one: Interaction, text: str) -> bool:
    texts: tuple[Any, ...] = (one.id, one.query, one.response, *one.metadata.values())
    return any(text in each.casefold() for each in texts)
