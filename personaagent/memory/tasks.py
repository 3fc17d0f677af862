"""The tasks that a memory database knows, so that a task is described once and named ever after.

Definitions are kept in `meta`, one entry a task. LaMP's tasks are always known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import sqlalchemy as sa

from personaagent.data import LAMP_TASKS, Task
from personaagent.errors import DataError
from personaagent.memory.definitions import KEY, definition, saved_tasks
from personaagent.memory.schema import champions, interactions, meta
from personaagent.memory.store import Store


def load_tasks(store: Store) -> dict[str, Task]:
    """Every task that can be named: LaMP's, and those that were saved."""
    with store.database.read() as connection:
        return LAMP_TASKS | saved_tasks(connection)


def check_tasks(store: Store, tasks: Iterable[Task]) -> None:
    """Refuse what `save_tasks` would refuse, and write nothing.

    Raises:
        DataError: a task is known with other answers.
    """
    known = load_tasks(store)
    for task in tasks:
        _refuse_change(known, task)


def save_tasks(store: Store, tasks: Iterable[Task]) -> None:
    """Remember tasks, all or none; the wording of a known one may change, its answers may not.

    Raises:
        DataError: a task is known with other answers: what is stored would not fit it any more.
    """
    with store.database.write() as connection:
        known = LAMP_TASKS | saved_tasks(connection)
        for task in tasks:
            _refuse_change(known, task)
            row = {"key": KEY + task.name, "value": json.dumps(definition(task))}
            store.database.upsert(connection, meta, row)


def tasks_of(store: Store, user: str) -> list[str]:
    """The names of the tasks in which a user has interactions or a persona.

    Raises:
        DataError: the user is empty.
    """
    mine = store.of(user).user
    selects = (
        sa.select(table.c.task).where(table.c.user == mine) for table in (interactions, champions)
    )
    with store.database.read() as connection:
        return sorted(connection.scalars(sa.union(*selects)))


def _refuse_change(known: dict[str, Task], task: Task) -> None:
    before = known.get(task.name)
    if before is None or (type(before), before.labels) == (type(task), task.labels):
        return
    raise DataError(
        f"task '{task.name}' is known as a {type(before).__name__.lower()} with the answers "
        f"{', '.join(before.labels) or 'of free text'}: give the changed task a name of its own; "
        "nothing was stored"
    )
