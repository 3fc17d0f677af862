"""From outcomes to a table: held-out quality against calls, with intervals and paired tests.

The quality of an answer is the task's own score in [0, 1], 1 is best (right or wrong; for ratings
one minus the share of the largest error), so that users of several tasks can be taken together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.rivals.contest import FRACTIONS, Outcome
from benchmarks.rivals.optimizers import ARMS
from personaagent.data import Task
from personaagent.experiments import statistics
from personaagent.experiments.cohort import Sample
from personaagent.experiments.metrics import Floats, Statistic
from personaagent.experiments.statistics import Difference, Interval

WHOLE, HALF = FRACTIONS[-1], FRACTIONS[-2]


@dataclass(frozen=True, slots=True)
class Standing:
    """An arm after a fraction of the budget: its quality and the calls it had used, a mean over
    the users; `unusable` answers count as wrong."""

    arm: str
    fraction: float
    calls: float
    quality: Interval
    unusable: int


@dataclass(frozen=True, slots=True)
class Versus:
    """An arm of ours after `fraction` of the budget minus a rival after the whole; `corrected` is
    Holm's p over all comparisons of the table."""

    ours: str
    fraction: float
    rival: str
    difference: Difference
    corrected: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything the report says; by arm, `stopped` counts how its runs ended, and `seconds` is
    the mean time of one."""

    users: int
    samples: int
    standings: tuple[Standing, ...]
    versus: tuple[Versus, ...]
    stopped: Mapping[str, Mapping[str, int]]
    seconds: Mapping[str, float]

    def standing(self, arm: str, fraction: float) -> Standing:
        """One of the standings."""
        return next(one for one in self.standings if (one.arm, one.fraction) == (arm, fraction))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "users": self.users,
            "samples": self.samples,
            "standings": [
                {
                    "arm": one.arm,
                    "fraction": one.fraction,
                    "calls": one.calls,
                    "quality": one.quality.value,
                    "low": one.quality.low,
                    "high": one.quality.high,
                    "unusable": one.unusable,
                }
                for one in self.standings
            ],
            "versus": [
                {
                    "ours": one.ours,
                    "fraction": one.fraction,
                    "rival": one.rival,
                    "difference": one.difference.value,
                    "low": one.difference.low,
                    "high": one.difference.high,
                    "p": one.difference.p,
                    "p_corrected": one.corrected,
                }
                for one in self.versus
            ],
            "stopped": {arm: dict(of) for arm, of in self.stopped.items()},
            "seconds": dict(self.seconds),
        }


@dataclass(frozen=True, slots=True)
class Played:
    """One contest as it was played: its task, the samples by user, and the outcomes."""

    task: Task
    samples: Mapping[str, Sequence[Sample]]
    outcomes: Sequence[Outcome]


def compare(contests: Sequence[Played]) -> Comparison:
    """All users of some contests taken together; the arms are those of the first one."""
    arms = list(dict.fromkeys(one.arm for one in contests[0].outcomes))
    weights: Floats | None = None
    users: list[str] = []
    scores: dict[tuple[str, float], list[float]] = {}
    standings = []
    for arm in arms:
        for at, fraction in enumerate(FRACTIONS):
            found, users, calls, unusable = _scored(contests, arm, at)
            if weights is None:
                weights = statistics.resamples(users)
            scores[arm, fraction] = found
            quality = statistics.interval(_mean(found), weights)
            standings.append(Standing(arm, fraction, fmean(calls), quality, unusable))
    assert weights is not None  # there is at least one arm
    stopped: dict[str, dict[str, int]] = {arm: {} for arm in arms}
    for contest in contests:
        for one in contest.outcomes:
            stopped[one.arm][one.stopped] = stopped[one.arm].get(one.stopped, 0) + 1
    took = {
        arm: fmean(one.seconds for of in contests for one in of.outcomes if one.arm == arm)
        for arm in arms
    }
    count = len(set(users))
    versus = _versus(arms, scores, weights, count)
    return Comparison(count, len(users), tuple(standings), tuple(versus), stopped, took)


def _scored(
    contests: Sequence[Played], arm: str, at: int
) -> tuple[list[float], list[str], list[int], int]:
    """Of every sample its score and user; the calls of every user; the unusable answers."""
    scores: list[float] = []
    users: list[str] = []
    calls: list[int] = []
    unusable = 0
    for contest in contests:
        for one in contest.outcomes:
            if one.arm != arm:
                continue
            point = one.points[at]
            calls.append(point.calls)
            for sample in contest.samples[one.user]:
                answer = point.answers[sample.query.id]
                unusable += answer is None
                said = 0.0 if answer is None else contest.task.score(answer, sample.gold)
                scores.append(said)
                users.append(f"{contest.task.name}/{sample.owner}")
    return scores, users, calls, unusable


def _versus(
    arms: Sequence[str],
    scores: Mapping[tuple[str, float], Sequence[float]],
    weights: Floats,
    users: int,
) -> list[Versus]:
    """Ours after the half and the whole budget against everybody else after the whole."""
    found = [
        Versus(
            ours,
            fraction,
            rival,
            gap := statistics.difference(
                _mean(scores[ours, fraction]), _mean(scores[rival, WHOLE]), weights, users=users
            ),
            gap.p,
        )
        for ours in arms
        if ARMS[ours].ours
        for rival in arms
        if not ARMS[rival].ours
        for fraction in (HALF, WHOLE)
    ]
    corrected = statistics.holm([one.difference.p for one in found])
    return [replace(one, corrected=p) for one, p in zip(found, corrected, strict=True)]


def _mean(of: Sequence[float]) -> Statistic:
    values = np.array(of)
    return lambda weights: weights @ values / weights.sum(axis=1)
