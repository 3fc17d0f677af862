"""`/v1/answers` and `/v1/feedback`: an answer as the user would give it, and what became of it.

An answer reads the published persona and never waits for an alignment. It is kept for a while in
the user's journal, so that feedback can name it by its id; an erasure drops it with the rest.
Feedback becomes an interaction only where it tells what the user's own answer is.
"""

from __future__ import annotations

from datetime import datetime
from difflib import SequenceMatcher
from typing import Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator

from personaagent.data import Interaction, Task
from personaagent.data.interaction import Signal
from personaagent.memory.encoding import microseconds
from personaagent.memory.schema import journal
from personaagent.memory.store import Store
from personaagent.server.auth import Anyone, Serving, Writer
from personaagent.server.interactions import (
    Remembered,
    RetryKey,
    Shown,
    Strict,
    made_id,
    remember,
)
from personaagent.server.problems import Problem
from personaagent.server.state import Service

router = APIRouter(prefix="/v1", tags=["answers"])

SOURCE = "feedback"
"""The source of interactions that feedback became."""

RUN = "answers"
"""The run of the journal in which answers are kept."""


class Asked(Strict):
    """A query to be answered as the user would."""

    query: str = Field(min_length=1)
    user: str | None = None
    task: str | None = None
    trace: bool = Field(default=False, description="Also tell how the answer came about.")
    store: bool = Field(default=True, description="Keep the answer, so that it takes feedback.")


class Version(BaseModel):
    """Which persona answered; version None where there is none yet."""

    version: int | None
    hash: str


class Trace(BaseModel):
    """How an answer came about: the directives whose cue fitted, the actions taken, the memories
    found, and the two distributions that it was fused from."""

    directives: list[str]
    actions: list[dict[str, Any]]
    memories: list[Shown]
    lm: dict[str, float] | None
    habit: dict[str, float] | None
    usage: dict[str, float]


class Answered(BaseModel):
    """An answer; `id` is what feedback names it by, None where it was not kept."""

    id: str | None
    task: str
    answer: str
    distribution: dict[str, float] | None
    persona: Version
    trace: Trace | None = None


@router.post("/answers")
async def answer(
    asked: Asked, service: Serving, anyone: Anyone, retry: RetryKey = None
) -> Answered:
    """Answer a query under the user's published persona.

    With an `Idempotency-Key` the same request gets the answer that it got before, and the LM is
    not asked again.
    """

    def work() -> Answered:
        user = anyone.checked("write").stored(asked.user)
        id = f"ans-{made_id(user, retry)}"
        known = None if retry is None else _known(service, user, id, asked)
        return known or _answered(service, user, id, asked)

    # All on one thread: each change of threads costs as much as reading the persona.
    return await service.answering_with_lm(work)  # type: ignore[no-any-return]


def _known(service: Service, user: str, id: str, asked: Asked) -> Answered | None:
    """What the same request got before."""
    known = service.store.of(user).journal(RUN).get(id)
    if known is None:
        return None
    if (known["task"], known["query"]) != (service.task_of(user, asked.task).name, asked.query):
        raise Problem(422, "this Idempotency-Key was used for another query")
    return _told(id, known)


def _answered(service: Service, user: str, id: str, asked: Asked) -> Answered:
    """Ask the LM, and keep what it answered."""
    agent = service.agent(service.task_of(user, asked.task))
    kept = service.store.of(user).journal(RUN)  # before: an erasure meanwhile refuses the answer
    persona = agent.persona_of(user)
    said_so = bool(persona.profile or persona.directives or persona.parent)
    with service.lm.meter.measure() as used:
        said = agent(query=asked.query, user=user, persona=persona)
    made = {
        "task": agent.task.name,
        "query": asked.query,
        "answer": said.answer,
        "distribution": said.distribution,
        "persona": {"version": persona.version if said_so else None, "hash": said.persona},
        "time": service.store.now().isoformat(),
    }
    if asked.store:
        made = kept.put(id, made)
    told = _told(id if asked.store else None, made)
    if asked.trace:
        told.trace = Trace(
            directives=[one.text for one in said.directives],
            actions=[
                {"tool": seen.action.tool, "arguments": seen.action.arguments}
                | {"failed": seen.failed}
                for seen in said.observations
            ],
            memories=[Shown.of(one.interaction) for one in said.memories],
            lm=said.lm,
            habit=said.habit,
            usage=used.snapshot().to_dict(),
        )
    return told


def _told(id: str | None, made: dict[str, Any]) -> Answered:
    return Answered(
        id=id,
        task=made["task"],
        answer=made["answer"],
        distribution=made["distribution"],
        persona=Version(**made["persona"]),
    )


class Feedback(Strict):
    """What the user made of an answer; exactly one of right, wrong, edited, click and skip.

    Attributes:
        answer: its id.
        edited: the answer that the user gave in its place.
        dwell: seconds that the user stayed with it, beside a click or a skip.
    """

    answer: str = Field(min_length=1, max_length=200)
    user: str | None = None
    right: Literal[True] | None = None
    wrong: Literal[True] | None = None
    edited: str | None = Field(default=None, min_length=1)
    click: bool | None = None
    skip: Literal[True] | None = None
    dwell: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def one_thing(self) -> Feedback:
        """Refuse none and several."""
        if len(self.kinds) != 1:
            raise ValueError("say one of right, wrong, edited, click and skip")
        return self

    @property
    def kinds(self) -> list[str]:
        """What is said of the answer."""
        named = ("right", "wrong", "edited", "click", "skip")
        return [one for one in named if getattr(self, one) is not None]


class Noted(BaseModel):
    """What became of feedback: the interaction that it became, or None where it does not tell what
    the user's answer is, and why."""

    remembered: Remembered | None
    weight: float | None
    note: str


@router.post("/feedback", status_code=201)
def feedback(said: Feedback, service: Serving, caller: Writer) -> Noted:
    """Say what a user made of an answer; saying it again changes nothing."""
    user = caller.stored(said.user)
    found = service.store.of(user).journal(RUN).get(said.answer)
    if found is None:
        raise Problem(404, "there is no such answer of this user, or it is too old for feedback")
    task = service.task_of(user, found["task"])
    (kind,) = said.kinds
    response = _response(task, found, said)
    if response is None:
        return Noted(
            remembered=None,
            weight=None,
            note="noted nowhere: that an answer is wrong does not tell the right one; send it as "
            "'edited'",
        )
    signal = Signal(click=said.click, skip=said.skip, dwell=said.dwell)
    if kind == "edited" and not task.labels:
        signal = Signal(edit=_changed(found["answer"], response), dwell=said.dwell)
    id = f"{said.answer}-{kind}"
    known = service.store.of(user).get([id])
    now = known[0].time if known and known[0].time else service.store.now()
    one = Interaction(
        id=id,
        user=user,
        task=task.name,
        query=found["query"],
        response=response,
        time=now,
        weight=signal.weight,
        source=SOURCE,
        expires=task.expiry(now),
        metadata={"feedback": kind, "persona": found["persona"]["hash"]},
    )
    return Noted(remembered=remember(service, [one]), weight=one.weight, note=f"an answer: {kind}")


def _response(task: Task, found: dict[str, Any], said: Feedback) -> str | None:
    """The user's own answer, None where the feedback does not tell it."""
    if said.edited is not None:
        return task.answered(found["query"], said.edited)
    if said.wrong:
        others = [one for one in task.labels if one != found["answer"]]
        return others[0] if len(others) == 1 else None
    return str(found["answer"])


def _changed(old: str, new: str) -> float:
    """How much of a proposed answer was changed, in [0, 1]."""
    return 1 - SequenceMatcher(None, old, new, autojunk=False).ratio()


def drop_old(store: Store, before: datetime) -> int:
    """Forget the answers from before a moment; how many there were."""
    old = sa.and_(journal.c.run == RUN, journal.c.created < microseconds(before))
    with store.database.write() as connection:
        return connection.execute(journal.delete().where(old)).rowcount
