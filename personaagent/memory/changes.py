"""Who has changed since the last alignment, noted as it happens.

To compare a million users' newest interactions with their alignments takes minutes, and of those
few have anything new.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from personaagent.memory.schema import changed, interactions

if TYPE_CHECKING:
    from personaagent.memory.database import Database
    from personaagent.memory.store import Store


def note(database: Database, connection: sa.Connection, who: Iterable[tuple[str, str]]) -> None:
    """Note that there is something new of (user, task), in the transaction that writes it."""
    rows = [{"user": user, "task": task} for user, task in sorted(set(who))]
    if rows:
        connection.execute(database.insert(changed).on_conflict_do_nothing(), rows)


def note_loss(
    database: Database, connection: sa.Connection, user: str, tasks: Iterable[str]
) -> None:
    """Note that interactions of the user are gone; where none is left, nothing is new either."""
    i, c = interactions.c, changed.c
    for task in sorted(set(tasks)):
        left = sa.select(sa.exists().where(i.user == user, i.task == task))
        if connection.scalar(left):
            note(database, connection, [(user, task)])
        else:
            connection.execute(changed.delete().where(c.user == user, c.task == task))


def settle(connection: sa.Connection, user: str, task: str, newest: int) -> None:
    """An alignment knows all up to an interaction: nothing is new if none is newer."""
    i, c = interactions.c, changed.c
    newer = sa.exists().where(i.user == user, i.task == task, i.seq > newest)
    connection.execute(changed.delete().where(c.user == user, c.task == task, ~newer))


def settle_all(store: Store, known: Iterable[tuple[str, str, int]]) -> None:
    """`settle` for (user, task, newest) of whom somebody found that nothing is new."""
    if known := list(known):
        with store.database.write() as connection:
            for one in known:
                settle(connection, *one)


def changed_users(store: Store, task: str | None = None) -> list[str]:
    """Users with something new (of a task), by name."""
    select = sa.select(changed.c.user).distinct().order_by(changed.c.user)
    if task is not None:
        select = select.where(changed.c.task == task)
    with store.database.read() as connection:
        return list(connection.scalars(select))
