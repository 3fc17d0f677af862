"""Drift: has a user changed, does the user go back and forth, or is it noise?

The losses of one fixed predictor, in the order of the interactions, stay on one level while the
user does. `tell` finds the levels by optimal partitioning (PELT, Killick et al. 2012; the library
`ruptures`) and reads them: a rise that lasts to the end is a change, rises with ways back are an
oscillation, everything else is noise.

Only a change is followed: what is older fades from the votes with every interaction after it
(`memory.turns`). After an oscillation the old habits come back, so nothing is forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from personaagent.data import Choice, Interaction, Task
from personaagent.memory import EpisodicMemory, Memory
from personaagent.memory.turns import save_turn, turn_of
from personaagent.programs.habits import vote

HALF_LIFE = 5.0  # interactions after a change that halve the weight of what is older
WINDOW = 120  # the latest interactions that are looked at
SHORTEST = 5  # interactions of a level
PENALTY = 4.0  # of a level more, in units of variance times log n
RISE = 0.5  # nats between two levels that are told apart
SURPRISE = 3.0  # nats at most that one answer counts: a single one must not be a level


@dataclass(frozen=True, slots=True)
class Drift:
    """`at` is the place in the series where the latest level begins, for a change; else None.
    `levels` are (first place, mean loss in nats)."""

    kind: Literal["change", "oscillation", "noise"]
    at: int | None
    levels: tuple[tuple[int, float], ...]


def tell(losses: Sequence[float]) -> Drift:
    """What the losses of one fixed predictor say, oldest first, in nats."""
    series = np.minimum(np.asarray(losses, dtype=float), SURPRISE)
    levels = _levels(series)
    rises, lasting = _rises(levels)
    if len(rises) > 1:
        return Drift("oscillation", None, levels)
    if rises and lasting:
        return Drift("change", rises[0], levels)
    return Drift("noise", None, levels)


def surprises(memory: EpisodicMemory, task: Task, window: Sequence[Interaction]) -> list[float]:
    """How much each answer surprises one who knows only the older half of the window, in nats.

    It is the user's own posterior over the labels (see `programs.habits`), so it costs no LM call;
    an answer of the older half is judged by the others.
    """
    known = window[: len(window) // 2]
    vectors = np.stack([memory.embed(one.query) for one in window])
    fits = vectors @ vectors[: len(known)].T
    losses = []
    for at, one in enumerate(window):
        neighbours = [
            Memory(other, float(fit))
            for other, fit in zip(known, fits[at], strict=True)
            if other is not one
        ]
        losses.append(-math.log(vote(task.labels, neighbours)[one.response]))
    return losses


def watch(memory: EpisodicMemory, task: Task, user: str) -> tuple[Drift, list[Interaction]]:
    """What the latest interactions of a user say, and these interactions.

    Those since the last known change are looked at; with fewer than four levels' worth of them, and
    where answers are no labels (or options that differ from query to query), there is only noise.
    """
    mine = memory.store.of(user)
    turn = turn_of(mine, task.name)
    answered = [one for one in mine.interactions(task.name) if one.response in task.labels]
    since = next((at for at, one in enumerate(answered) if turn and one.id == turn.since), 0)
    window = answered[since:][-WINDOW:]
    if isinstance(task, Choice) or len(window) < 4 * SHORTEST:
        return Drift("noise", None, ()), window
    return tell(surprises(memory, task, window)), window


def follow(memory: EpisodicMemory, task: Task, user: str) -> Drift:
    """Look at a user, and where the habits have changed, let what is older fade from now on."""
    drift, window = watch(memory, task, user)
    if drift.at is not None:
        save_turn(memory.store.of(user), task.name, window[drift.at].id, HALF_LIFE)
    return drift


def _levels(series: NDArray[np.float64]) -> tuple[tuple[int, float], ...]:
    """The levels of a series [n]: where each begins, and its mean."""
    if len(series) < 2 * SHORTEST:
        return ((0, float(series.mean())),) if len(series) else ()
    import ruptures  # half a second

    # Differences tell the noise even where the level jumps.
    variance = max(float(np.mean(np.diff(series) ** 2)) / 2, RISE**2 / 8)
    search = ruptures.KernelCPD(kernel="linear", min_size=SHORTEST).fit(series[:, None])
    ends = search.predict(pen=PENALTY * variance * math.log(len(series)))
    starts = [0, *(int(end) for end in ends[:-1])]
    return tuple(
        (start, float(series[start:end].mean())) for start, end in zip(starts, ends, strict=True)
    )


def _rises(levels: Sequence[tuple[int, float]]) -> tuple[list[int], bool]:
    """Where the loss rises to a high level, and whether it ends on one.

    A level is high if it lies in the upper half between the lowest and the highest, and these are
    told apart.
    """
    means = [mean for _, mean in levels]
    if not means or max(means) - min(means) < RISE:
        return [], False
    middle = (max(means) + min(means)) / 2
    rises = [start for (_, before), (start, mean) in pairwise(levels) if before <= middle < mean]
    return rises, means[-1] > middle
