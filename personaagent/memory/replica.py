"""A user's part of a database as a value that can be merged with another device's: see `sync`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from personaagent.data import Interaction, Persona
from personaagent.memory import rows
from personaagent.memory.quarantine import Quarantined, all_of, put_aside, remove
from personaagent.memory.schema import (
    branches,
    champions,
    erasures,
    evidence,
    interactions,
    merges,
    personas,
)
from personaagent.memory.store import Store
from personaagent.memory.tombstones import owner_of

_ROWS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Tombstone:
    """When something was erased, and when it was restored (0: never), in microseconds."""

    erased: int
    restored: int = 0

    @property
    def stands(self) -> bool:
        """Whether it is erased now."""
        return self.erased >= self.restored


@dataclass(frozen=True, slots=True)
class Version:
    """One persona of a history.

    Attributes:
        persona: None once it was erased; hash, version and parent stay.
        created: in microseconds.
        made_of: see `Chain.evidence`.
        sources: the hashes of the personas that it merges; empty where somebody wrote it.
    """

    hash: str
    version: int
    parent: str | None
    persona: Persona | None
    reason: str
    created: int
    made_of: Mapping[str, int] = field(default_factory=dict)
    sources: frozenset[str] = frozenset()

    @property
    def before(self) -> frozenset[str]:
        """The hashes of the personas that this one comes directly after."""
        return self.sources | ({self.parent} if self.parent else set())


@dataclass(frozen=True, slots=True)
class History:
    """The personas of one task by hash, and which of them is the champion."""

    versions: Mapping[str, Version]
    champion: str


@dataclass(frozen=True, slots=True)
class Replica:
    """What one device knows of one user.

    Attributes:
        interactions: by id.
        quarantine: what screening put aside, by id.
        erasures: by kind and digest.
        histories: by task.
    """

    user: str
    interactions: Mapping[str, Interaction] = field(default_factory=dict)
    erasures: Mapping[tuple[str, str], Tombstone] = field(default_factory=dict)
    histories: Mapping[str, History] = field(default_factory=dict)
    quarantine: Mapping[str, Quarantined] = field(default_factory=dict)

    @property
    def says_nothing(self) -> bool:
        """Whether no text is left in it."""
        versions = (one for history in self.histories.values() for one in history.versions.values())
        said = (one.persona for one in versions if one.persona)
        return not (self.interactions or self.quarantine) and not any(
            one.profile or one.directives for one in said
        )


def read(store: Store, connection: sa.Connection, user: str) -> Replica:
    """What the database knows of a user."""
    c = erasures.c
    mine = sa.select(interactions).where(interactions.c.user == user).order_by(interactions.c.seq)
    laid = sa.select(c.kind, c.digest, c.erased, c.restored).where(c.owner == owner_of(user))
    tasks = connection.scalars(sa.select(champions.c.task).where(champions.c.user == user)).all()
    return Replica(
        user,
        {row["id"]: rows.interaction(row) for row in connection.execute(mine).mappings()},
        {
            (kind, digest): Tombstone(erased, restored or 0)
            for kind, digest, erased, restored in connection.execute(laid)
        },
        {task: _history(store, connection, user, task) for task in tasks},
        {one.interaction.id: one for one in all_of(connection, user)},
    )


def write(store: Store, connection: sa.Connection, before: Replica, after: Replica) -> None:
    """Make the database, which knows `before`, know `after`."""
    user = after.user
    _write_erasures(connection, before, after)
    for id in before.interactions.keys() - after.interactions.keys():
        one = sa.and_(interactions.c.user == user, interactions.c.id == id)
        connection.execute(interactions.delete().where(one))
    now = store.now()
    new = [
        rows.row(rows.checked(one, now))
        for id, one in after.interactions.items()
        if id not in before.interactions
    ]
    for start in range(0, len(new), _ROWS_AT_ONCE):
        connection.execute(interactions.insert(), new[start : start + _ROWS_AT_ONCE])
    aside = {id: one for id, one in after.quarantine.items() if before.quarantine.get(id) != one}
    remove(connection, user, {*aside, *before.quarantine.keys() - after.quarantine.keys()})
    put_aside(store.database, connection, list(aside.values()))
    for task, history in after.histories.items():
        if before.histories.get(task) != history:
            _write_history(connection, user, task, history)


def _history(store: Store, connection: sa.Connection, user: str, task: str) -> History:
    chain = store.of(user).chain(task)
    made_of = chain.evidence(connection)
    sources: dict[str, set[str]] = {}
    mine = sa.and_(merges.c.user == user, merges.c.task == task)
    for hash, source in connection.execute(sa.select(merges.c.hash, merges.c.source).where(mine)):
        sources.setdefault(hash, set()).add(source)
    line = chain.entries(connection, personas)
    versions = {
        one.hash: Version(
            one.hash,
            one.version,
            one.parent,
            one.persona,
            one.reason,
            rows.microseconds(one.created),
            made_of.get(one.hash, {}),
            frozenset(sources.get(one.hash, ())),
        )
        for one in (*line, *chain.entries(connection, branches))
    }
    return History(versions, line[-1].hash)


def _write_erasures(connection: sa.Connection, before: Replica, after: Replica) -> None:
    owner = owner_of(after.user)
    for (kind, digest), one in after.erasures.items():
        if before.erasures.get((kind, digest)) == one:
            continue
        key = {"owner": owner, "kind": kind, "digest": digest}
        # Laid anew, so that caches see it
        these = sa.and_(*(erasures.c[name] == value for name, value in key.items()))
        connection.execute(erasures.delete().where(these))
        row = key | {"erased": one.erased, "restored": one.restored or None}
        connection.execute(erasures.insert(), row)


def _write_history(connection: sa.Connection, user: str, task: str, history: History) -> None:
    for table in (champions, personas, branches, merges, evidence):
        mine = sa.and_(table.c.user == user, table.c.task == task)
        connection.execute(table.delete().where(mine))
    key = {"user": user, "task": task}
    line = set()
    at: str | None = history.champion
    while at is not None:
        line.add(at)
        at = history.versions[at].parent
    for one in history.versions.values():
        row = key | {
            "hash": one.hash,
            "version": one.version,
            "parent": one.parent,
            "body": json.dumps(one.persona.to_dict(), sort_keys=True) if one.persona else "",
            "reason": one.reason,
            "created": one.created,
        }
        connection.execute((personas if one.hash in line else branches).insert(), row)
        if one.persona:
            ids = json.dumps(dict(one.made_of), sort_keys=True)
            connection.execute(evidence.insert(), key | {"hash": one.hash, "ids": ids})
        for source in one.sources:
            connection.execute(merges.insert(), key | {"hash": one.hash, "source": source})
    connection.execute(champions.insert(), key | {"hash": history.champion})
