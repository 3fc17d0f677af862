"""How sure a result is: intervals, paired tests, their correction, and what n could have shown.

All resampling draws users and not samples, so that several samples of a user, which are alike,
do not count as so many independent ones. Everything is seeded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personaagent.experiments.metrics import Floats, Statistic

RESAMPLES = 2_000
LEVEL = 0.95
POWER = 0.80
FEWEST_DISCORDANT = 6
"""Users who must all favour one system before McNemar's exact test falls below 0.05."""

_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its bootstrap interval, which always holds it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One system minus another on the same samples; `error` is its standard error, `p` that of the
    paired bootstrap (two-sided)."""

    value: float
    low: float
    high: float
    error: float
    p: float


def resamples(users: Sequence[str], *, count: int = RESAMPLES, seed: int = 0) -> Floats:
    """Weights [count, samples]: how often each sample stands in each resample of users."""
    names, of = np.unique(np.array(users), return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=count
    )
    return draws[:, of].astype(float)


def interval(statistic: Statistic, weights: Floats, *, level: float = LEVEL) -> Interval:
    """The percentile bootstrap interval of a metric."""
    value = float(statistic(np.ones((1, weights.shape[1])))[0])
    low, high = _bounds(statistic(weights), level)
    # A biased statistic such as macro F1 can lie outside its own percentiles.
    return Interval(value, min(low, value), max(high, value))


def difference(
    ours: Statistic, theirs: Statistic, weights: Floats, *, users: int, level: float = LEVEL
) -> Difference:
    """The paired bootstrap: both systems on the same resamples.

    `p` is how often the resampled difference, moved to a mean of no difference, is at least as
    far from 0 as the observed one; never below 2 * 0.5 ** users, which is as much as so many users
    can show when all of them favour one system.
    """
    every = np.ones((1, weights.shape[1]))
    value = float((ours(every) - theirs(every))[0])
    drawn = ours(weights) - theirs(weights)
    low, high = _bounds(drawn, level)
    beyond = int(np.sum(np.abs(drawn - value) >= abs(value) - _EQUAL))
    return Difference(
        value=value,
        low=min(low, value),
        high=max(high, value),
        error=float(drawn.std(ddof=1)) if len(drawn) > 1 else 0.0,
        p=min(1.0, max((1 + beyond) / (1 + len(drawn)), 2 * 0.5**users)),
    )


def mcnemar(ours: Sequence[bool], theirs: Sequence[bool], users: Sequence[str]) -> float:
    """McNemar's exact test: are the samples that only one of two systems gets right one-sided?

    Where no system is better, each user's balance (samples that only ours gets right less those
    that only theirs does) might as well be the other way round; `p` is how often the sum would then
    be as far from 0. With one sample a user that is McNemar's test; with several the balance of a
    user turns round as a whole, so that they do not count as independent.
    """
    balances = Counter[str]()
    for a, b, user in zip(ours, theirs, users, strict=True):
        balances[user] += int(a) - int(b)
    chances = np.ones(1)  # of the sums from -reach to reach
    for balance in map(abs, filter(None, balances.values())):
        either = np.zeros(2 * balance + 1)
        either[[0, -1]] = 0.5
        chances = np.convolve(chances, either)
    reach = len(chances) // 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(sum(balances.values()))
    return min(1.0, float(chances[far].sum()))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's correction of several p-values, in their order: never smaller than they were."""
    corrected = [0.0] * len(ps)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda at: ps[at])):
        largest = max(largest, min(1.0, ps[at] * (len(ps) - rank)))
        corrected[at] = largest
    return corrected


def smallest_effect(error: float, n: int, *, labels: bool) -> float:
    """The smallest true difference that a test on these samples finds with 80 % power.

    (z(1 - 0.05 / 2) + z(0.80)) times the standard error of the paired difference. For labels at
    least 6 / n, since McNemar's exact test finds nothing in fewer than 6 users who differ.
    """
    from scipy.stats import norm

    z = float(norm.ppf(1 - (1 - LEVEL) / 2) + norm.ppf(POWER))
    return max(z * error, FEWEST_DISCORDANT / n if labels else 0.0)


def _bounds(drawn: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
