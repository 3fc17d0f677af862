"""`/v1/persona`: what a user's agent is told, why, since when, and the way back.

An ETag is a persona's hash: who has read a version can ask whether it still holds, and roll back
over nothing but what was read.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel

from personaagent.data import Directive, Interaction, Item, Persona, Task
from personaagent.data.items import by_use
from personaagent.errors import DataError
from personaagent.memory import Published
from personaagent.server.auth import Caller, Reader, Serving, Writer
from personaagent.server.interactions import Shown, Strict, TaskName, User
from personaagent.server.problems import Problem
from personaagent.server.state import Service
from personaagent.service import lineage, publish

router = APIRouter(prefix="/v1/persona", tags=["personas"])

Number = Annotated[int | None, Query(ge=0, description="By default the published one.")]
IfMatch = Annotated[str | None, Header(description="The ETag that was read.")]


class Rule(BaseModel):
    """A directive, with how many interactions speak for and against it."""

    text: str
    cue: str
    reach: float
    support: list[str]
    oppose: list[str]


class Known(BaseModel):
    """An item: one thing that is known of the user, with the interactions for and against it.

    `number` is what an edit names it by; `author` the person who wrote it, empty where it was
    learned; `contradicted`, that more speaks against it than for it."""

    number: int
    kind: str
    text: str
    topic: str
    reach: str
    support: list[str]
    oppose: list[str]
    last: datetime | None
    sensitive: str
    author: str
    contradicted: bool

    @classmethod
    def of(cls, number: int, one: Item) -> Known:
        """What is told of an item."""
        return cls(number=number, contradicted=one.contradicted, **asdict(one))


class Shape(BaseModel):
    """A version of a persona; `system` is the system message that it makes."""

    task: str
    version: int
    hash: str
    parent: str | None
    created: datetime
    reason: str
    profile: str
    items: list[Known]
    directives: list[Rule]
    actions: list[dict[str, Any]] | None
    trust: dict[str, Any]
    system: str


class Entry(BaseModel):
    """A version in the history; an erased one has lost its text and keeps its place."""

    version: int
    hash: str
    parent: str | None
    created: datetime
    reason: str
    erased: bool
    items: int | None
    directives: int | None

    @classmethod
    def of(cls, one: Published) -> Entry:
        """What the history tells of a version."""
        return cls(
            version=one.version,
            hash=one.hash,
            parent=one.parent,
            created=one.created,
            reason=one.reason,
            erased=one.persona is None,
            items=len(one.persona.items) if one.persona else None,
            directives=len(one.persona.directives) if one.persona else None,
        )


class Changes(BaseModel):
    """What changed from one version to another; `before` is None for the first."""

    before: int | None
    after: int
    profile: tuple[str, str] | None
    items: list[dict[str, Any]]
    directives: list[dict[str, Any]]


class Origin(BaseModel):
    """Where an item or a directive comes from: the interactions for and against it, the version
    that brought it, and the gradients that led to a directive. `kind` is the item's, or
    "directive"."""

    kind: str
    text: str
    cue: str
    support: list[Shown]
    oppose: list[Shown]
    since: Entry
    gradients: list[dict[str, Any]]


@router.get("", response_model=Shape, responses={200: {"content": {"text/markdown": {}}}})
def persona(
    request: Request,
    service: Serving,
    caller: Reader,
    user: User = None,
    task: TaskName = None,
    version: Number = None,
) -> Response:
    """A user's persona, as JSON or (`Accept: text/markdown`) for people to read."""
    _, _, chain = _chain(service, caller, user, task)
    entry = chain[-1] if version is None else _version(chain, version)
    said = _said(entry)
    tag = {"ETag": f'"{entry.hash}"', "Cache-Control": "private, no-cache", "Vary": "Accept"}
    if entry.hash in tags(request.headers.get("if-none-match")):
        return Response(status_code=304, headers=tag)
    if "text/markdown" in request.headers.get("accept", ""):
        made = markdown(caller.shown(said.user), entry, said)
        return PlainTextResponse(made, headers=tag, media_type="text/markdown")
    return JSONResponse(_shape(entry, said).model_dump(mode="json"), headers=tag)


@router.get("/history")
def history(
    service: Serving, caller: Reader, user: User = None, task: TaskName = None
) -> list[Entry]:
    """The versions of a user's persona, the first one first."""
    _, _, chain = _chain(service, caller, user, task)
    return [Entry.of(one) for one in chain]


@router.get("/diff")
def diff(
    service: Serving,
    caller: Reader,
    user: User = None,
    task: TaskName = None,
    before: Annotated[int | None, Query(ge=0, description="By default the one before.")] = None,
    after: Number = None,
) -> Changes:
    """What changed from one version to another."""
    _, _, chain = _chain(service, caller, user, task)
    new = _said(chain[-1] if after is None else _version(chain, after))
    number = new.version - 1 if before is None else before
    old = _said(_version(chain, number)) if number >= 0 else None
    said = old.profile if old else ""
    return Changes(
        before=old.version if old else None,
        after=new.version,
        profile=None if said == new.profile else (said, new.profile),
        items=lineage.item_edits(old, new),
        directives=lineage.edits(old, new),
    )


@router.get("/blame")
def blame(
    service: Serving,
    caller: Reader,
    user: User = None,
    task: TaskName = None,
    version: Number = None,
) -> list[Origin]:
    """Where each item and directive comes from: evidence, version, gradients."""
    stored, kind, chain = _chain(service, caller, user, task)
    said = _said(chain[-1] if version is None else _version(chain, version))
    runs = publish.origins(service.store, stored, kind).entries().values()
    known = {one.id: one for one in service.store.of(stored).get(said.cited)}

    def shown(ids: tuple[str, ...]) -> list[Shown]:
        found: list[Interaction] = [known[id] for id in ids if id in known]
        return [Shown.of(one) for one in found]

    def origin(one: Item | Directive) -> Origin:
        return Origin(
            kind=one.kind if isinstance(one, Item) else "directive",
            text=one.text,
            cue="" if isinstance(one, Item) else one.cue,
            support=shown(one.support),
            oppose=shown(one.oppose),
            since=Entry.of(lineage.since(chain, said, one)),
            gradients=[]
            if isinstance(one, Item)
            else [asdict(critique) for critique in lineage.critiques(runs, one)],
        )

    return [origin(one) for one in said.statements]


class Back(Strict):
    """The version to return to."""

    version: int
    user: str | None = None
    task: str | None = None


@router.post("/rollback")
def rollback(back: Back, service: Serving, caller: Writer, if_match: IfMatch = None) -> Entry:
    """Return to an earlier version, as a new one: nothing is lost.

    With `If-Match` only where the published persona is still the one that was read.
    """
    stored, _, chain = _chain(service, caller, back.user, back.task)
    if if_match is not None and chain[-1].hash not in tags(if_match):
        raise Problem(412, "another persona was published meanwhile: read it and decide again")
    wanted, champion = _said(_version(chain, back.version)), _said(chain[-1])
    publish.publish(service.store, wanted, champion, f"rolled back to version {back.version}")
    return Entry.of(service.store.of(stored).history(champion.task)[-1])


def markdown(user: str, entry: Published, said: Persona) -> str:
    """A persona as a page to read."""
    lines = [f"# {_line(user)}: {said.task}, version {said.version}", ""]
    if said.profile:
        lines += [_line(said.profile), ""]
    if said.items:
        lines += ["## Items", "", *map(_known, by_use(said.items)), ""]
    lines += ["## Directives", ""]
    for one in said.directives:
        against = f", {len(one.oppose)} against" if one.oppose else ""
        lines.append(f"- {_line(one.text)} ({len(one.support)} for{against})")
    if not said.directives:
        lines.append("None yet.")
    lines += ["", f"Published {entry.created:%Y-%m-%d %H:%M} UTC: {_line(entry.reason)}"]
    return "\n".join(lines) + "\n"


def _known(one: Item) -> str:
    """An item as a line of a list."""
    about = "; ".join(filter(None, (one.kind, one.topic, one.reach)))
    against = f", {len(one.oppose)} against" if one.oppose else ""
    who = f", by {one.author}" if one.author else ""
    return f"- {_line(one.text)} ({_line(about)}; {len(one.support)} for{against}{_line(who)})"


def _line(text: str) -> str:
    """A text of others on one line, where it cannot start a heading or hold HTML."""
    plain = " ".join(text.split())
    return plain.replace("\\", "\\\\").replace("<", "\\<").replace("`", "\\`")


def _chain(
    service: Service, caller: Caller, user: str | None, name: str | None
) -> tuple[str, Task, list[Published]]:
    """The user of the store, the task, and the chain of their personas, which has one at least."""
    stored = caller.stored(user)
    task = service.task_of(stored, name)
    chain = service.store.of(stored).history(task.name)
    if not chain:
        raise Problem(404, "the user has no persona for this task yet: POST /v1/alignments")
    return stored, task, chain


def _version(chain: list[Published], number: int) -> Published:
    try:
        return publish.version_of(chain, number)
    except DataError as error:
        raise Problem(404, str(error)) from error


def _said(entry: Published) -> Persona:
    try:
        return publish.said(entry)
    except DataError as error:
        raise Problem(410, str(error)) from error


def _shape(entry: Published, said: Persona) -> Shape:
    data = said.to_dict()
    return Shape(
        task=said.task,
        version=entry.version,
        hash=entry.hash,
        parent=entry.parent,
        created=entry.created,
        reason=entry.reason,
        profile=said.profile,
        items=[Known.of(number, one) for number, one in enumerate(said.items, 1)],
        directives=[
            Rule(**{name: one[name] for name in Rule.model_fields}) for one in data["directives"]
        ],
        actions=data["actions"],
        trust=data["trust"],
        system=said.render(),
    )


def tags(header: str | None) -> set[str]:
    """The hashes in a header of ETags."""
    parts = (header or "").split(",")
    return {one.strip().removeprefix("W/").strip('"') for one in parts}
