"""The chain of one user's personas for one task: it only grows, and its end is the champion.

Where a persona rested on an interaction that was erased, its text is gone; hash, parent, version
and time stay, so that the chain can still be verified.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from personaagent.data import Persona
from personaagent.errors import ConflictError, DataError, StoreError
from personaagent.memory.database import Database
from personaagent.memory.encoding import microseconds, moment
from personaagent.memory.schema import branches, champions, evidence, interactions, personas
from personaagent.memory.tombstones import erased, restorations

ERASED = "erased"
"""The reason that stands where a persona was erased."""

_CHAMPION = (
    sa.select(personas.c.hash, personas.c.body)
    .join(champions)
    .where(champions.c.user == sa.bindparam("of"), champions.c.task == sa.bindparam("for"))
)


@dataclass(frozen=True, slots=True)
class Published:
    """One entry of the chain: what was published, why and when; `persona` is None once erased."""

    hash: str
    version: int
    parent: str | None
    persona: Persona | None
    reason: str
    created: datetime


@dataclass(frozen=True)
class Chain:
    """Read and extend the chain of (user, task); see `UserMemory` for what its methods promise."""

    database: Database
    now: Callable[[], datetime]
    user: str
    task: str

    def champion(self) -> Persona | None:
        """The published persona, None before the first."""
        with self.database.glance() as connection:
            row = connection.execute(_CHAMPION, {"of": self.user, "for": self.task}).first()
        return None if row is None else self._persona(row._mapping)

    def history(self) -> list[Published]:
        """Every entry from the first one to the champion.

        Raises:
            StoreError: an entry is missing, or was changed.
        """
        with self.database.read() as connection:
            chain = self.entries(connection, personas)
        for before, entry in zip([None, *chain], chain, strict=False):
            expected = (before.version + 1, before.hash) if before else (0, None)
            if (entry.version, entry.parent) != expected:
                raise StoreError(
                    f"{self.database.name}: the chain of user '{self.user}', task '{self.task}' is "
                    f"broken before version {entry.version}: restore a backup"
                )
        return chain

    def branches(self) -> list[Published]:
        """What other devices published beside the chain before a `sync`, by version."""
        with self.database.read() as connection:
            return self.entries(connection, branches)

    def entries(self, connection: sa.Connection, table: sa.Table) -> list[Published]:
        """The verified entries of one table (`personas` or `branches`), by version."""
        mine = sa.select(table).where(self._mine(table)).order_by(table.c.version, table.c.hash)
        return [
            Published(
                row["hash"],
                row["version"],
                row["parent"],
                self._persona(row) if row["body"] else None,
                row["reason"],
                moment(row["created"]),
            )
            for row in connection.execute(mine).mappings()
        ]

    def publish(
        self,
        persona: Persona,
        expected: str | None,
        reason: str,
        made_of: Collection[str] | None = None,
        then: Callable[[sa.Connection], None] | None = None,
    ) -> None:
        """Compare and swap the champion in one transaction, in which `then` is called too."""
        where = f"user '{self.user}', task '{self.task}'"
        with self.database.write() as connection:
            current, last = self._end(connection)
            if then is not None:
                then(connection)
            if current == persona.hash:
                return
            ids = self.proposed(connection, persona, expected, made_of)
            version = last + 1
            if (persona.parent, persona.version) != (current, version):
                raise DataError(
                    f"{where}: the next persona is version {version} of parent "
                    f"{_short(current)}, not version {persona.version} of "
                    f"{_short(persona.parent)}: make it with champion.succeed(...)"
                )
            self.append(connection, persona, reason, ids)

    def proposed(
        self,
        connection: sa.Connection,
        persona: Persona,
        expected: str | None,
        made_of: Collection[str] | None,
    ) -> dict[str, int]:
        """What a persona rests on that is to follow the champion `expected`, as `evidence` has it.

        Raises:
            ConflictError: there is another champion, or something that it rests on was erased.
        """
        where, (current, _) = f"user '{self.user}', task '{self.task}'", self._end(connection)
        if current != expected:
            raise ConflictError(
                f"{where}: the champion is {_short(current)}, not {_short(expected)} any "
                "more: read it and try again"
            )
        ids = self._evidence(connection, persona, made_of)
        if gone := erased(connection, self.user, ids):
            raise ConflictError(
                f"{where}: this persona rests on {len(gone)} interactions that have been "
                "erased: make it again without them"
            )
        return ids

    def append(
        self, connection: sa.Connection, persona: Persona, reason: str, made_of: Mapping[str, int]
    ) -> None:
        """Make a persona that follows the champion the champion; `made_of` as `evidence` has it."""
        row = {"user": self.user, "task": self.task, "hash": persona.hash}
        entry = row | {
            "version": persona.version,
            "parent": persona.parent,
            "body": json.dumps(persona.to_dict(), sort_keys=True),
            "reason": reason,
            "created": microseconds(self.now()),
        }
        connection.execute(personas.insert(), entry)
        self.database.upsert(connection, champions, row)
        self.database.upsert(
            connection, evidence, row | {"ids": json.dumps(made_of, sort_keys=True)}
        )

    def evidence(self, connection: sa.Connection) -> dict[str, dict[str, int]]:
        """By hash, the ids of the interactions that each persona may have been made of.

        With each id goes when it had been restored after an erasure, 0 if never: a later erasure
        of the id concerns the persona, an earlier one does not.
        """
        select = sa.select(evidence.c.hash, evidence.c.ids).where(self._mine(evidence))
        return {hash: json.loads(ids) for hash, ids in connection.execute(select)}

    def _evidence(
        self, connection: sa.Connection, persona: Persona, made_of: Collection[str] | None
    ) -> dict[str, int]:
        """What a persona may rest on: also what its parent rested on, whose text it may repeat."""
        if made_of is None:
            mine = sa.select(interactions.c.id).where(self._mine(interactions))
            made_of = connection.scalars(mine).all()
        ids = restorations(connection, self.user, {*made_of, *persona.cited})
        inherited = sa.select(evidence.c.ids).where(evidence.c.hash == persona.parent)
        known: dict[str, int] = json.loads(connection.scalar(inherited) or "{}")
        return ids | known

    def _end(self, connection: sa.Connection) -> tuple[str | None, int]:
        """Hash and version of the champion; before the first one None and -1."""
        select = sa.select(personas.c.hash, personas.c.version).join(champions)
        found = connection.execute(select.where(self._mine(champions))).first()
        return (found.hash, found.version) if found else (None, -1)

    def _mine(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.and_(table.c.user == self.user, table.c.task == self.task)

    def _persona(self, row: Any) -> Persona:
        persona = Persona.from_dict(json.loads(row["body"]))
        if persona.hash != row["hash"]:
            raise StoreError(
                f"{self.database.name}: persona {_short(row['hash'])} of user '{self.user}' was "
                "changed behind PersonaAgent's back: restore a backup"
            )
        return persona


def _short(hash: str | None) -> str:
    return hash[:12] if hash else "none"
