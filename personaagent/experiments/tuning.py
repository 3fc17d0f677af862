"""What a search of settings found: the front, the winner, and how sure that is.

All comparisons are paired: every setting was tried on the same users and held-out interactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from personaagent.experiments.metrics import Floats, Statistic
from personaagent.experiments.statistics import Difference, difference, resamples
from personaagent.optimizers.crossval import Outcome
from personaagent.optimizers.setting import Setting
from personaagent.optimizers.tuner import Tried

_SAME = 1e-9  # nats; means of the same losses may differ in their last bits


@dataclass(frozen=True, slots=True)
class Checked:
    """The winner against the defaults on users that the search did not see."""

    users: int
    winner: dict[str, Outcome]
    default: dict[str, Outcome]

    @property
    def loss(self) -> Difference:
        """The winner's held-out loss minus the defaults'."""
        return paired(self.winner, self.default, "loss")

    @property
    def score(self) -> Difference:
        """The winner's held-out score minus the defaults'."""
        return paired(self.winner, self.default, "score")


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that a search found.

    Attributes:
        tried: the finished trials, in order.
        default: the setting that the search started from.
        cost: the name of the cost: tokens or seconds.
        names: the choices that varied.
        importances: by objective, each choice's share of what makes a setting good.
    """

    tried: Sequence[Tried]
    default: Setting
    cost: str
    names: Sequence[str]
    single: bool = False
    importances: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def complete(self) -> list[Tried]:
        """The trials that all users were tried on."""
        return [one for one in self.tried if not one.dropped]

    @property
    def front(self) -> list[Tried]:
        """The settings that no other one beats in both loss and cost, the cheapest first."""
        found: list[Tried] = []
        for one in sorted(self.complete, key=lambda one: (one.cost, one.loss, one.number)):
            if not found or one.loss < found[-1].loss:
                found.append(one)
        return found

    @property
    def best(self) -> Tried:
        """The setting with the least held-out loss."""
        return min(self.complete, key=lambda one: (one.loss, one.cost, one.number))

    @property
    def winner(self) -> Tried:
        """The cheapest setting of the front whose loss is within one standard error of the best
        one's: what costs more than that must be worth it. With one objective, the best."""
        if self.single:
            return self.best
        return next(one for one in self.front if _close(one, self.best))

    @property
    def baseline(self) -> Tried | None:
        """The trial of the defaults."""
        return next((one for one in self.complete if one.setting == self.default), None)

    def improves(self, checked: Checked | None) -> bool:
        """Whether the winner has a lower held-out loss than the defaults, or the same one at a
        lower cost: where the search looked, and where it was checked."""
        gap = self.against_default(self.winner)
        if gap is None or self.baseline is None:
            return False
        same = abs(gap.value) < _SAME
        better = gap.value < 0 and not same
        cheaper = same and self.winner.cost < self.baseline.cost
        return (better or cheaper) and (checked is None or checked.loss.value < _SAME)

    def against_default(self, one: Tried, what: str = "loss") -> Difference | None:
        """A trial minus the defaults, user by user; None for the defaults themselves."""
        if self.baseline is None or one.setting == self.default:
            return None
        return paired(one.outcomes, self.baseline.outcomes, what)


def paired(ours: dict[str, Outcome], theirs: dict[str, Outcome], what: str) -> Difference:
    """The difference of means over the users of both, with a bootstrap interval over users."""
    users = [user for user in ours if user in theirs]
    mine, other = (
        np.array([float(getattr(of[user], what)) for user in users]) for of in (ours, theirs)
    )
    return difference(_mean(mine), _mean(other), resamples(users), users=len(users))


def _close(one: Tried, best: Tried) -> bool:
    worse = np.array(
        [outcome.loss - best.outcomes[user].loss for user, outcome in one.outcomes.items()]
    )
    error = float(worse.std(ddof=1)) / sqrt(len(worse)) if len(worse) > 1 else 0.0
    return float(worse.mean()) <= error


def _mean(values: Floats) -> Statistic:
    return lambda weights: weights @ values / weights.sum(axis=1)
