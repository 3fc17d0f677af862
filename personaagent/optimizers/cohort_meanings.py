"""What a cohort means by the labels of a task, and whether its users' habits are better for it.

Meanings are a multinomial regression on the embeddings of what the cohort's users answered,
anchored where nothing has been learned yet: at the nearness of the labels' names.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from personaagent.data import Classification, Interaction, Meanings, Query, Task
from personaagent.optimizers.crossval import FOLDS, fold_of, no_worse
from personaagent.programs import PersonaAgent, QueryScope
from personaagent.programs.fusion import Distribution
from personaagent.programs.user_label_prior import NAMES_TEMPERATURE, user_label_prior

USERS = 3  # that must have given a label: what fewer mean by it is theirs and not the cohort's
_PENALTY = 0.1  # nats by which a weight one away from the names' must pay off


def cohort_habits(
    agent: PersonaAgent, queries: Sequence[Query], owners: Sequence[str]
) -> tuple[Sequence[Distribution | None], Meanings | None, dict[str, float]]:
    """The habits of the queries' users, by what labels mean to the others of the cohort if that is
    clearly better than by the labels' names.

    Args:
        agent: with the memory of the users.
        queries: with `gold`.
        owners: whose each query is; a user of the memory is one owner's.

    Returns:
        p_user of every query; what the whole cohort means, None where names are as good; and the
        losses of habit alone under both, nats a query, empty where labels are no words.
    """
    memory, task = agent.memory, agent.task
    seen = [QueryScope.asking(task, one) for one in queries]
    named = [user_label_prior(agent.retrieve, one) for one in seen]
    if not isinstance(task, Classification):
        return named, None, {}
    whose = {one.user: owner for one, owner in zip(queries, owners, strict=True)}
    known: dict[tuple[str, str], Interaction] = {}
    vectors = {label: memory.embed(label) for label in task.labels}
    for user, owner in sorted(whose.items()):
        stored = memory.vectors(user)
        for one in memory.store.of(user).interactions(task.name):
            known[owner, one.id] = replace(one, user=owner)
            vectors[one.searched] = stored[one.id]
    interactions = [one for _, one in sorted(known.items())]

    def learn(without: int | None) -> Meanings | None:
        taught = [one for one in interactions if fold_of(one.user) != without]
        return learn_meanings(task, taught, vectors, memory.embedder.fingerprint)

    learned = [learn(without) for without in range(FOLDS)]
    meant = [
        user_label_prior(agent.retrieve, one, learned[fold_of(owner)])
        for one, owner in zip(seen, owners, strict=True)
    ]
    by_names, by_cohort = _losses(named, queries), _losses(meant, queries)
    means = {"names": fmean(by_names), "cohort": fmean(by_cohort)}
    if no_worse(by_names, by_cohort, owners):
        return named, None, means
    return meant, learn(None), means


def _losses(habits: Sequence[Distribution | None], queries: Sequence[Query]) -> list[float]:
    return [
        -math.log(habit[query.gold or ""])
        for habit, query in zip(habits, queries, strict=True)
        if habit
    ]


def learn_meanings(
    task: Task,
    interactions: Sequence[Interaction],
    vectors: Mapping[str, NDArray[np.float32]],
    space: str,
) -> Meanings | None:
    """The meanings with the least penalized loss on interactions of several users.

    Args:
        task: whose labels are words.
        interactions: the cohort's.
        vectors: of what they are searched by and of the labels, unit length, by text.
        space: fingerprint of the embedder that they are from.

    Returns:
        None where no label was given by `USERS` users.
    """
    users_of = {
        label: len({one.user for one in interactions if one.response == label})
        for label in task.labels
    }
    shared = [one for one in interactions if users_of.get(one.response, 0) >= USERS]
    if not shared:
        return None
    counts = Counter(one.user for one in shared)
    most = median(counts.values())  # that one user counts for: nobody speaks for the cohort
    learned = _fit(
        np.array([vectors[one.searched] for one in shared], dtype=np.float64),
        np.array([task.labels.index(one.response) for one in shared]),
        np.array([min(1.0, most / counts[one.user]) for one in shared]),
        np.array([vectors[label] for label in task.labels]) / NAMES_TEMPERATURE,
    )
    return Meanings.of(space, task.labels, learned)


def _fit(
    vectors: NDArray[np.float64],
    true: NDArray[np.int64],
    counted: NDArray[np.float64],
    names: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Weights [L, d + 1] from n vectors [n, d], their labels [n], and how far each counts [n]."""
    from scipy.optimize import minimize

    seen = np.hstack([vectors, np.ones((len(vectors), 1))])
    anchor = np.hstack([names, np.zeros((len(names), 1))])
    rows = np.arange(len(true))

    def cost(moved: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        delta = moved.reshape(anchor.shape)
        logits = seen @ (anchor + delta).T
        logits -= logits.max(axis=1, keepdims=True)
        p = np.exp(logits)
        p /= p.sum(axis=1, keepdims=True)
        loss = -(counted * np.log(p[rows, true])).sum() + _PENALTY * np.sum(delta**2)
        p[rows, true] -= 1.0  # the gradient with respect to the logits
        slope = (counted[:, None] * p).T @ seen + 2 * _PENALTY * delta
        return float(loss), slope.ravel()

    found = minimize(cost, np.zeros(anchor.size), jac=True, method="L-BFGS-B").x
    weights: NDArray[np.float64] = anchor + found.reshape(anchor.shape)
    return weights
