"""OPPU's processed users (Tan et al., 2024): LaMP again, with a whole history a user.

`user_top_100_history.json` is `[{user_id, profile: [...], query: [{id, input, gold}]}]`: the 100
users of a task with the longest histories, and several queries each. Entries and inputs are
spelled as in LaMP's files; in LaMP-1 an entry pairs a paper with one that it cites, which is kept
as metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from personaagent.data.files import Document
from personaagent.data.import_summary import ImportSummary
from personaagent.data.interaction import Interaction, Query
from personaagent.data.task import Task
from personaagent.errors import DataError
from personaagent.experiments.lamp_files import Place, read_history, read_question

_DUE = "not a file of OPPU's users: it must be a list of records"


@dataclass(frozen=True, slots=True)
class OppuUser:
    """One user: the queries with their gold answers, and the history that all of them see."""

    user: str
    queries: tuple[Query, ...]
    history: tuple[Interaction, ...]


def iter_oppu(
    task: Task, path: Path, *, account: ImportSummary | None = None
) -> Iterator[OppuUser]:
    """The users of a file, one at a time.

    Args:
        task: one of `LAMP_TASKS`.
        account: takes notice of user ids, and says whether users and queries that break the
            format are left.

    Raises:
        DataError: a user or query breaks the format, a gold answer is missing or none of the
            task's labels, or two queries have the same id.
    """
    account = account or ImportSummary()
    asked: set[str] = set()
    for number, record in Document(path).records(_DUE):
        try:
            user, history = _user(task, record, path, number)
        except DataError as error:
            account.refuse(error)
            continue
        user = account.user(user)
        queries = []
        for place, given in _queries(record, path, user):
            try:
                query = _query(task, given, place, user)
                if query.id in asked:
                    raise place.error("id", f"there are two queries '{query.id}' in this file")
            except DataError as error:
                account.refuse(error)
                continue
            asked.add(query.id)
            queries.append(query)
        yield OppuUser(user, tuple(queries), history)


def _user(task: Task, record: Any, path: Path, number: int) -> tuple[str, tuple[Interaction, ...]]:
    place = Place(path, f"#{number}")
    if not isinstance(record, dict):
        raise place.error("user_id", f"a record must be an object, not {record!r:.60}")
    user = place.text(record, "user_id")
    place = Place(path, user)
    if not isinstance(record.get("query"), list):
        raise place.error("query", "it must be a list of queries")
    return user, read_history(task, record, user, place)


def _queries(record: dict[str, Any], path: Path, user: str) -> Iterator[tuple[Place, Any]]:
    for number, given in enumerate(record["query"], 1):
        yield Place(path, f"{user}, query #{number}"), given


def _query(task: Task, given: Any, place: Place, user: str) -> Query:
    if not isinstance(given, Mapping):
        raise place.error("query", f"a query must be an object, not {given!r:.60}")
    id = place.text(given, "id")
    place = Place(place.path, f"{user}, query {id}")
    query = read_question(task, {**given, "profile": []}, user, place).query
    return replace(query, id=id, gold=place.parse(task, given, "gold"))
