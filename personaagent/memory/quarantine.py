"""Quarantine: what screening put aside, to be looked at, released or left.

Nothing recalls it, learns from it or obeys it: no other module reads this table.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from personaagent.data import Interaction
from personaagent.errors import DataError
from personaagent.memory import changes, encoding
from personaagent.memory.database import Database
from personaagent.memory.schema import interactions, quarantine
from personaagent.memory.user import UserMemory


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An interaction that was put aside, why, and when."""

    interaction: Interaction
    reason: str
    created: datetime


def quarantined(memory: UserMemory) -> list[Quarantined]:
    """What of a user is in quarantine, the oldest first."""
    with memory.database.read() as connection:
        return all_of(connection, memory.user)


def all_of(connection: sa.Connection, user: str) -> list[Quarantined]:
    """`quarantined` within a transaction."""
    c = quarantine.c
    select = sa.select(quarantine).where(c.user == user).order_by(c.created, c.id)
    return [_read(row) for row in connection.execute(select).mappings()]


def release(memory: UserMemory, id: str) -> Interaction:
    """Let an interaction into memory after all: somebody has looked at it.

    It is the same interaction from then on, and its file may be imported again.

    Raises:
        DataError: the user has none of this id in quarantine, or another interaction has the id.
    """
    mine = sa.and_(quarantine.c.user == memory.user, quarantine.c.id == id)
    with memory.database.write() as connection:
        row = connection.execute(sa.select(quarantine).where(mine)).mappings().first()
        if row is None:
            raise DataError(
                f"user '{memory.user}' has nothing of id '{id}' in quarantine: "
                f"'personaagent quarantine --user {memory.user}' shows what there is"
            )
        one = _read(row).interaction
        taken = sa.and_(interactions.c.user == memory.user, interactions.c.id == id)
        if connection.scalar(sa.select(interactions.c.seq).where(taken)) is not None:
            raise DataError(
                f"interaction '{id}' of user '{memory.user}' is known with other content: what is "
                "in quarantine cannot take its place"
            )
        connection.execute(interactions.insert(), encoding.row(one))
        changes.note(memory.database, connection, [(one.user, one.task)])
        connection.execute(quarantine.delete().where(mine))
    return one


def put_aside(database: Database, connection: sa.Connection, given: Sequence[Quarantined]) -> int:
    """Quarantine checked interactions; how many were not there before."""
    if not given:
        return 0
    batch = [
        {
            "user": one.interaction.user,
            "id": one.interaction.id,
            "task": one.interaction.task,
            "body": json.dumps(encoding.row(one.interaction), ensure_ascii=False),
            "reason": one.reason,
            "created": encoding.microseconds(one.created),
        }
        for one in given
    ]
    insert = database.insert(quarantine).on_conflict_do_nothing()
    return len(connection.execute(insert.returning(quarantine.c.id), batch).all())


def remove(connection: sa.Connection, user: str, ids: Iterable[str]) -> None:
    """Take interactions out of quarantine."""
    for id in ids:
        connection.execute(
            quarantine.delete().where(quarantine.c.user == user, quarantine.c.id == id)
        )


def known_digests(
    connection: sa.Connection, suspects: Collection[Interaction]
) -> set[tuple[str, str, str]]:
    """(user, id, digest) of the suspects that are in memory already, because they were released
    or are older than the screening."""
    c = interactions.c
    found: set[tuple[str, str, str]] = set()
    for user in {one.user for one in suspects}:
        ids = [one.id for one in suspects if one.user == user]
        for start in range(0, len(ids), 1_000):
            select = sa.select(c.id, c.digest).where(
                c.user == user, c.id.in_(ids[start : start + 1_000])
            )
            found |= {(user, id, digest) for id, digest in connection.execute(select)}
    return found


def _read(row: Any) -> Quarantined:
    one = encoding.interaction(json.loads(row["body"]))
    return Quarantined(one, row["reason"], encoding.moment(row["created"]))
