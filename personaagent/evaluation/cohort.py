"""What is asked, of whom: the samples of a data set, and the seeded part of them that is used.

LaMP lets a question see its own history only. Where the questions have times, a user's histories
are merged and each question sees what was strictly before it. Where they have none, every question
is a user of its own, so that nothing merges. `Sample.owner` stays the user of the file: halves and
statistics go by it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from personaagent.data import (
    Account,
    Interaction,
    Query,
    Task,
    iter_lamp,
    iter_oppu,
    read_interactions,
    read_queries,
)
from personaagent.data.reading import opened
from personaagent.errors import DataError

Half = Literal["dev", "report"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A query with its gold answer; `query.user` is whose memory in the store it sees."""

    query: Query
    owner: str

    @property
    def gold(self) -> str:
        return self.query.gold or ""


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """Samples of one task, and the histories of their users.

    `histories` gives the interactions of some owners (None: of all), by store user. `digest` is of
    the files' content.
    """

    task: Task
    name: str
    digest: str
    samples: tuple[Sample, ...]
    histories: Callable[[Iterable[str] | None], Iterator[Interaction]]

    @property
    def names(self) -> set[str]:
        """Who is asked, by the names of the file and of the store."""
        return {name for one in self.samples for name in (one.owner, one.query.user)}

    @property
    def strangers(self) -> dict[str, str]:
        """By store user, another one that belongs to somebody else: a seeded derangement.

        The owners of each half stand in a circle and everyone gets the next one. So it depends on
        the data alone and not on who else is asked; a half of one owner takes part in the other's.

        Raises:
            DataError: all samples are one user's.
        """
        first: dict[str, str] = {}
        for one in self.samples:
            first.setdefault(one.owner, one.query.user)
        if len(first) < 2:
            raise DataError(
                f"{self.name}: personas cannot be swapped, for all samples are one user's"
            )
        halves = [[o for o in first if half_of(o) == half] for half in ("dev", "report")]
        if any(len(half) == 1 for half in halves):
            halves = [list(first)]
        following: dict[str, str] = {}
        for half in halves:
            circle = sorted(half, key=lambda owner: _digest(f"swap {owner}"))
            following |= dict(zip(circle, circle[1:] + circle[:1], strict=True))
        return {one.query.user: first[following[one.owner]] for one in self.samples}

    @property
    def cutoffs(self) -> dict[str, datetime]:
        """By store user, the time of the first question: a persona may know what is before it."""
        first: dict[str, datetime] = {}
        for sample in self.samples:
            if (time := sample.query.time) is not None:
                first[sample.query.user] = min(time, first.get(sample.query.user, time))
        return first


@dataclass(frozen=True, slots=True)
class Cohort:
    """Which samples are used: at most so many of them, of at most so many users; None is all.

    The smaller cohort of a seed is part of the larger one.

    A user's half depends on the user's name alone, whatever the seed: what was developed on one
    half is never reported on the same users.
    """

    samples: int | None = None
    users: int | None = None
    seed: int = 0
    half: Half | None = None

    def choose(self, samples: Sequence[Sample]) -> tuple[Sample, ...]:
        """The chosen samples, in the order of the data.

        Raises:
            DataError: there are none.
        """
        owners = {one.owner for one in samples}
        if self.half is not None:
            owners = {owner for owner in owners if half_of(owner) == self.half}
        if self.users is not None:
            owners = set(ranked(owners, self.seed)[: self.users])
        found = [one for one in samples if one.owner in owners]
        if self.samples is not None:
            ids = set(ranked((one.query.id for one in found), self.seed)[: self.samples])
            found = [one for one in found if one.query.id in ids]
        if not found:
            raise DataError("no samples: the data or this half of its users is empty")
        return tuple(found)


def ranked(names: Iterable[str], seed: int) -> list[str]:
    """The names in the order in which cohorts of a seed take them."""
    return sorted(names, key=lambda name: _digest(f"{seed} {name}"))


def half_of(owner: str) -> Half:
    """The half that a user belongs to."""
    return "dev" if int(_digest(f"half {owner}"), 16) % 2 == 0 else "report"


def lamp_data(
    task: Task, questions: Path, outputs: Path, account: Account | None = None
) -> EvaluationData:
    """The questions of a LaMP file with their gold answers; `account` may leave malformed ones.

    Raises:
        DataError: a file breaks the format, or lacks gold answers.
    """
    account = account or Account()
    asked = [one.query for one in iter_lamp(task, questions, outputs, account=account)]
    several = {user for user, count in Counter(query.user for query in asked).items() if count > 1}
    own = {query.id for query in asked if query.user in several and query.time is None}
    merged = not own  # one rule for the whole file

    def placed(query: Query) -> Query:
        return query if merged else replace(query, user=query.id)

    def histories(owners: Iterable[str] | None) -> Iterator[Interaction]:
        users = None if owners is None else sorted(owners)
        for question in iter_lamp(task, questions, users=users, account=account):
            user = placed(question.query).user
            for one in question.history:
                yield one if one.user == user else replace(one, user=user)

    samples = tuple(Sample(placed(query), query.user) for query in asked)
    return EvaluationData(
        task, questions.name, _content(questions, outputs), _some(samples), histories
    )


def oppu_data(task: Task, path: Path, account: Account | None = None) -> EvaluationData:
    """OPPU's users: all queries of a user see the user's whole history, from before the query where
    it has a time; `account` may leave malformed users and queries.

    Raises:
        DataError: the file breaks the format.
    """
    account = account or Account()
    samples = tuple(
        Sample(query, one.user)
        for one in iter_oppu(task, path, account=account)
        for query in one.queries
    )

    def histories(owners: Iterable[str] | None) -> Iterator[Interaction]:
        wanted = None if owners is None else set(owners)
        for one in iter_oppu(task, path, account=account):
            if wanted is None or one.user in wanted:
                yield from one.history

    return EvaluationData(task, path.name, _content(path), _some(samples), histories)


def own_data(
    task: Task,
    history: Path,
    queries: Path,
    tasks: Mapping[str, Task],
    account: Account | None = None,
) -> EvaluationData:
    """A user's own data: interactions and queries as JSON Lines, those of the task; `account` may
    leave malformed lines.

    Raises:
        DataError: a line breaks the format, or a query lacks the response to score by.
    """
    account = account or Account()
    if account.skip_malformed:  # those of the history are to be told too
        deque(read_interactions(history, tasks, account=account), maxlen=0)
    asked = [one for one in read_queries(queries, tasks, account=account) if one.task == task.name]
    for query in asked:
        if query.gold is None:
            raise DataError(
                f"{queries}: query '{query.id}' has no 'response': an answer to it cannot be scored"
            )

    def histories(owners: Iterable[str] | None) -> Iterator[Interaction]:
        wanted = None if owners is None else set(owners)
        for one in read_interactions(history, tasks, account=account):
            if one.task == task.name and (wanted is None or one.user in wanted):
                yield one

    samples = tuple(Sample(query, query.user) for query in asked)
    return EvaluationData(task, queries.name, _content(history, queries), _some(samples), histories)


def _some(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    if not samples:
        raise DataError("the data holds no queries of this task")
    return samples


def _content(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with opened(path) as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
