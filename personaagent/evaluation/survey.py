"""Looks at the users of an experiment: their personas and their histories as vectors."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from personaagent.data import Choice, Interaction
from personaagent.evaluation.metrics import Floats
from personaagent.evaluation.persona_map import PersonaMap

if TYPE_CHECKING:
    from personaagent.evaluation.runner import Experiment


def survey(experiment: Experiment) -> PersonaMap | None:
    """The map of the users that have an aligned persona; None where fewer than two have one.

    Histories are what was before a user's first question. A user of the file who is several in the
    store (see `cohort`) is the first of them.

    Raises:
        BudgetError: the budget is used up; what was aligned is kept.
    """
    first: dict[str, str] = {}
    for sample in experiment.samples:
        first.setdefault(sample.owner, sample.query.user)
    aligned = experiment.personas(first.values()).aligned
    users = {owner: user for owner, user in first.items() if user in aligned}
    if len(users) < 2:
        return None
    past = {owner: _past(experiment, user) for owner, user in users.items()}
    return PersonaMap.of(
        list(users),
        [_usual(experiment, past[owner]) for owner in users],
        experiment.memory.embedder.encode(
            [aligned[user].render() for user in users.values()]
        ).astype(float),
        np.stack([_mean(experiment, user, past[owner]) for owner, user in users.items()]),
    )


def _past(experiment: Experiment, user: str) -> list[Interaction]:
    memory = experiment.memory.store.of(user)
    return memory.interactions(experiment.data.task.name, before=experiment.data.cutoffs.get(user))


def _usual(experiment: Experiment, past: list[Interaction]) -> str:
    """The most frequent label; options of a choice mean something else in every query."""
    task = experiment.data.task
    if isinstance(task, Choice):
        return ""
    counts = Counter(one.response for one in past if one.response in task.labels)
    return counts.most_common(1)[0][0] if counts else ""


def _mean(experiment: Experiment, user: str, past: list[Interaction]) -> Floats:
    """The mean of the stored vectors; zeros for a user without a history."""
    if not past:
        return np.zeros(experiment.memory.embedder.dimensions)
    vectors = experiment.memory.vectors(user)
    mean: Floats = np.mean([vectors[one.id] for one in past], axis=0, dtype=float)
    return mean
