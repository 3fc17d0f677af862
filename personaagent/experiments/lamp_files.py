"""The files of the LaMP benchmark (Salemi et al., 2024) as a stream.

A questions file is `[{id, input, profile: [...]}]`, an outputs file is
`{task, golds: [{id, output}]}`, both plain or gzip. Questions reach 400 MB and are parsed as a
stream, so an error may come after records were given out: who stores them does so in one
transaction.

In LaMP-1 the profile holds the author's own papers, which are evidence and not answers: such an
interaction is (query=title, response="", metadata={"abstract": ...}), and `self_supervised_pairs`
makes questions with answers out of them. In LaMP-7 it holds only tweets: query and response are the
same tweet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personaagent.data.files import Document, opened, past
from personaagent.data.import_summary import ImportSummary
from personaagent.data.interaction import Interaction, Query
from personaagent.data.lamp_tasks import layout, unwrap
from personaagent.data.normal import normal
from personaagent.data.task import Task
from personaagent.data.validation import parse_json
from personaagent.errors import DataError

if TYPE_CHECKING:
    pass


_DUE = "not a questions file: it must be a list of records"


def iter_lamp(
    task: Task,
    questions: Path,
    outputs: Path | None = None,
    *,
    users: str | Sequence[str] | None = None,
    limit: int | None = None,
    account: ImportSummary | None = None,
) -> Iterator[LampQuestion]:
    """The questions of a file, one at a time.

    A record without `user_id` is a user of its own, named by its id (LaMP's user split). An
    interaction's id is derived from its content, since LaMP names the same entry differently in
    every profile: the same entry has the same id in every question of its user, and entries of a
    profile that are alike in text, answer, title and date are one.

    Args:
        task: one of `LAMP_TASKS`.
        outputs: the gold answers; None leaves `Query.gold` empty.
        users: only these.
        limit: at most that many questions.
        account: takes notice of user ids, and says whether malformed records are left.

    Raises:
        DataError: a file or record breaks the format, an answer is none of the task's labels,
            a gold answer is missing, a date lies in the future or after its question, or one of
            `users` is not in the file.
    """
    account = account or ImportSummary()
    return islice(_questions(task, questions, outputs, users, account), limit)


def read_golds(path: Path, task: Task, *, account: ImportSummary | None = None) -> dict[str, str]:
    """The gold answers of an outputs file by question id; `account` may leave malformed ones.

    Raises:
        DataError: the file is none, belongs to another task, or holds an unknown label.
    """
    with opened(path) as stream:
        data = parse_json(stream.read(), path)
    if not isinstance(data, dict) or not isinstance(data.get("golds"), list):
        raise DataError(f"{path}: not an outputs file, {{task, golds: [{{id, output}}]}}")
    names = layout(task).names
    if str(data.get("task")).replace("-", "_").lower() not in {name.lower() for name in names}:
        raise DataError(
            f"{path}: field 'task': it holds answers of {data.get('task')!r}, not of {names[0]}"
        )
    account = account or ImportSummary()
    golds: dict[str, str] = {}
    for number, gold in enumerate(data["golds"], 1):
        try:
            place = Place.of(path, number, gold)
            answer = place.parse(task, gold, "output")
            if golds.setdefault(place.record, answer) != answer:
                raise place.error("output", f"'{answer}', but '{golds[place.record]}' further up")
        except DataError as error:
            account.refuse(error)
    return golds


def _questions(
    task: Task,
    path: Path,
    outputs: Path | None,
    users: str | Sequence[str] | None,
    account: ImportSummary,
) -> Iterator[LampQuestion]:
    layout(task)
    golds = None if outputs is None else read_golds(outputs, task, account=account)
    named = [users] if isinstance(users, str) else users
    wanted = None if named is None else {normal(one) for one in named}
    unseen = set(wanted or ())
    ids: set[str] = set()
    read = Document(path).records(_DUE)
    for number, record in read:
        try:
            place = Place.of(path, number, record)
            id = place.text(record, "user_id") if "user_id" in record else place.record
            if wanted is not None and normal(id) not in wanted:
                continue
            user = account.user(id)
            unseen.discard(user)
            if place.record in ids:
                raise place.error("id", "another record of this file has the same id")
            ids.add(place.record)
            question = read_question(task, record, user, place)
            if golds is not None and account.skip_malformed and place.record not in golds:
                raise place.error("id", f"it has no gold answer in {outputs}")
        except DataError as error:
            account.refuse(error)
            continue
        if golds is not None:
            if place.record not in golds:
                missing = (str(r.get("id")) for _, r in read if isinstance(r, dict))
                more = islice((id for id in missing if id not in golds), 4)
                raise DataError(
                    f"{outputs}: no gold answer for records of {path}: "
                    f"{', '.join([place.record, *more])}: take the outputs of the same split"
                )
            question = replace(question, query=replace(question.query, gold=golds[place.record]))
        yield question
    if unseen:
        raise DataError(f"{path}: it holds no such users: {', '.join(sorted(unseen)[:5])}")


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
