"""Task definitions as they are kept in `meta`, one entry a task."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache

import sqlalchemy as sa

from personaagent.data import Chat, Choice, Classification, Rating, Task, Text
from personaagent.memory.schema import meta

KEY = "task:"
_KINDS: dict[str, type[Task]] = {
    kind.__name__.lower(): kind for kind in (Classification, Rating, Text, Choice, Chat)
}
_SAVED = sa.select(meta.c.value).where(meta.c.key.startswith(KEY)).order_by(meta.c.key)


def saved_tasks(connection: sa.Connection) -> dict[str, Task]:
    """The tasks that were saved, by name."""
    tasks = map(_task, connection.scalars(_SAVED))
    return {task.name: task for task in tasks}


@lru_cache(maxsize=1_024)
def _task(text: str) -> Task:
    """A task cannot be changed, so every reader of the same definition gets the same one."""
    return task_from(json.loads(text))


def is_ours(task: Task) -> bool:
    """Whether a task is of a kind that can be described; one of a class of its user's is not."""
    return _KINDS.get(type(task).__name__.lower()) is type(task)


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
