"""What one user's data is read through: there is no read of it without a user."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from personaagent.data import Interaction, Persona
from personaagent.data.interaction import searched
from personaagent.errors import ConflictError, DataError, StoreError
from personaagent.memory import encoding
from personaagent.memory.chain import Chain, Published
from personaagent.memory.database import Database
from personaagent.memory.journal import Journal
from personaagent.memory.schema import erasures, interactions, turns, vectors
from personaagent.memory.tombstones import is_erased_persona, latest, owner_of

_VALUES_AT_ONCE = 10_000  # SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535


# Every recall runs the first of these, so they are built once.
_PULSE = sa.select(
    sa.select(sa.func.max(interactions.c.seq))
    .where(interactions.c.user == sa.bindparam("of"))
    .scalar_subquery(),
    sa.select(sa.func.max(erasures.c.seq))
    .where(erasures.c.owner == sa.bindparam("owner"))
    .scalar_subquery(),
    sa.select(sa.func.sum(turns.c.created))
    .where(turns.c.user == sa.bindparam("of"))
    .scalar_subquery(),
)
_MINE = sa.and_(
    interactions.c.user == sa.bindparam("of"), interactions.c.seq > sa.bindparam("last")
)
_AFTER = (
    sa.select(*(interactions.c[name] for name in ("seq", "task", "time", "expires", "source")))
    .where(_MINE)
    .order_by(interactions.c.seq)
)
_VECTORS = (
    sa.select(interactions.c.seq, vectors.c.vector)
    .join(vectors)
    .where(_MINE, vectors.c.fingerprint == sa.bindparam("model"))
    .order_by(interactions.c.seq)
    .limit(sa.bindparam("most"))
)


@dataclass(frozen=True)
class UserMemory:
    """One user's part of the store: `Store.of(user)` makes it.

    Interactions are ordered by time, then by order of insertion; those without a time come
    first, so they count as before everything that has one.
    """

    database: Database
    now: Callable[[], datetime]
    user: str

    def __repr__(self) -> str:
        try:
            known = f"interactions={self.count()}"
        except StoreError:
            known = "cannot be read"
        return f"UserMemory({self.user!r} in {self.database.name!r}, {known})"

    # Interactions

    def interactions(
        self,
        task: str | None = None,
        *,
        before: datetime | None = None,
        before_id: str | None = None,
        limit: int | None = None,
        include_expired: bool = False,
        unanswered: bool = False,
    ) -> list[Interaction]:
        """The user's interactions, oldest first.

        Args:
            task: only those of this task.
            before: only those before this moment (timezone-aware).
            before_id: only those that come before this interaction of the user.
            limit: only the latest so many.
            include_expired: also those whose `expires` has passed.
            unanswered: only those without a response.

        Raises:
            DataError: `before` lacks a timezone, or the user has no interaction `before_id`.
        """
        order = [interactions.c.time.desc().nulls_last(), interactions.c.seq.desc()]
        with self.database.read() as connection:
            where = self._filter(task, include_expired)
            if unanswered:
                where.append(interactions.c.response == "")
            if before is not None:
                where.append(_sooner(encoding.microseconds(aware(before)), 0))
            if before_id is not None:
                where.append(_sooner(*self._place(connection, before_id)))
            select = sa.select(interactions).where(*where).order_by(*order).limit(limit)
            found = connection.execute(select).mappings().all()
        return [encoding.interaction(row) for row in reversed(found)]

    def get(self, ids: Iterable[str]) -> list[Interaction]:
        """The interactions of these ids, in the order of `ids`; unknown ids are left out."""
        asked = list(dict.fromkeys(ids))
        found = {
            row["id"]: encoding.interaction(row)
            for row in self._where_in(sa.select(interactions), interactions.c.id, asked)
        }
        return [found[id] for id in asked if id in found]

    def count(self, task: str | None = None) -> int:
        """How many interactions `interactions(task)` gives."""
        with self.database.read() as connection:
            where = self._filter(task, include_expired=False)
            select = sa.select(sa.func.count()).select_from(interactions).where(*where)
            return connection.scalar(select) or 0

    # What the index and the retrievers read; `seq` is an interaction's number in the store

    def at(self, seqs: Sequence[int]) -> dict[int, Interaction]:
        """The interactions of these seqs by seq; unknown ones are left out."""
        found = self._where_in(sa.select(interactions), interactions.c.seq, seqs)
        return {row["seq"]: encoding.interaction(row) for row in found}

    def seqs(self, ids: Iterable[str]) -> dict[str, int]:
        """The seqs by id; unknown ids are left out."""
        columns = sa.select(interactions.c.id, interactions.c.seq)
        found = self._where_in(columns, interactions.c.id, list(set(ids)))
        return {row["id"]: row["seq"] for row in found}

    def pulse(self) -> tuple[int, int, int]:
        """What tells whether anything is new: the latest seq, the number of the latest erasure, and
        a number that changes with the user's turns."""
        with self.database.glance() as connection:
            row = connection.execute(_PULSE, {"of": self.user, "owner": owner_of(self.user)}).one()
        latest_seq, erasure, turned = row
        return latest_seq or 0, erasure or 0, int(turned or 0)

    def after(self, seq: int) -> tuple[list[tuple[int, str, int | None, int | None, str]], int]:
        """The rows after `seq`, in order, and the number of the latest erasure.

        A row is (seq, task, time, expires, source), times in microseconds.
        """
        with self.database.read() as connection:
            found = connection.execute(_AFTER, {"of": self.user, "last": seq}).all()
            erasure = latest(connection, self.user)
        return [(seq, task, time, ends, source) for seq, task, time, ends, source in found], erasure

    def vectors(self, fingerprint: str, after: int, limit: int) -> tuple[list[int], list[bytes]]:
        """The first `limit` seqs after `after` and their vectors of this fingerprint, as stored."""
        asked = {"of": self.user, "last": after, "model": fingerprint, "most": limit}
        with self.database.read() as connection:
            found = connection.execute(_VECTORS, asked).all()
        return [seq for seq, _ in found], [vector for _, vector in found]

    def vectors_of(self, fingerprint: str, ids: Collection[str]) -> dict[str, bytes]:
        """The stored vectors of these interactions by id; those without one are left out."""
        select = sa.select(interactions.c.id, vectors.c.vector).join(vectors)
        select = select.where(vectors.c.fingerprint == fingerprint)
        found = self._where_in(select, interactions.c.id, ids)
        return {row["id"]: row["vector"] for row in found}

    def without_vector(
        self, fingerprint: str, ids: Collection[str] | None = None
    ) -> list[tuple[int, str]]:
        """(seq, text to embed) of the interactions (of these ids) that have no vector of it."""
        c = interactions.c
        same = sa.and_(vectors.c.seq == c.seq, vectors.c.fingerprint == fingerprint)
        select = sa.select(c.seq, c.query, c.response, c.metadata, c.source)
        select = select.outerjoin(vectors, same)
        select = select.where(vectors.c.seq.is_(None))
        if ids is not None:
            found = self._where_in(select, c.id, ids)
        else:
            with self.database.read() as connection:
                found = iter(connection.execute(select.where(c.user == self.user)).mappings().all())
        return [
            (
                row["seq"],
                searched(row["query"], row["response"], json.loads(row["metadata"]), row["source"]),
            )
            for row in found
        ]

    # Personas

    def persona(self, task: str) -> Persona | None:
        """The published persona (the champion), None before the first."""
        return self.chain(task).champion()

    def personas(self, task: str) -> list[Persona]:
        """Every persona that was published and not erased, the first one first."""
        return [entry.persona for entry in self.history(task) if entry.persona]

    def history(self, task: str) -> list[Published]:
        """The chain of personas with the reason and the time of each."""
        return self.chain(task).history()

    def branches(self, task: str) -> list[Published]:
        """What other devices published beside the chain before a `sync`, by version."""
        return self.chain(task).branches()

    def publish(
        self,
        persona: Persona,
        *,
        expected: str | None,
        reason: str,
        made_of: Collection[str] | None = None,
        then: Callable[[sa.Connection], None] | None = None,
    ) -> None:
        """Make a persona the champion if the champion is still the one that its writer read.

        Publishing the champion again changes nothing.

        Args:
            persona: `champion.succeed(...)`, or for the first one a persona of version 0.
            expected: the hash of the champion that the writer read, None if there was none.
            reason: why it was accepted; kept in the history.
            made_of: ids of the interactions that it was made of: if one of them is erased, so is
                the persona. Default: all that the user has for the task now.
            then: called in the same transaction, for what must happen if and only if this does.

        Raises:
            DataError: the persona is another user's, or does not continue the chain.
            ConflictError: somebody published in between, or what it was made of has been erased;
                nothing was changed.
        """
        if persona.user != self.user:
            raise DataError(f"a persona of user '{persona.user}' published for '{self.user}'")
        self.chain(persona.task).publish(persona, expected, reason, made_of, then)

    def refuse_erased(self, persona: Persona) -> None:
        """Refuse a persona, by its hash, that was erased from this chain or another.

        Raises:
            ConflictError: it was erased.
        """
        with self.database.read() as connection:
            if is_erased_persona(connection, persona.hash):
                raise ConflictError(
                    f"persona {persona.hash[:12]} rests on interactions that were erased, so it "
                    f"stays away: 'personaagent compile --user {self.user}' makes it anew"
                )

    # What is being worked on

    def journal(self, run: str) -> Journal:
        """The journal of one run, empty until its first `put`."""
        return Journal(self.database, self.now, self.user, run, self.erasure())

    def erasure(self) -> int:
        """The number of the latest erasure of anything of this user, 0 without one."""
        with self.database.glance() as connection:
            return latest(connection, self.user)

    def chain(self, task: str) -> Chain:
        """The chain of the personas of a task."""
        return Chain(self.database, self.now, self.user, task)

    def _filter(self, task: str | None, include_expired: bool) -> list[sa.ColumnElement[bool]]:
        where = [interactions.c.user == self.user]
        if task is not None:
            where.append(interactions.c.task == task)
        if not include_expired:
            expires = interactions.c.expires
            where.append(sa.or_(expires.is_(None), expires > encoding.microseconds(self.now())))
        return where

    def _place(self, connection: sa.Connection, id: str) -> tuple[int | None, int]:
        row = connection.execute(
            sa.select(interactions.c.time, interactions.c.seq).where(
                interactions.c.user == self.user, interactions.c.id == id
            )
        ).first()
        if row is None:
            raise DataError(f"user '{self.user}' has no interaction '{id}'")
        return row.time, row.seq

    def _where_in(
        self, select: sa.Select[Any], column: sa.ColumnElement[Any], values: Collection[Any]
    ) -> Iterator[Any]:
        mine = select.where(interactions.c.user == self.user)
        for some in _batches(values):
            with self.database.read() as connection:
                yield from connection.execute(mine.where(column.in_(some))).mappings().all()


def aware(moment: datetime) -> datetime:
    """The moment itself.

    Raises:
        DataError: it lacks a timezone.
    """
    if moment.tzinfo is None:
        raise DataError(f"before {moment.isoformat()}: add a timezone, such as +00:00")
    return moment


def _sooner(time: int | None, seq: int) -> sa.ColumnElement[bool]:
    """In the order of `UserMemory`, ahead of the place (time, seq)."""
    c = interactions.c
    if time is None:
        return sa.and_(c.time.is_(None), c.seq < seq)
    return sa.or_(c.time.is_(None), c.time < time, sa.and_(c.time == time, c.seq < seq))


def _batches(values: Collection[Any]) -> Iterator[list[Any]]:
    ordered = list(values)
    for start in range(0, len(ordered), _VALUES_AT_ONCE):
        yield ordered[start : start + _VALUES_AT_ONCE]
