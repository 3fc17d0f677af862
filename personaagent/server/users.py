"""`/v1/users`, `/v1/export`, `/v1/erasures` and `/v1/tasks`: who there is, all that is held about
one of them, and its erasure with a receipt; and what the answers of the server can be."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field, model_validator

from personaagent.archive import archived
from personaagent.errors import DataError
from personaagent.memory import erasure
from personaagent.memory.definitions import definition, is_ours
from personaagent.memory.store import Store
from personaagent.memory.tasks import load_tasks
from personaagent.privacy.forgetting import forget
from personaagent.server import answers
from personaagent.server.auth import Caller, Reader, Serving, Writer
from personaagent.server.interactions import Strict, User
from personaagent.server.problems import Problem
from personaagent.server.state import Service

router = APIRouter(prefix="/v1", tags=["users"])


class Person(BaseModel):
    """How much there is of a user."""

    user: str
    interactions: int
    first: datetime | None
    last: datetime | None


@router.get("/users")
def users(service: Serving, caller: Reader) -> list[Person]:
    """The users with interactions, of those that the caller reaches."""
    return [
        Person(
            user=caller.shown(one.user),
            interactions=one.interactions,
            first=one.first,
            last=one.last,
        )
        for one in service.store.users()
        if caller.reaches(one.user)
    ]


@router.get("/tasks")
def tasks(service: Serving, caller: Reader) -> list[dict[str, Any]]:
    """The tasks that the server knows; `personaagent import --tasks` adds some."""
    del caller
    known = load_tasks(service.store)
    return [definition(one) for name, one in sorted(known.items()) if is_ours(one)]


@router.get(
    "/export",
    response_class=Response,
    responses={200: {"content": {"application/x-ndjson": {}}}},
)
def export(service: Serving, caller: Reader, user: User = None) -> Response:
    """All that is held about a user, as the JSON Lines that `personaagent sync` takes in."""
    try:
        text, _ = archived(service.store, caller.stored(user))
    except DataError:
        raise Problem(404, "nothing is known of the user") from None
    return Response(text, media_type="application/x-ndjson")


class Erasure(Strict):
    """What is to be erased: some ids, all of a source, or everything."""

    user: str | None = None
    ids: list[str] = Field(default=[], max_length=10_000)
    source: str | None = None
    everything: bool = False

    @model_validator(mode="after")
    def one_thing(self) -> Erasure:
        """Refuse none and several."""
        if [bool(self.ids), self.source is not None, self.everything].count(True) != 1:
            raise ValueError("name what to erase: ids, a source, or everything")
        return self


@router.post("/erasures")
def erase(wanted: Erasure, service: Serving, caller: Writer) -> dict[str, Any]:
    """Erase interactions of a user and all that was derived from them; the receipt.

    Personas lose what rested on them. Nothing of it comes back by being sent again. Where the
    receipt is not `complete`, the same request goes on with what is left.
    """
    return _erased(service, caller, wanted)


@router.delete("/interactions", tags=["interactions"])
def delete(
    service: Serving, caller: Writer, id: Annotated[list[str], Query()], user: User = None
) -> dict[str, Any]:
    """Erase interactions by their ids; the receipt, as of `/v1/erasures`."""
    return _erased(service, caller, Erasure(user=user, ids=id))


def _erased(service: Service, caller: Caller, wanted: Erasure) -> dict[str, Any]:
    user, store = caller.stored(wanted.user), service.store
    if wanted.everything and user not in store.everyone() and _has_answers(store, user):
        # Answers alone make no user that `forget` knows.
        with store.database.write() as connection:
            erasure.note_outside(store, connection, user, None)
    try:
        receipt = forget(
            store,
            user,
            ids=wanted.ids,
            source=wanted.source,
            everything=wanted.everything,
        )
    except DataError:
        if wanted.everything:
            raise Problem(404, "nothing is known of the user") from None
        raise Problem(
            404, "nothing was erased: the user has no interaction of one of these ids"
        ) from None
    return receipt.to_dict()


def _has_answers(store: Store, user: str) -> bool:
    return len(store.of(user).journal(answers.RUN)) > 0
