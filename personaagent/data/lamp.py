"""The files of the LaMP benchmark (Salemi et al., 2024) as a stream.

A questions file is `[{id, input, profile: [...]}]`, an outputs file is
`{task, golds: [{id, output}]}`, both plain or gzip. Questions reach 400 MB and are parsed as a
stream, so an error may come after records were given out: who stores them does so in one
transaction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from personaagent.data.account import Account
from personaagent.data.documents import Document
from personaagent.data.hf import cached_dataset
from personaagent.data.interaction import Interaction, Query
from personaagent.data.lamp_record import LampQuestion, Place, read_question
from personaagent.data.lamp_tasks import layout
from personaagent.data.normal import normal
from personaagent.data.reading import opened
from personaagent.data.rows import parse_json
from personaagent.data.task import Task
from personaagent.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

_DUE = "not a questions file: it must be a list of records"


@dataclass(frozen=True, slots=True)
class LampData:
    """A questions file in memory; `skipped` says what was malformed, one message a record."""

    task: Task
    questions: tuple[LampQuestion, ...]
    skipped: tuple[str, ...] = ()

    @property
    def queries(self) -> tuple[Query, ...]:
        """The queries, in the order of the file."""
        return tuple(question.query for question in self.questions)

    @property
    def interactions(self) -> tuple[Interaction, ...]:
        """The histories of all questions, each interaction once.

        A later question's history can hold an earlier question with its answer: answer a query
        only from what is older than `Query.time`.
        """
        return tuple(_unique(self.questions))


def iter_lamp(
    task: Task,
    questions: Path,
    outputs: Path | None = None,
    *,
    users: str | Sequence[str] | None = None,
    limit: int | None = None,
    account: Account | None = None,
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
    account = account or Account()
    return islice(_questions(task, questions, outputs, users, account), limit)


def read_lamp(
    task: Task,
    questions: Path,
    outputs: Path | None = None,
    *,
    users: str | Sequence[str] | None = None,
    limit: int | None = None,
    skip_malformed: bool = False,
) -> LampData:
    """The same as `iter_lamp`, in memory, with the malformed records that were passed over."""
    account = Account(skip_malformed)
    read = tuple(iter_lamp(task, questions, outputs, users=users, limit=limit, account=account))
    return LampData(task, read, tuple(account.malformed))


def lamp_dataset(
    task: Task,
    questions: Path,
    *,
    users: str | Sequence[str] | None = None,
    limit: int | None = None,
    skip_malformed: bool = False,
    cache_dir: Path | None = None,
) -> Dataset:
    """The interactions of a questions file as a dataset on disk, each once, built once.

    The cache is keyed by the content of the file and the arguments. For the arguments and errors
    see `iter_lamp`; `cache_dir` is the cache's folder, by default that of `datasets`.
    """
    with opened(questions) as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    selection = [users] if isinstance(users, str) else users and list(users)
    key = json.dumps([content, repr(task), selection, limit, skip_malformed])
    return cached_dataset(
        lambda: _unique(
            iter_lamp(task, questions, users=users, limit=limit, account=Account(skip_malformed))
        ),
        hashlib.sha256(key.encode()).hexdigest(),
        cache_dir=cache_dir,
    )


def read_golds(path: Path, task: Task, *, account: Account | None = None) -> dict[str, str]:
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
    account = account or Account()
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


def write_predictions(path: Path, task: Task, answers: Mapping[str, str]) -> None:
    """Write answers by question id in the form that LaMP's evaluation reads."""
    golds = [{"id": id, "output": answer} for id, answer in answers.items()]
    data = {"task": layout(task).names[0], "golds": golds}
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _unique(questions: Iterable[LampQuestion]) -> Iterator[Interaction]:
    seen: set[str] = set()
    for question in questions:
        for interaction in question.history:
            if interaction.id not in seen:
                seen.add(interaction.id)
                yield interaction


def _questions(
    task: Task,
    path: Path,
    outputs: Path | None,
    users: str | Sequence[str] | None,
    account: Account,
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
