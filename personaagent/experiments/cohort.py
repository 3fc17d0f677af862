"""What is asked, of whom: the samples of a data set, and the seeded part of them that is used.

LaMP lets a question see its own history only. Where the questions have times, a user's histories
are merged and each question sees what was strictly before it. Where they have none, every question
is a user of its own, so that nothing merges. `Sample.owner` stays the user of the file: halves and
statistics go by it.

`with_earlier` adds samples of the users there are: their own earlier interactions, as questions.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from personaagent.data import (
    Choice,
    ImportSummary,
    Interaction,
    Query,
    Task,
    read_interactions,
    read_queries,
)
from personaagent.data.files import opened
from personaagent.errors import DataError
from personaagent.experiments.lamp_files import iter_lamp
from personaagent.experiments.oppu import iter_oppu

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
    task: Task, questions: Path, outputs: Path, account: ImportSummary | None = None
) -> EvaluationData:
    """The questions of a LaMP file with their gold answers; `account` may leave malformed ones.

    Raises:
        DataError: a file breaks the format, or lacks gold answers.
    """
    account = account or ImportSummary()
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


def oppu_data(task: Task, path: Path, account: ImportSummary | None = None) -> EvaluationData:
    """OPPU's users: all queries of a user see the user's whole history, from before the query where
    it has a time; `account` may leave malformed users and queries.

    Raises:
        DataError: the file breaks the format.
    """
    account = account or ImportSummary()
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
    account: ImportSummary | None = None,
) -> EvaluationData:
    """A user's own data: interactions and queries as JSON Lines, those of the task; `account` may
    leave malformed lines.

    Raises:
        DataError: a line breaks the format, or a query lacks the response to score by.
    """
    account = account or ImportSummary()
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


def with_earlier(data: EvaluationData, count: int) -> EvaluationData:
    """The same data, and every user is also asked what interactions of the user's past were about.

    Where the questions have times, these are the latest before the first question, each as if its
    answer and what followed were not known yet. Where they have none, they are drawn, and each is
    asked as if it alone were not known: of a user of its own, who has the others.

    Args:
        data: of a task whose histories hold what can be asked.
        count: interactions of a user; of a user who has fewer, all.

    Raises:
        DataError: the task asks for pairs, and histories hold none.
    """
    if isinstance(data.task, Choice):
        raise DataError(f"task '{data.task.name}': histories hold no pairs, so none can be asked")
    more, which = (
        (_before(data, count), f"the {count} before")
        if data.cutoffs
        else (_left_out(data, count), f"{count} of before")
    )
    digest = hashlib.sha256(f"{data.digest} and {which}".encode()).hexdigest()
    return replace(more, name=f"{data.name} and {which}", digest=digest)


def _before(data: EvaluationData, count: int) -> EvaluationData:
    cutoffs, asked = data.cutoffs, list[tuple[Interaction, str]]()
    for user, known in _answered(data):
        first = cutoffs.get(user)
        past = [
            (one.time, id) for id, one in known.items() if first and one.time and one.time < first
        ]
        asked += [(known[id], user) for _, id in sorted(past)[-count:]]
    return _asking(data, asked)


def _left_out(data: EvaluationData, count: int) -> EvaluationData:
    left, drawn = dict[str, dict[str, Interaction]](), set[str]()
    for user, known in _answered(data):
        ids = [id for id in ranked(known, 0) if id not in drawn][:count]  # histories can share some
        drawn.update(ids)
        left[user] = {f"{user} without {id}": known[id] for id in ids}
    asked = [(one, unaware) for chosen in left.values() for unaware, one in chosen.items()]

    def histories(users: Iterable[str] | None) -> Iterator[Interaction]:
        for one in data.histories(users):
            yield one
            for unaware, asked in left.get(one.user, {}).items():
                if one.id != asked.id:
                    yield replace(one, user=unaware)

    return replace(_asking(data, asked), histories=histories)


def _answered(data: EvaluationData) -> list[tuple[str, dict[str, Interaction]]]:
    """What can be asked of each who is asked, by id: its answer is one of the task's. Several
    questions of a user tell the same history, and each interaction is there once."""
    users = {one.query.user for one in data.samples}
    known = defaultdict[str, dict[str, Interaction]](dict)
    for one in data.histories(None):
        told = one.response in data.task.labels if data.task.labels else bool(one.response)
        if told and one.user in users:
            known[one.user][one.id] = one
    return sorted(known.items())


def _asking(data: EvaluationData, asked: Iterable[tuple[Interaction, str]]) -> EvaluationData:
    """The same data, and interactions are asked, each of a user of the store."""
    owners = {one.query.user: one.owner for one in data.samples}
    taken = {one.query.id for one in data.samples}
    more = []
    for one, user in asked:
        id = f"{one.id}, earlier" if one.id in taken else one.id
        query = Query(id, user, one.task, one.query, one.response, one.time)
        more.append(Sample(query, owners[one.user]))
    return replace(data, samples=(*data.samples, *more))
