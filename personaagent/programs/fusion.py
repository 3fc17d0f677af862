"""The fused answer p(y) ~ p_LM(y)^lm * p_user(y)^habit, its weights, and the decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

from personaagent.data import Trust

Distribution = Mapping[str, float]

LM_WEIGHTS = (0.25, 0.5, 0.75, 1.0)
HABIT_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
SHRINKAGE = 2.0  # nats by which a weight one away from the prior must pay off


def fuse(lm: Distribution, habit: Distribution | None, trust: Trust) -> dict[str, float]:
    """The normalized product; without a habit the LM's distribution, tempered.

    Args:
        lm: p_LM over the labels, every value above 0.
        habit: p_user over the same labels.
        trust: the exponents.
    """
    logs = {
        label: trust.lm * math.log(p) + (trust.habit * math.log(habit[label]) if habit else 0.0)
        for label, p in lm.items()
    }
    top = max(logs.values())
    total = sum(math.exp(value - top) for value in logs.values())
    return {label: math.exp(value - top) / total for label, value in logs.items()}


def fit_trust(
    replayed: Sequence[tuple[Distribution, Distribution | None, str]], prior: Trust
) -> Trust:
    """The weights with the least negative log-likelihood on replay, shrunk to a prior.

    Args:
        replayed: (p_LM, p_user, true label) of interactions that were answered without seeing
            themselves.
        prior: where the weights stay without evidence (the cohort's).
    """

    def cost(trust: Trust) -> float:
        distance = (trust.lm - prior.lm) ** 2 + (trust.habit - prior.habit) ** 2
        losses = (-math.log(fuse(lm, habit, trust)[true]) for lm, habit, true in replayed)
        return sum(losses) + SHRINKAGE * distance

    grid = [Trust(lm, habit) for lm, habit in product(LM_WEIGHTS, HABIT_WEIGHTS)]
    return min([prior, *grid], key=cost)
