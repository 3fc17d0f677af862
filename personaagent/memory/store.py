"""The store: every user's interactions, vectors, personas and journals, in one database.

The database is the truth and everything else a cache of it. Every write is one transaction. What
a user owns is read through `Store.of(user)` only.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from platformdirs import user_data_path

from personaagent.data import LAMP_TASKS, Interaction, Task, validation
from personaagent.data.normal import normal
from personaagent.data.screening import Screening
from personaagent.errors import DataError, StoreError
from personaagent.memory import changes, encoding, tombstones
from personaagent.memory.database import Database
from personaagent.memory.definitions import saved_tasks
from personaagent.memory.quarantine import Quarantined, known_digests, put_aside
from personaagent.memory.schema import champions, interactions, quarantine, vectors
from personaagent.memory.user import UserMemory

_ROWS_AT_ONCE = 1_000
GIVE = "give a list of Interaction objects, as 'read_interactions' reads them"


@dataclass(frozen=True, slots=True)
class Added:
    """What an `add` found: `new` interactions were stored, `known` ones were there already, and
    `quarantined` ones are put aside (see `personaagent.memory.quarantine`); `erased` ones were
    left out because their user had them erased. Of the known ones `changed` came with other
    content, and stayed as they were."""

    new: int
    known: int
    quarantined: int = 0
    erased: int = 0
    changed: int = 0


@dataclass(frozen=True, slots=True)
class UserSummary:
    """How much there is of a user: all interactions, and the times of the first and the last."""

    user: str
    interactions: int
    first: datetime | None
    last: datetime | None


class Store:
    """The memory database; thread-safe, and any number of processes may share it.

    Args:
        where: a file (SQLite) or a URL, `postgresql://user:password@host/database`. Default: the
            environment variable PERSONAAGENT_DB, else `memory.db` in the user's data folder.
        now: the clock; decides what is in the future and what has expired.
        screening: which interactions are put aside instead of stored; None stores everything.
        create: make a SQLite file, and its folder, that is not there.

    Raises:
        StoreError: the database cannot be opened, is not ours, or is of a newer schema.

    >>> from personaagent import Interaction
    >>> with Store("memory.db") as store:
    ...     added = store.add([Interaction("1", "amira", "inbox", "The car is due", "money")])
    ...     (kept,) = store.of("amira").interactions()
    >>> kept.response
    'money'
    """

    def __init__(
        self,
        where: str | Path | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        screening: Screening | None = Screening(),  # noqa: B008  (frozen)
        create: bool = True,
    ) -> None:
        if where is not None and not isinstance(where, str | Path):
            raise StoreError(
                f"a database of type {type(where).__name__} cannot be opened: give a file or a URL"
            )
        default = os.environ.get("PERSONAAGENT_DB") or user_data_path("personaagent") / "memory.db"
        self.database = Database(where or default, create=create)
        self.now = now
        self.screening = screening

    @property
    def name(self) -> str:
        """The file, or the URL without its password."""
        return self.database.name

    def __repr__(self) -> str:
        try:
            counts = [one.interactions for one in self.users()]
        except StoreError:
            return f"Store({self.name!r}, cannot be read)"
        return f"Store({self.name!r}, users={len(counts)}, interactions={sum(counts)})"

    def add(
        self,
        interactions: Iterable[Interaction],
        *,
        tasks: Mapping[str, Task] | None = None,
        progress: Callable[[int], None] | None = None,
        even_erased: bool = False,
        keep_first: bool = False,
    ) -> Added:
        """Store interactions, all of them or none; adding one twice is adding it once.

        What the screening suspects is put aside in the same transaction. One that was erased is
        left out: a file that still has it does not bring it back. Where the task is known, labels
        are stored in its spelling.

        Args:
            interactions: in the order in which they happened, where they have no time.
            tasks: those of their tasks that the database does not know yet.
            progress: called with the number of interactions just done.
            even_erased: store erased ones too, because their user wants them back.
            keep_first: where an id is known with other content, keep what is known: another
                program has changed it since, such as the answer that the user replied to.

        Raises:
            DataError: an interaction breaks the contract, its response is none of its task's
                answers, or its id is known with other content.
        """
        # Everything is read and checked first: the one writer's lock is not held meanwhile.
        now = self.now()
        known = self._tasks(tasks or {})
        each = validation.every("interactions", interactions, Interaction, GIVE)
        checked = [_fitting(encoding.checked(one, now), known) for one in each]
        suspects = self._suspects(checked, known)
        done = new = changed = 0
        with self.database.write() as connection:
            if even_erased:
                for user, ids in _by_user(checked).items():
                    tombstones.restore(connection, user, ids, encoding.microseconds(now))
            wanted = _not_erased(connection, checked)
            found = [suspects[key] for one in wanted if (key := _key(one)) in suspects]
            released = known_digests(connection, [one for one, _ in found])
            aside = {
                _key(one): Quarantined(one, why, now)
                for one, why in found
                if _key(one) not in released
            }
            welcome = iter([one for one in wanted if _key(one) not in aside])
            while batch := list(islice(welcome, _ROWS_AT_ONCE)):
                stored = self._add(connection, batch)
                new += stored
                if stored < len(batch):
                    differing = self._differing(connection, batch)
                    if differing and not keep_first:
                        raise _changed(*differing[0])
                    changed += len(differing)
                done += len(batch)
                if progress:
                    progress(len(batch))
            put_aside(self.database, connection, list(aside.values()))
        if progress:
            progress(len(checked) - done)
        left = len(wanted) - done
        return Added(new, done - new, left, len(checked) - len(wanted), changed)

    def suspicious(self, given: Sequence[Interaction]) -> list[Interaction]:
        """Those that the screening would put aside if they were added."""
        suspects = self._suspects(given, self._tasks({}))
        return [one for one in given if _key(one) in suspects]

    def trust_in(self, source: str) -> float:
        """How much the interactions of a source count in votes, in (0, 1]."""
        return 1.0 if self.screening is None else self.screening.trust_in(source)

    def users(self, task: str | None = None) -> list[UserSummary]:
        """Who has interactions (of a task), by name."""
        c = interactions.c
        select = sa.select(c.user, sa.func.count(), sa.func.min(c.time), sa.func.max(c.time))
        if task is not None:
            select = select.where(c.task == task)
        with self.database.read() as connection:
            found = connection.execute(select.group_by(c.user)).all()
        return sorted(
            (
                UserSummary(
                    user, count, encoding.moment_or_none(first), encoding.moment_or_none(last)
                )
                for user, count, first, last in found
            ),
            key=lambda summary: summary.user,
        )

    def with_persona(self, task: str) -> set[str]:
        """The users who have a persona for a task, with interactions or without."""
        select = sa.select(champions.c.user).where(champions.c.task == task)
        with self.database.read() as connection:
            return set(connection.scalars(select))

    def everyone(self) -> set[str]:
        """The users who have interactions, a persona, or something in quarantine."""
        selects = (sa.select(table.c.user) for table in (interactions, champions, quarantine))
        with self.database.read() as connection:
            return set(connection.scalars(sa.union(*selects)))

    def of(self, user: str) -> UserMemory:
        """One user's data; ids that differ in form only (see `data.normal`) are one user.

        Raises:
            DataError: the user is empty, or no text.
        """
        validation.instance("the user", user, str, "name one, as the store lists them")
        named = normal(user)
        validation.text("the user", named)
        return UserMemory(self.database, self.now, named)

    def save_vectors(self, fingerprint: str, seqs: Sequence[int], encoded: Sequence[bytes]) -> None:
        """Store or replace the vectors (`stored_vectors.vector_bytes`) of these interactions."""
        insert = self.database.insert(vectors)
        upsert = insert.on_conflict_do_update(
            index_elements=[vectors.c.seq],
            set_={"fingerprint": insert.excluded.fingerprint, "vector": insert.excluded.vector},
        )
        batch = [
            {"seq": seq, "fingerprint": fingerprint, "vector": vector}
            for seq, vector in zip(seqs, encoded, strict=True)
        ]
        with self.database.write() as connection:
            # An interaction may have been erased while it was embedded.
            c = interactions.c
            stored = set(connection.scalars(sa.select(c.seq).where(c.seq.in_(list(seqs)))))
            if batch := [row for row in batch if row["seq"] in stored]:
                connection.execute(upsert, batch)

    def close(self) -> None:
        """Give back the connections; whoever uses the store again opens new ones."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tasks(self, given: Mapping[str, Task]) -> dict[str, Task]:
        with self.database.read() as connection:
            return {**LAMP_TASKS, **saved_tasks(connection), **given}

    def _suspects(
        self, checked: Sequence[Interaction], tasks: Mapping[str, Task]
    ) -> dict[tuple[str, str, str], tuple[Interaction, str]]:
        """The interactions that are not accepted, with the reason, by their key."""
        if self.screening is None:
            return {}
        verdicts = ((one, self.screening.verdict(one, tasks.get(one.task))) for one in checked)
        return {
            _key(one): (one, verdict.reason) for one, verdict in verdicts if not verdict.accepted
        }

    def _add(self, connection: sa.Connection, batch: Sequence[Interaction]) -> int:
        """Insert one batch; how many of it were new."""
        insert = self.database.insert(interactions).on_conflict_do_nothing()
        c = interactions.c
        stored = connection.execute(
            insert.returning(c.user, c.task), [encoding.row(one) for one in batch]
        ).all()
        changes.note(self.database, connection, ((user, task) for user, task in stored))
        return len(stored)

    def _differing(
        self, connection: sa.Connection, batch: Sequence[Interaction]
    ) -> list[tuple[Interaction, Interaction]]:
        """Those of a batch that are stored with other content, each with what is stored."""
        found = []
        c = interactions.c
        of_user = defaultdict(list)
        for one in batch:
            of_user[one.user].append(one)
        # A select a user: SQLite answers `(user, id) IN (...)` by reading the whole table.
        for user, given in of_user.items():
            select = sa.select(interactions).where(c.user == user, c.id.in_([i.id for i in given]))
            stored = {row.id: row for row in connection.execute(select)}
            for one in given:
                if stored[one.id].digest != one.digest:
                    found.append((one, encoding.interaction(stored[one.id]._mapping)))
        return found


def _changed(one: Interaction, known: Interaction) -> DataError:
    fields = ", ".join(encoding.difference(one, known))
    return DataError(
        f"interaction '{one.id}' of user '{one.user}' is known with other content (differs in: "
        f"{fields}): interactions are immutable, give the changed one an id of its own; nothing "
        "was stored"
    )


def _fitting(one: Interaction, tasks: Mapping[str, Task]) -> Interaction:
    task = tasks.get(one.task)
    return task.checked(one) if task else one


def _key(one: Interaction) -> tuple[str, str, str]:
    return one.user, one.id, one.digest


def _by_user(batch: Iterable[Interaction]) -> dict[str, list[str]]:
    """The ids of a batch by user."""
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for one in batch:
        ids[one.user].append(one.id)
    return ids


def _not_erased(connection: sa.Connection, batch: Sequence[Interaction]) -> list[Interaction]:
    gone = {user: tombstones.erased(connection, user, ids) for user, ids in _by_user(batch).items()}
    return [one for one in batch if one.id not in gone[one.user]]
