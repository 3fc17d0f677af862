"""`/v1/persona/edit` and `pin`, `/v1/waiting`: a person's word, which outranks replay."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from personaagent.data import Item, Persona, Task
from personaagent.memory import waiting
from personaagent.memory.waiting import Waiting
from personaagent.server.auth import Caller, Reader, Serving, Writer
from personaagent.server.interactions import Strict, User
from personaagent.server.personas import Entry, IfMatch, tags
from personaagent.server.problems import Problem
from personaagent.server.state import Service
from personaagent.service import editing, lineage

router = APIRouter(prefix="/v1", tags=["personas"])


class Whose(Strict):
    """Whose persona, and who speaks; `by` is kept in the history."""

    user: str | None = None
    task: str | None = None
    by: str = Field(min_length=1, max_length=200)


class NewItem(Strict):
    """Something that a person knows of the user."""

    text: str
    kind: str = "fact"
    topic: str = ""
    reach: str = ""


class Edit(Whose):
    """What a person changes: texts of directives and items by number (from 1 on), new ones, those
    that go, the profile. Unless `pin` is false, no alignment changes what is written here; items
    that a person wrote always stay."""

    profile: str | None = None
    texts: dict[int, str] = Field(default={})
    add: list[str] = Field(default=[], max_length=100)
    drop: list[int] = Field(default=[], max_length=1_000)
    items: dict[int, str] = Field(default={})
    add_items: list[NewItem] = Field(default=[], max_length=100)
    drop_items: list[int] = Field(default=[], max_length=1_000)
    pin: bool = True


class Pins(Whose):
    """What no alignment may change from now on, or (`pinned` false) may again."""

    directives: list[int] = Field(default=[], max_length=1_000)
    profile: bool = False
    pinned: bool = True


class Decision(Whose):
    """What waits and is decided on; with `hash` only the persona that the person has seen."""

    hash: str | None = None


class Changing(BaseModel):
    """A past query that would be answered differently."""

    id: str
    before: str
    after: str


class Candidate(BaseModel):
    """A persona that waits for a person, what it would change, and until when."""

    user: str
    task: str
    hash: str
    over: str | None
    reason: str
    created: datetime
    expires: datetime
    stale: bool
    system: str
    items: list[dict[str, object]]
    directives: list[dict[str, object]]
    answers: list[Changing]


@router.post("/persona/edit")
def edit(
    given: Edit, service: Serving, caller: Writer, response: Response, if_match: IfMatch = None
) -> Entry:
    """Write into a persona: its next version, with its author."""
    user, task = _whose(service, caller, given)
    now = editing.edit(
        service.store,
        user,
        task,
        given.by,
        profile=given.profile,
        texts=given.texts,
        add=given.add,
        drop=given.drop,
        items=given.items,
        add_items=[Item(one.kind, one.text, one.topic, one.reach) for one in given.add_items],
        drop_items=given.drop_items,
        pin=given.pin,
        expected=_seen(if_match),
    )
    return _published(service, response, now)


@router.post("/persona/pin")
def pin(
    given: Pins, service: Serving, caller: Writer, response: Response, if_match: IfMatch = None
) -> Entry:
    """Pin directives and the profile, or let them go."""
    user, task = _whose(service, caller, given)
    now = editing.set_pins(
        service.store,
        user,
        task,
        given.by,
        directives=given.directives,
        profile=given.profile,
        pinned=given.pinned,
        expected=_seen(if_match),
    )
    return _published(service, response, now)


@router.get("/waiting")
def all_waiting(service: Serving, caller: Reader, user: User = None) -> list[Candidate]:
    """What waits for approval, of all users that the caller reaches, the oldest first."""
    only = None if user is None else caller.stored(user)
    found = []
    for name, task in waiting.users_waiting(service.store):
        if not caller.reaches(name) or only not in (None, name):
            continue
        memory = service.store.of(name)
        champion = memory.persona(task)
        found += [_candidate(caller, champion, one) for one in waiting.waiting_of(memory, task)]
    return found


@router.post("/waiting/approve")
def approve(given: Decision, service: Serving, caller: Writer, response: Response) -> Entry:
    """Publish what waits."""
    user, task = _whose(service, caller, given)
    memory = service.store.of(user)
    _refuse_nothing(service, user, task)
    now = waiting.approve(memory, task.name, given.by, hash=given.hash)
    return _published(service, response, now)


@router.post("/waiting/reject", status_code=204)
def reject(given: Decision, service: Serving, caller: Writer) -> None:
    """Drop what waits; the same text waits no second time."""
    user, task = _whose(service, caller, given)
    _refuse_nothing(service, user, task)
    waiting.reject(service.store.of(user), task.name, given.by, hash=given.hash)


def _whose(service: Service, caller: Caller, given: Whose) -> tuple[str, Task]:
    user = caller.stored(given.user)
    return user, service.task_of(user, given.task)


def _refuse_nothing(service: Service, user: str, task: Task) -> None:
    if not waiting.waiting_of(service.store.of(user), task.name):
        raise Problem(404, "nothing of this user and task waits for approval")


def _seen(if_match: str | None) -> str | None:
    """The hash that a person has seen, where the request names one."""
    return None if if_match is None else next(iter(tags(if_match)))


def _published(service: Service, response: Response, now: Persona) -> Entry:
    response.headers["ETag"] = f'"{now.hash}"'
    return Entry.of(service.store.of(now.user).history(now.task)[now.version])


def _candidate(caller: Caller, champion: Persona | None, one: Waiting) -> Candidate:
    said = one.persona
    return Candidate(
        user=caller.shown(said.user),
        task=said.task,
        hash=said.hash,
        over=one.over,
        reason=one.reason,
        created=one.created,
        expires=one.expires,
        stale=one.stale,
        system=said.render(),
        items=lineage.item_edits(champion, said),
        directives=lineage.edits(champion, said),
        answers=[Changing(id=a.id, before=a.before, after=a.after) for a in one.answers],
    )
