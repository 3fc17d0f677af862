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
