"""Personas that wait for a person: what an alignment accepted, until somebody approves it.

Where approval is needed, for a user or for everyone in the database, an alignment publishes
nothing: its persona waits beside the chain, with what it would replace and which past answers would
change. A newer one takes its place; after some days it expires. Approving it publishes it as any
persona is published, by compare and swap. A rejected text is remembered, by a hash, and waits no
second time. Erasing anything of a user erases what waits for that user.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from personaagent.data import Persona, validation
from personaagent.errors import ConflictError, DataError
from personaagent.memory.encoding import microseconds, moment
from personaagent.memory.journal import Journal
from personaagent.memory.schema import champions, meta, preferences
from personaagent.memory.schema import waiting as table
from personaagent.memory.store import Store
from personaagent.memory.user import UserMemory

REJECTED = "rejected/"
"""How the runs of the journal begin that remember what was rejected; the task follows."""

_KEY = "approval"  # of `preferences`, and of `meta` for everyone


@dataclass(frozen=True, slots=True)
class Changed:
    """A past query of the user, by id, that would be answered differently."""

    id: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A persona that waits.

    Attributes:
        persona: it continues the chain as it was when the alignment ended.
        over: the hash of the champion that it would replace, None if there was none.
        reason: why the alignment accepted it.
        answers: past answers that would change, of those that were replayed.
        created: since when it waits.
        expires: until when it can be approved.
        stale: whether there is another champion by now, so that it cannot be published any more.
    """

    persona: Persona
    over: str | None
    reason: str
    answers: tuple[Changed, ...]
    created: datetime
    expires: datetime
    stale: bool


def require_approval(store: Store, days: int | None, *, user: str | None = None) -> None:
    """Decide whether personas wait for a person, for one user or for everyone.

    What is decided for a user holds before what is decided for everyone.

    Args:
        store: of the personas.
        days: that a persona waits before it expires; 0: it is published at once; None: for a
            user, what holds for everyone.
        user: for whom; None for everyone.
    """
    if days is not None:
        validation.whole("days", days, 0)
    with store.database.write() as connection:
        if user is None:
            row = {"key": _KEY, "value": str(days or 0)}
            store.database.upsert(connection, meta, row)
            return
        named = store.of(user).user
        if days is None:
            mine = sa.and_(preferences.c.user == named, preferences.c.key == _KEY)
            connection.execute(preferences.delete().where(mine))
        else:
            row = {"user": named, "key": _KEY, "value": str(days)}
            store.database.upsert(connection, preferences, row)


def days_to_approve(store: Store, user: str | None = None) -> int:
    """How many days a new persona of a user (None: of anyone) waits to be approved, 0 where none
    has to."""
    everyone = sa.select(meta.c.value).where(meta.c.key == _KEY)
    with store.database.read() as connection:
        said = None
        if user is not None:
            mine = sa.and_(preferences.c.user == store.of(user).user, preferences.c.key == _KEY)
            said = connection.scalar(sa.select(preferences.c.value).where(mine))
        return int(said if said is not None else connection.scalar(everyone) or 0)


def put_to_wait(
    memory: UserMemory,
    persona: Persona,
    *,
    over: str | None,
    reason: str,
    made_of: Collection[str],
    answers: Sequence[Changed],
    days: int,
    then: Callable[[sa.Connection], None] | None = None,
) -> None:
    """Let a persona wait, in the place of what waited before; the arguments are as of
    `UserMemory.publish`.

    Raises:
        ConflictError: there is another champion, or something that it rests on was erased; nothing
            was changed.
    """
    now = memory.now()
    with memory.database.write() as connection:
        if then is not None:
            then(connection)
        ids = memory.chain(persona.task).proposed(connection, persona, over, made_of)
        row = {
            "user": memory.user,
            "task": persona.task,
            "hash": persona.hash,
            "over": over,
            "body": json.dumps(persona.to_dict(), sort_keys=True),
            "reason": reason,
            "made_of": json.dumps(sorted(ids)),
            "answers": json.dumps([asdict(one) for one in answers]),
            "created": microseconds(now),
            "expires": microseconds(now + timedelta(days=days)),
        }
        memory.database.upsert(connection, table, row)


def waiting_of(memory: UserMemory, task: str | None = None) -> list[Waiting]:
    """What waits for a user (in one task), by task; nothing that has expired."""
    mine = [table.c.user == memory.user, table.c.expires > microseconds(memory.now())]
    if task is not None:
        mine.append(table.c.task == task)
    current = sa.and_(champions.c.user == table.c.user, champions.c.task == table.c.task)
    select = sa.select(table, champions.c.hash.label("champion")).outerjoin(champions, current)
    with memory.database.read() as connection:
        found = connection.execute(select.where(*mine).order_by(table.c.task)).mappings().all()
    return [_waiting(row) for row in found]


def users_waiting(store: Store) -> list[tuple[str, str]]:
    """(user, task) of everything that waits, the oldest first."""
    alive = table.c.expires > microseconds(store.now())
    select = sa.select(table.c.user, table.c.task).where(alive).order_by(table.c.created)
    with store.database.read() as connection:
        return [(user, task) for user, task in connection.execute(select)]


def approve(memory: UserMemory, task: str, by: str, *, hash: str | None = None) -> Persona:
    """Publish what waits; the champion that it is then.

    Args:
        memory: the user's.
        task: of the persona.
        by: who approves it, for the history.
        hash: of the persona that the person has seen; another one is not published.

    Raises:
        DataError: nothing waits, or not any more.
        ConflictError: another persona waits by now, or there is another champion; nothing was
            changed.
    """
    row, found = _one(memory, task, hash)
    if found.stale:
        raise ConflictError(
            f"the persona of user '{memory.user}' has changed since this one was proposed, so it "
            f"cannot take its place: 'personaagent compile --user {memory.user} --task {task}' "
            "proposes another, reject this one"
        )
    memory.publish(
        found.persona,
        expected=found.over,
        reason=f"approved by {by}: {found.reason}",
        made_of=json.loads(row["made_of"]),
        then=partial(_take, memory, found.persona),
    )
    return found.persona


def reject(memory: UserMemory, task: str, by: str, *, hash: str | None = None) -> Waiting:
    """Drop what waits, and remember its text by a hash: it waits no second time.

    Raises:
        DataError, ConflictError: see `approve`; a stale one can be rejected.
    """
    _, found = _one(memory, task, hash)
    rejected = _rejected(memory, task)
    with memory.database.write() as connection:
        _take(memory, found.persona, connection)
        rejected.write(connection, _named(found.persona), {"by": by})
    return found


def was_rejected(memory: UserMemory, persona: Persona) -> bool:
    """Whether a person has rejected a persona of the same text."""
    return _rejected(memory, persona.task).get(_named(persona)) is not None


def _one(memory: UserMemory, task: str, hash: str | None) -> tuple[Any, Waiting]:
    mine = sa.and_(table.c.user == memory.user, table.c.task == task)
    with memory.database.read() as connection:
        row = connection.execute(sa.select(table).where(mine)).mappings().first()
    found = waiting_of(memory, task)
    if row is None or not found:
        until = f": it expired {moment(row['expires']):%Y-%m-%d}" if row else ""
        raise DataError(
            f"nothing of user '{memory.user}', task '{task}' waits for approval{until}; "
            f"'personaagent waiting' lists what does"
        )
    if hash is not None and hash != found[0].persona.hash:
        raise ConflictError(
            f"another persona of user '{memory.user}' waits by now: look at it, and decide again"
        )
    return row, found[0]


def _take(memory: UserMemory, persona: Persona, connection: sa.Connection) -> None:
    """Nobody else decides about it any more.

    Raises:
        ConflictError: somebody has.
    """
    this = sa.and_(
        table.c.user == memory.user, table.c.task == persona.task, table.c.hash == persona.hash
    )
    if not connection.execute(table.delete().where(this)).rowcount:
        raise ConflictError(
            f"somebody else has decided about this persona of user '{memory.user}' meanwhile"
        )


def _waiting(row: Any) -> Waiting:
    return Waiting(
        Persona.from_dict(json.loads(row["body"])),
        row["over"],
        row["reason"],
        tuple(Changed(**one) for one in json.loads(row["answers"])),
        moment(row["created"]),
        moment(row["expires"]),
        row["champion"] != row["over"],
    )


def _rejected(memory: UserMemory, task: str) -> Journal:
    return memory.journal(f"{REJECTED}{task}")


def _named(persona: Persona) -> str:
    return hashlib.sha256(persona.render().encode(errors="surrogatepass")).hexdigest()
