"""How alike the users of an experiment are, by persona and by history, and whether that agrees.

Two matrices of cosines are all that is kept: no text, and everything else follows from them. The
projection of unit vectors on their two principal components is that of the centred Gram matrix, so
it needs no vectors either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from personaagent.data import Choice, Interaction
from personaagent.experiments.metrics import Floats

if TYPE_CHECKING:
    from personaagent.experiments.runner import Experiment


PERMUTATIONS = 9_999
_DIGITS = 4
_SAME = 1 - 1.5e-4  # a cosine that is 1 but for rounding


@dataclass(frozen=True, slots=True)
class Mantel:
    """Mantel's test: the correlation r of two matrices of similarities and how often one of them
    with its users shuffled is at least as far from 0 (two-sided)."""

    r: float
    p: float


@dataclass(frozen=True, eq=False)
class PersonaMap:
    """Cosines between users.

    Attributes:
        users: n names.
        groups: of each user the most frequent answer; "" where there are none.
        personas: [n, n], between the embeddings of the rendered personas.
        histories: [n, n], between the mean embeddings of the histories.
    """

    users: tuple[str, ...]
    groups: tuple[str, ...]
    personas: Floats
    histories: Floats

    @classmethod
    def of(
        cls, users: Sequence[str], groups: Sequence[str], personas: Floats, histories: Floats
    ) -> Self:
        """The map of users from their vectors [n, d]; a vector of zeros is like nobody's."""
        return cls(tuple(users), tuple(groups), _cosines(personas), _cosines(histories))

    @cached_property
    def mantel(self) -> Mantel | None:
        """Whether users who are alike in history are alike in persona; None where all are equally
        alike or there are fewer than four."""
        return mantel(self.personas, self.histories)

    @property
    def distinct(self) -> int:
        """How many different personas there are."""
        alike = self.personas >= _SAME
        np.fill_diagonal(alike, True)
        return len({row.tobytes() for row in alike})

    @property
    def agreement(self) -> float:
        """The share of users whose nearest by persona is also the nearest by history; by chance it
        is 1 / (n - 1)."""
        return float(np.mean(nearest(self.personas) == nearest(self.histories)))

    def neighbours(self) -> list[tuple[str, str, float, str, float]]:
        """User, nearest by persona and its cosine, nearest by history and its cosine."""
        by_persona, by_history = nearest(self.personas), nearest(self.histories)
        return [
            (
                user,
                self.users[by_persona[at]],
                float(self.personas[at, by_persona[at]]),
                self.users[by_history[at]],
                float(self.histories[at, by_history[at]]),
            )
            for at, user in enumerate(self.users)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: of each matrix what is above the diagonal, row by row."""
        above = np.triu_indices(len(self.users), 1)
        return {
            "users": list(self.users),
            "groups": list(self.groups),
            "personas": np.round(self.personas[above], _DIGITS).tolist(),
            "histories": np.round(self.histories[above], _DIGITS).tolist(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The map that `to_dict` wrote."""
        users, groups = tuple(data["users"]), tuple(data["groups"])
        return cls(users, groups, *(_whole(data[name], len(users)) for name in _MATRICES))

    def summary(self) -> dict[str, Any]:
        """What the map says, as plain JSON values."""
        found = self.mantel
        return {
            "users": len(self.users),
            "distinct": self.distinct,
            "mantel_r": found.r if found else None,
            "mantel_p": found.p if found else None,
            "nearest_agree": self.agreement,
        }


_MATRICES = ("personas", "histories")


def mantel(
    one: Floats, other: Floats, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> Mantel | None:
    """Mantel's test of two symmetric matrices [n, n]; None where a correlation means nothing."""
    n = len(one)
    above = np.triu_indices(n, 1)
    if n < 4 or np.ptp(one[above]) < 1e-9 or np.ptp(other[above]) < 1e-9:
        return None
    fixed = _standard(other[above])

    def correlation(matrix: Floats) -> float:
        return float(_standard(matrix[above]) @ fixed / len(fixed))

    r = correlation(one)
    dice = np.random.default_rng(seed)
    beyond = 0
    for _ in range(permutations):
        order = dice.permutation(n)
        beyond += abs(correlation(one[np.ix_(order, order)])) >= abs(r) - 1e-12
    return Mantel(r, (1 + beyond) / (1 + permutations))


def nearest(cosines: Floats) -> Any:
    """Of each row the other row that is most alike, int [n]; the first of several."""
    others = np.array(cosines)
    np.fill_diagonal(others, -np.inf)
    return others.argmax(axis=1)


def projection(cosines: Floats) -> tuple[Floats, tuple[float, float]]:
    """Principal components: points [n, 2], and the share of the variance of each axis."""
    n = len(cosines)
    centre = np.eye(n) - 1 / n
    left, singular, _ = np.linalg.svd(centre @ cosines @ centre)
    points = np.zeros((n, 2))
    found = min(2, n)
    points[:, :found] = left[:, :found] * np.sqrt(singular[:found])
    # A component's sign says nothing: its largest entry points up, so that it is always the same.
    largest = points[np.abs(points).argmax(axis=0), [0, 1]]
    points *= np.where(largest < 0, -1.0, 1.0)
    total = float(singular.sum())
    shares = [float(value) / total if total > 1e-12 else 0.0 for value in singular[:2]]
    return points, (shares[0], shares[1] if n > 1 else 0.0)


def _cosines(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors, float), where=length > 0)
    found: Floats = np.clip(unit @ unit.T, -1.0, 1.0)
    np.fill_diagonal(found, 1.0)
    return found


def _whole(above: Sequence[float], n: int) -> Floats:
    """The symmetric matrix with ones on its diagonal."""
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, 1)] = above
    return matrix + matrix.T + np.eye(n)


def _standard(values: Floats) -> Floats:
    found: Floats = (values - values.mean()) / values.std()
    return found


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
