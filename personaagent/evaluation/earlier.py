"""More samples of the users there are: their own earlier interactions, asked as questions."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from personaagent.data import Choice, Interaction, Query
from personaagent.errors import DataError
from personaagent.evaluation.cohort import EvaluationData, Sample, ranked


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
    first = data.cutoffs
    past = defaultdict[str, dict[str, Interaction]](dict)  # every question tells it again
    for one in _answered(data):
        if one.time is not None and one.user in first and one.time < first[one.user]:
            past[one.user][one.id] = one
    return _asking(
        data,
        [
            (one, one.user)
            for _, own in sorted(past.items())
            for one in sorted(own.values(), key=lambda one: (one.time, one.id))[-count:]
        ],
    )


def _left_out(data: EvaluationData, count: int) -> EvaluationData:
    known = defaultdict[str, dict[str, Interaction]](dict)
    for one in _answered(data):
        known[one.user][one.id] = one
    left, drawn = dict[str, dict[str, Interaction]](), set[str]()
    for user, own in sorted(known.items()):
        ids = [id for id in ranked(own, 0) if id not in drawn][:count]  # histories can share some
        drawn.update(ids)
        left[user] = {f"{user} without {id}": own[id] for id in ids}
    asked = [(one, unaware) for chosen in left.values() for unaware, one in chosen.items()]

    def histories(users: Iterable[str] | None) -> Iterator[Interaction]:
        for one in data.histories(users):
            yield one
            for unaware, asked in left.get(one.user, {}).items():
                if one.id != asked.id:
                    yield replace(one, user=unaware)

    return replace(_asking(data, asked), histories=histories)


def _answered(data: EvaluationData) -> Iterator[Interaction]:
    """What can be asked of those who are asked: its answer is one of the task's."""
    users = {one.query.user for one in data.samples}
    for one in data.histories(None):
        told = one.response in data.task.labels if data.task.labels else bool(one.response)
        if told and one.user in users:
            yield one


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
