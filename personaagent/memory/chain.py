"""The chain of one user's personas for one task: it only grows, and its end is the champion."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from personaagent.data import Persona
from personaagent.errors import ConflictError, DataError, StoreError
from personaagent.memory.database import Database
from personaagent.memory.rows import microseconds, moment
from personaagent.memory.schema import champions, personas


@dataclass(frozen=True, slots=True)
class Published:
    """One persona of the chain: what was published, why and when."""

    persona: Persona
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
        select = sa.select(personas.c.hash, personas.c.body).join(champions)
        with self.database.read() as connection:
            row = connection.execute(select.where(self._mine(champions))).mappings().first()
        return None if row is None else self._persona(row)

    def history(self) -> list[Published]:
        """Every persona that was published, the first one first."""
        select = sa.select(personas).where(self._mine(personas)).order_by(personas.c.version)
        with self.database.read() as connection:
            found = connection.execute(select).mappings().all()
        return [
            Published(self._persona(row), row["reason"], moment(row["created"])) for row in found
        ]

    def publish(self, persona: Persona, expected: str | None, reason: str) -> None:
        """Compare and swap the champion in one transaction."""
        where = f"user '{self.user}', task '{self.task}'"
        row = {"user": self.user, "task": self.task, "hash": persona.hash}
        with self.database.write() as connection:
            champion = connection.execute(
                sa.select(personas.c.hash, personas.c.version)
                .join(champions)
                .where(self._mine(champions))
            ).first()
            current = champion.hash if champion else None
            if current == persona.hash:
                return
            if current != expected:
                raise ConflictError(
                    f"{where}: the champion is {_short(current)}, not {_short(expected)} any "
                    "more: read it and try again"
                )
            version = champion.version + 1 if champion else 0
            if (persona.parent, persona.version) != (current, version):
                raise DataError(
                    f"{where}: the next persona is version {version} of parent "
                    f"{_short(current)}, not version {persona.version} of "
                    f"{_short(persona.parent)}: make it with champion.succeed(...)"
                )
            entry = row | {
                "version": persona.version,
                "parent": persona.parent,
                "body": json.dumps(persona.to_dict(), sort_keys=True),
                "reason": reason,
                "created": microseconds(self.now()),
            }
            connection.execute(personas.insert(), entry)
            self.database.upsert(connection, champions, row)

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
