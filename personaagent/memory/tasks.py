"""The tasks that a memory database knows, so that a task is described once and named ever after.

Definitions are kept in `meta`, one entry a task. LaMP's tasks are always known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

import sqlalchemy as sa

from personaagent.data import LAMP_TASKS, Choice, Classification, Rating, Task, Text
from personaagent.errors import DataError
from personaagent.memory.schema import champions, interactions, meta
from personaagent.memory.store import Store

_KEY = "task:"
_KINDS: dict[str, type[Task]] = {
    kind.__name__.lower(): kind for kind in (Classification, Rating, Text, Choice)
}


def load_tasks(store: Store) -> dict[str, Task]:
    """Every task that can be named: LaMP's, and those that were saved."""
    with store.database.read() as connection:
        return LAMP_TASKS | _saved(connection)


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
        known = LAMP_TASKS | _saved(connection)
        for task in tasks:
            _refuse_change(known, task)
            row = {"key": _KEY + task.name, "value": json.dumps(definition(task))}
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


def definition(task: Task) -> dict[str, object]:
    """A task as JSON data; `task_from` makes the task of it."""
    return {"kind": type(task).__name__.lower(), **asdict(task)}


def task_from(definition: dict[str, object]) -> Task:
    """The task that `definition` described."""
    fields = dict(definition)
    kind = _KINDS[str(fields.pop("kind"))]
    labels = fields.pop("labels")
    assert isinstance(labels, list | tuple)
    return kind(**fields, labels=tuple(labels))  # type: ignore[arg-type]


def _saved(connection: sa.Connection) -> dict[str, Task]:
    select = sa.select(meta.c.value).where(meta.c.key.startswith(_KEY)).order_by(meta.c.key)
    tasks = [task_from(json.loads(text)) for text in connection.scalars(select)]
    return {task.name: task for task in tasks}


def _refuse_change(known: dict[str, Task], task: Task) -> None:
    before = known.get(task.name)
    if before is None or (type(before), before.labels) == (type(task), task.labels):
        return
    raise DataError(
        f"task '{task.name}' is known as a {type(before).__name__.lower()} with the answers "
        f"{', '.join(before.labels) or 'of free text'}: give the changed task a name of its own; "
        "nothing was stored"
    )
