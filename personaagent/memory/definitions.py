"""Task definitions as they are kept in `meta`, one entry a task."""

from __future__ import annotations

import json

import sqlalchemy as sa

from personaagent.data import Choice, Classification, Rating, Task, Text
from personaagent.memory.schema import meta

KEY = "task:"
_KINDS: dict[str, type[Task]] = {
    kind.__name__.lower(): kind for kind in (Classification, Rating, Text, Choice)
}


def saved_tasks(connection: sa.Connection) -> dict[str, Task]:
    """The tasks that were saved, by name."""
    select = sa.select(meta.c.value).where(meta.c.key.startswith(KEY)).order_by(meta.c.key)
    tasks = [_task(json.loads(text)) for text in connection.scalars(select)]
    return {task.name: task for task in tasks}


def _task(definition: dict[str, object]) -> Task:
    kind = _KINDS[str(definition.pop("kind"))]
    labels = definition.pop("labels")
    assert isinstance(labels, list)
    return kind(**definition, labels=tuple(labels))  # type: ignore[arg-type]
