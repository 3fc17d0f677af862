"""The fused answer p(y) ~ p_LM(y)^lm * p_user(y)^habit * exp(lean(y)), and how its weights are
learned.

It is a log-linear model with a handful of weights: their penalized likelihood is concave, so a few
replayed interactions are enough to fit them, and without any they stay at the prior.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import dspy
import numpy as np
from numpy.typing import NDArray

from personaagent.data import FusionWeights, Task

logger = logging.getLogger(__name__)

Distribution = Mapping[str, float]
Answered = tuple[Distribution, Distribution | None, str]
"""(p_LM, p_user, true label) of an interaction that was answered without seeing itself."""

SHRINKAGE = 2.0  # nats by which a weight one away from the prior must pay off
POOLED = 32.0  # the same where the prior is a cohort's: a user's few answers seldom know better
MOST = 4.0  # a weight at most: an LM that is too unsure is sharpened
DECIMALS = 3  # of a weight: what the fit knows, and what reads well in a persona


def fuse(lm: Distribution, habit: Distribution | None, trust: FusionWeights) -> dict[str, float]:
    """The normalized product; without a habit the LM's distribution, tempered and corrected.

    Args:
        lm: p_LM over the labels, every value above 0.
        habit: p_user over the same labels.
        trust: the weights.
    """
    logs = {
        label: trust.lm * math.log(p)
        + (trust.habit * math.log(habit[label]) if habit else 0.0)
        + trust.lean.get(label, 0.0)
        for label, p in lm.items()
    }
    top = max(logs.values())
    total = sum(math.exp(value - top) for value in logs.values())
    return {label: math.exp(value - top) / total for label, value in logs.items()}


def model_of(lm: dspy.LM) -> str:
    """Which model answers, wherever it is served: "gpt-5-mini" of "openai/gpt-5-mini"."""
    name = str(lm.model)
    return name.partition("/")[2] or name


def fits(trust: FusionWeights) -> bool:
    """Whether the weights are of DSPy's LM: those of another model say nothing of it."""
    asked = dspy.settings.lm
    return not trust.fitted_with or asked is None or model_of(asked) == trust.fitted_with


def trusted(trust: FusionWeights) -> FusionWeights:
    """The weights that count with DSPy's LM: where they do not fit, it answers alone, and that is
    said once."""
    if fits(trust):
        return trust
    _say_that_it_is_another(trust.fitted_with, model_of(dspy.settings.lm))
    return FusionWeights()


@cache
def _say_that_it_is_another(fitted: str, now: str) -> None:
    logger.warning(
        "personas here were fitted with the model %s; under %s its own answers count, without the "
        "user's habit. 'personaagent compile' fits them anew",
        fitted,
        now,
    )


def mode(distribution: Distribution) -> str:
    """The likeliest label: what an LM would write."""
    return max(distribution, key=lambda label: distribution[label])


def serve(
    task: Task, lm: Distribution, habit: Distribution | None, trust: FusionWeights
) -> tuple[str, dict[str, float]]:
    """The answer as it is served, with its distribution.

    Where trust was never fitted it is the LM's own and its mode: the task's decision (for ratings
    the median) needs probabilities that are calibrated, and an LM's are not.
    """
    if trust == FusionWeights():
        return mode(lm), dict(lm)
    fused = fuse(lm, habit, trust)
    return task.decide(fused), fused


def grade(task: Task, answered: Answered, trust: FusionWeights) -> tuple[str, float, float]:
    """The answer as it is served, its loss in nats and the task's score."""
    lm, habit, true = answered
    answer, served = serve(task, lm, habit, trust)
    return answer, task.loss(served, true), task.score(answer, true)


def fit_trust(
    answered: Sequence[Answered],
    prior: FusionWeights,
    *,
    lean: bool = False,
    shrinkage: float = SHRINKAGE,
) -> FusionWeights:
    """The weights with the least negative log-likelihood on replay, shrunk to a prior.

    Args:
        answered: over the same labels.
        prior: where the weights stay without evidence (the cohort's).
        lean: fit the correction of the labels too; else it stays the prior's.
        shrinkage: nats that a weight one away from the prior's costs.

    Returns:
        Weights that are never worse on these answers than the prior's.
    """
    if not answered:
        return prior
    from scipy.optimize import minimize

    labels = list(answered[0][0])
    lm = _logs([one for one, _, _ in answered], labels)
    habit = _logs([one for _, one, _ in answered], labels)
    true = np.array([labels.index(label) for _, _, label in answered])
    start = np.array([prior.lm, prior.habit, *(prior.lean.get(label, 0.0) for label in labels)])

    def cost(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = weights[0] * lm + weights[1] * habit + weights[2:]
        logits -= logits.max(axis=1, keepdims=True)
        p = np.exp(logits)
        p /= p.sum(axis=1, keepdims=True)
        rows = np.arange(len(true))
        loss = -np.log(p[rows, true]).sum() + shrinkage * np.sum((weights - start) ** 2)
        p[rows, true] -= 1.0  # the gradient with respect to the logits
        slope = np.concatenate([[np.sum(p * lm), np.sum(p * habit)], p.sum(axis=0)])
        return float(loss), slope + 2 * shrinkage * (weights - start)

    free = (-np.inf, np.inf) if lean else None
    bounds = [(0.0, MOST), (0.0, MOST), *(free or (value, value) for value in start[2:])]
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds).x.round(DECIMALS)
    if cost(found)[0] >= cost(start)[0]:
        return prior
    corrected = dict(zip(labels, found[2:].tolist(), strict=True)) if lean else prior.lean
    return replace(prior, lm=float(found[0]), habit=float(found[1]), lean=corrected)


def _logs(distributions: Sequence[Distribution | None], labels: Sequence[str]) -> Any:
    """[n, labels], natural logarithms; a row of zeros where there is no distribution."""
    return np.array([[math.log(one[y]) if one else 0.0 for y in labels] for one in distributions])
