"""A user's own data: JSON Lines of interactions or queries, plain or gzip, and a file of tasks.

A table (see `tables`) with the same fields as columns is read alike.

An interaction is one line with id, user, task, query, response and, where known, time, weight,
source, expires, metadata (text by text) and signal (click, dwell, skip, edit: see `signals`; it
lowers the weight). A query has id, user, task, query and may have a response
(its gold answer), time and habit (a mark of the sample data, not read). Blank lines are allowed.

A tasks file is a JSON list; a task has name, kind (classification, rating, text, choice or chat),
instruction, if wanted the nouns item and answer and a lifetime in days, after which an interaction
expires that does not say so itself, and labels (classification), low and high (rating), or the
number of options (choice; two by default).

Data files are read as a stream, so an error may come after lines were given out: who stores them
does so in one transaction, and then nothing of a broken file is stored. With an account that leaves
malformed lines, they are left one by one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from personaagent.data.files import instant, opened, past
from personaagent.data.import_summary import ImportSummary
from personaagent.data.interaction import Interaction, Query, Signal
from personaagent.data.tables import is_table, rows
from personaagent.data.task import (
    Chat,
    Choice,
    Classification,
    Rating,
    Task,
    Text,
    numbered,
)
from personaagent.data.validation import (
    Filled,
    Refuse,
    Row,
    UserId,
    parse_json,
    require_object,
    suggestion,
    validated,
)
from personaagent.errors import DataError

_Moment = Annotated[datetime, BeforeValidator(instant)]
_Past = Annotated[_Moment, AfterValidator(past)]
_R = TypeVar("_R", bound="_Asked")
_V = TypeVar("_V", Interaction, Query)


class _Asked(Row):
    id: Filled
    user: UserId
    task: Filled
    query: Filled
    time: _Past | None = None


class _SignalRow(Row):
    click: bool | None = None
    dwell: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    skip: bool | None = None
    edit: float | None = Field(default=None, ge=0, le=1)


class _InteractionRow(_Asked):
    response: str
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    source: Filled = "user"
    expires: _Moment | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    signal: _SignalRow | None = None


class _QueryRow(_Asked):
    response: str | None = None
    habit: bool | None = None


class _TaskRow(Row):
    name: Filled
    kind: str
    instruction: Filled
    item: Filled | None = None
    answer: Filled | None = None
    lifetime: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class _ClassificationRow(_TaskRow):
    labels: list[Filled]


class _RatingRow(_TaskRow):
    low: int
    high: int


class _ChoiceRow(_TaskRow):
    options: int = Field(default=2, ge=2, le=26)


_KINDS: dict[str, tuple[type[_TaskRow], type[Task]]] = {
    "classification": (_ClassificationRow, Classification),
    "rating": (_RatingRow, Rating),
    "text": (_TaskRow, Text),
    "choice": (_ChoiceRow, Choice),
    "chat": (_TaskRow, Chat),
}


def read_tasks(path: str | Path) -> dict[str, Task]:
    """The tasks of a tasks file by name.

    Raises:
        DataError: the file is no list of tasks; it names the task and the field.
    """
    with opened(path) as stream:
        data = parse_json(stream.read(), path)
    if not isinstance(data, list):
        raise DataError(f"{path}: a list of tasks [...] is due, not {data!r:.60}")
    tasks: dict[str, Task] = {}
    for number, entry in enumerate(data, 1):
        task = _task(entry, partial(_refuse_task, path, number))
        if task.name in tasks:
            raise _refuse_task(path, number, "name", f"'{task.name}' is taken by a task above")
        tasks[task.name] = task
    return tasks


def _task(entry: object, refuse: Refuse) -> Task:
    kind = str(require_object(entry, refuse).get("kind"))
    if kind not in _KINDS:
        raise refuse("kind", f"'{kind}' is not a kind of task{suggestion(kind, _KINDS)}")
    model, make = _KINDS[kind]
    fields = validated(model, entry, refuse).model_dump(exclude={"kind"}, exclude_none=True)
    if "options" in fields:
        fields["labels"] = numbered(fields.pop("options"))
    elif "labels" in fields:
        fields["labels"] = tuple(fields["labels"])
    try:
        return make(**fields)
    except DataError as error:
        raise refuse("labels" if "labels" in fields else "high", str(error)) from error


def _refuse_task(path: str | Path, number: int, field: str, problem: str) -> DataError:
    return DataError(f"{path}: task {number}: field '{field}': {problem}")


def read_interactions(
    path: str | Path, tasks: Mapping[str, Task], *, account: ImportSummary | None = None
) -> Iterator[Interaction]:
    """The interactions of a file, in its order; a line that repeats an earlier one is left out.

    Times come out in UTC, labels in the spelling of their task, signals as the weight.

    Args:
        account: takes notice of user ids, and says whether malformed lines are left.

    Raises:
        DataError: a line breaks the format; it names the file, the line and the field. Among
            others: an unknown field or task, an answer that is none of the task's labels, a time
            without zone or in the future, and an id that an earlier line used for something else.
    """
    return _read(path, _InteractionRow, _interaction, tasks, account or ImportSummary())


def read_queries(
    path: str | Path, tasks: Mapping[str, Task], *, account: ImportSummary | None = None
) -> Iterator[Query]:
    """The queries of a file, in its order, with `response` as gold; for the rest see above."""
    return _read(path, _QueryRow, _query, tasks, account or ImportSummary())


def _read(
    path: str | Path,
    model: type[_R],
    make: Callable[[_R, Task, Refuse], _V],
    tasks: Mapping[str, Task],
    account: ImportSummary,
) -> Iterator[_V]:
    """What is made of each row, once."""
    seen: dict[str, tuple[int, bytes]] = {}
    with closing(rows(path) if is_table(path) else _lines(path)) as entries:
        for line, raw in entries:
            refuse: Refuse = partial(DataError.at, str(path), line)
            try:
                entry = raw if isinstance(raw, dict) else parse_json(raw, path, line)
                row = validated(model, entry, refuse)
                task = tasks.get(row.task)
                if task is None:
                    hint = suggestion(row.task, tasks)
                    raise refuse("task", f"'{row.task}' is not a known task{hint}")
                made = make(row, task, refuse)
                digest = hashlib.sha256(repr(made).encode()).digest()
                first, content = seen.setdefault(row.id, (line, digest))
                if content != digest:
                    raise refuse(
                        "id", f"'{row.id}' stands on line {first} with other content: rename one"
                    )
            except DataError as error:
                account.refuse(error)
                continue
            account.user(row.user)
            if first == line:
                yield made


def _lines(path: str | Path) -> Generator[tuple[int, Any]]:
    """The lines of a file that are not blank, with their numbers."""
    with opened(path) as stream:
        for line, raw in enumerate(stream, 1):
            if raw.strip():
                yield line, raw


def _interaction(row: _InteractionRow, task: Task, refuse: Refuse) -> Interaction:
    response = row.response
    # LaMP-1's papers are evidence without an answer; everywhere else an answer is due.
    if response or not isinstance(task, Choice):
        response = _answer(task, response, refuse)
    if row.time and row.expires and row.expires <= row.time:
        raise refuse("expires", "it is not after 'time': the interaction was never valid")
    return Interaction(
        id=row.id,
        user=row.user,
        task=row.task,
        query=row.query,
        response=response,
        time=row.time,
        weight=row.weight * (Signal(**row.signal.model_dump()).weight if row.signal else 1),
        source=row.source,
        expires=row.expires or task.expiry(row.time),
        metadata=dict(sorted(row.metadata.items())),
    )


def _query(row: _QueryRow, task: Task, refuse: Refuse) -> Query:
    gold = None if row.response is None else _answer(task, row.response, refuse)
    return Query(row.id, row.user, row.task, row.query, gold, row.time)


def _answer(task: Task, response: str, refuse: Refuse) -> str:
    if not response.strip():
        raise refuse("response", "it is empty: give the user's answer")
    try:
        return task.parse(response)
    except DataError as error:
        raise refuse("response", str(error)) from error
