"""The tasks that a memory database knows, so that a task is described once and named ever after.

Definitions are kept in `meta`, one entry a task. LaMP's tasks are always known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches

import sqlalchemy as sa

from personaagent.data import LAMP_TASKS, Task
from personaagent.data.validation import suggestion
from personaagent.errors import DataError
from personaagent.memory.definitions import KEY, definition, saved_tasks
from personaagent.memory.schema import champions, interactions, meta
from personaagent.memory.store import Store


def load_tasks(store: Store) -> dict[str, Task]:
    """Every task that can be named: LaMP's, and those that were saved."""
    with store.database.glance() as connection:
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


def task_named(store: Store, name: str) -> Task:
    """A task that the store knows.

    Raises:
        DataError: there is no such task.
    """
    tasks = load_tasks(store)
    if name not in tasks:
        raise DataError(
            f"there is no task '{name}'{suggestion(name, tasks)}: "
            "'personaagent import FILE --tasks tasks.json' makes your own tasks known"
        )
    return tasks[name]


def task_of(store: Store, user: str, name: str | None) -> Task:
    """The task of this name, or without one the only task that the user has.

    Raises:
        DataError: there is no such task, or none or several to choose from.
    """
    if name is not None:
        return task_named(store, name)
    names = tasks_of(store, user)
    if len(names) == 1:
        return task_named(store, names[0])
    if names:
        raise DataError(
            f"user '{user}' has several tasks: name one with --task ({', '.join(names)})"
        )
    close = get_close_matches(user, [one.user for one in store.users()], n=1)
    raise DataError(
        f"user '{user}' has no interactions in {store.name}"
        + (f": did you mean '{close[0]}'?" if close else "")
        + ": add some with 'personaagent import' or 'personaagent observe', or name the task "
        "with --task"
    )


def _refuse_change(known: dict[str, Task], task: Task) -> None:
    before = known.get(task.name)
    if before is None or (isinstance(task, type(before)) and before.labels == task.labels):
        return
    raise DataError(
        f"task '{task.name}' is known as a {type(before).__name__.lower()} with the answers "
        f"{', '.join(before.labels) or 'of free text'}: give the changed task a name of its own; "
        "nothing was stored"
    )
