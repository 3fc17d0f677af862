"""One record of a LaMP questions file as a query with its history.

In LaMP-1 the profile holds the author's own papers, which are evidence and not answers: such an
interaction is (query=title, response="", metadata={"abstract": ...}), and `self_supervised_pairs`
makes questions with answers out of them. In LaMP-7 it holds only tweets: query and response are
the same tweet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from personaagent.data.interaction import Interaction, Query
from personaagent.data.lamp_tasks import layout, unwrap
from personaagent.data.reading import past
from personaagent.data.task import Task
from personaagent.errors import DataError

_DATE = re.compile(r"(?P<year>\d{4})|(?P<seconds>-?\d+)|(?P<day>\d{4}-\d\d-\d\d)")


@dataclass(frozen=True, slots=True)
class LampQuestion:
    """One record: a query, and the history that LaMP allows for its answer."""

    query: Query
    history: tuple[Interaction, ...]


@dataclass(frozen=True)
class Place:
    """A record of a file: it reads fields and knows how to say where one is wrong."""

    path: Path
    record: str

    @classmethod
    def of(cls, path: Path, number: int, record: object) -> Place:
        """The place of the record that stands at `number`, counted from 1, in the file."""
        place = cls(path, f"#{number}")
        if not isinstance(record, dict):
            raise place.error("id", f"a record must be an object, not {record!r:.60}")
        return cls(path, place.text(record, "id"))

    def error(self, field: str, problem: object) -> DataError:
        """The error to raise: it names file, record and field."""
        return DataError(f"{self.path}: record {self.record}: field '{field}': {problem}")

    def text(self, data: Mapping[str, Any], key: str, prefix: str = "") -> str:
        """A text that must be there; `prefix` says where in the record `data` is."""
        value = data.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)  # scores and ids stand there as numbers too
        if not isinstance(value, str) or not value.strip():
            found = "missing" if value is None else f"{value!r:.60}"
            raise self.error(prefix + key, f"it must be a text that is not empty, and is {found}")
        return value

    def parse(self, task: Task, data: Mapping[str, Any], key: str, prefix: str = "") -> str:
        """An answer in its canonical form."""
        text = self.text(data, key, prefix)
        try:
            return task.parse(text)
        except DataError as error:
            raise self.error(prefix + key, error) from error

    def moment(self, data: Mapping[str, Any], prefix: str = "") -> datetime | None:
        """The date in UTC, None where there is none."""
        value = data.get("date")
        if value is None:
            return None
        try:
            return past(_date(value))
        except (ValueError, OverflowError, OSError) as error:
            raise self.error(f"{prefix}date", error) from error


def read_question(task: Task, record: Mapping[str, Any], user: str, place: Place) -> LampQuestion:
    """The question of a record, without its gold answer.

    Raises:
        DataError: a field is missing or wrong, or the history is from after the question.
    """
    text = place.text(record, "input")
    try:
        item = unwrap(task, text)
    except DataError as error:
        raise place.error("input", error) from error
    time = place.moment(record)
    query = Query(place.record, user, task.name, item, time=time)
    return LampQuestion(query, read_history(task, record, user, place, asked=time))


def read_history(
    task: Task,
    record: Mapping[str, Any],
    user: str,
    place: Place,
    *,
    asked: datetime | None = None,
) -> tuple[Interaction, ...]:
    """The profile of a record, entries that are alike once.

    Raises:
        DataError: a field is missing or wrong, or an entry is from after `asked`.
    """
    profile = record.get("profile")
    if not isinstance(profile, list):
        raise place.error("profile", "it must be a list; an empty one for a new user")
    history: dict[str, Interaction] = {}
    for number, entry in enumerate(profile):
        at = f"profile[{number}]."
        if not isinstance(entry, dict):
            raise place.error(at.rstrip("."), f"it must be an object, not {entry!r:.60}")
        one = _interaction(task, entry, user, place, at)
        if asked and one.time and one.time - asked > timedelta(days=1):
            raise place.error(f"{at}date", f"{one.time:%Y-%m-%d} is after its question: a leak")
        history.setdefault(one.id, one)
    return tuple(history.values())


def _interaction(
    task: Task, entry: Mapping[str, Any], user: str, place: Place, at: str
) -> Interaction:
    keys = layout(task)
    one = Interaction(
        id="",
        user=user,
        task=task.name,
        query=place.text(entry, keys.query, at),
        response=place.parse(task, entry, keys.response, at) if keys.response else "",
        time=place.moment(entry, at),
        metadata={key: str(entry[key]) for key in keys.metadata if entry.get(key)},
    )
    return replace(one, id=one.digest[:16])


def _date(value: object) -> datetime:
    """Unix seconds, a day or a year, which count from their beginning in UTC."""
    match = _DATE.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is no Unix seconds, no day like '2018-03-01' and no year")
    if match["seconds"]:
        return datetime.fromtimestamp(int(match["seconds"]), UTC)
    day = match["day"] or f"{match['year']}-01-01"
    return datetime.fromisoformat(day).replace(tzinfo=UTC)
