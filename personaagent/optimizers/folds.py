"""Users in folds, so that what is learned on some is judged on others, and whether one is worse."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

FOLDS = 5  # what is learned on four of them is judged on the fifth


def no_worse(losses: Sequence[float], least: Sequence[float], users: Sequence[str]) -> bool:
    """Whether they lose to the others by no more than one standard error of the difference."""
    lost = [mine - best for mine, best in zip(losses, least, strict=True)]
    return fmean(lost) <= standard_error(lost, users)


def standard_error(values: Sequence[float], users: Sequence[str]) -> float:
    """The standard error of their mean, which several values of a user make no surer than they are:
    a user's deviations add up before they are squared."""
    mean, apart = fmean(values), defaultdict[str, float](float)
    for value, user in zip(values, users, strict=True):
        apart[user] += value - mean
    spread = sum(deviation**2 for deviation in apart.values()) * len(apart) / (len(apart) - 1)
    return math.sqrt(spread) / len(values)


def fold_of(user: str) -> int:
    """The fold of a user, which depends on the name alone."""
    return int(hashlib.sha256(f"fold {user}".encode()).hexdigest(), 16) % FOLDS
