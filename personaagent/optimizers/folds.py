"""Users in folds, so that what is learned on some is judged on others, and whether one is worse."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from statistics import fmean, stdev

FOLDS = 5  # what is learned on four of them is judged on the fifth


def no_worse(losses: Sequence[float], least: Sequence[float]) -> bool:
    """Whether they lose to the others by no more than one standard error of the difference."""
    lost = [mine - best for mine, best in zip(losses, least, strict=True)]
    return fmean(lost) <= standard_error(lost)


def standard_error(values: Sequence[float]) -> float:
    """The standard error of their mean."""
    return stdev(values) / math.sqrt(len(values))


def fold_of(user: str) -> int:
    """The fold of a user, which hangs on the name alone."""
    return int(hashlib.sha256(f"fold {user}".encode()).hexdigest(), 16) % FOLDS
