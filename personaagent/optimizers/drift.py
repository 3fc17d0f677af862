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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from personaagent.data import Choice, Interaction, Task
from personaagent.memory import Embedder, EpisodicMemory, Memory, Store
from personaagent.memory.habit_change import forget_turn, save_turn, turn_of
from personaagent.memory.queue import behind
from personaagent.memory.tasks import load_tasks
from personaagent.programs.user_label_prior import vote

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


def surprises(
    memory: EpisodicMemory, task: Task, window: Sequence[Interaction], known: int
) -> list[float]:
    """How much each answer surprises one who knows only the first `known` of them, in nats.

    It is the user's own posterior over the labels (see `programs.habits`), so it costs no LM call;
    an answer of the known ones is judged by the others.
    """
    memory.remember(window)
    vectors = np.stack([memory.embed(one.query) for one in window])
    fits = vectors @ vectors[:known].T
    losses = []
    for at, one in enumerate(window):
        neighbours = [
            Memory(window[other], float(fits[at, other])) for other in range(known) if other != at
        ]
        losses.append(-math.log(vote(task.labels, neighbours)[one.response]))
    return losses


def look(
    memory: EpisodicMemory, task: Task, answered: Sequence[Interaction], since: int = 0
) -> Drift:
    """What a user's interactions say; `at` is a place among them.

    The older half of the latest ones is what was known, the newer half is judged by it. Where it
    changed before, only what followed counts, and a new change is first held against what was known
    before the last one: a user who is back to it goes back and forth.

    Args:
        memory: embeds the queries.
        task: one with labels.
        answered: oldest first, every response a label.
        since: the place of the last known change.
    """
    window = answered[since:][-WINDOW:]
    if len(window) < 4 * SHORTEST:
        return Drift("noise", None, ())
    found = tell(surprises(memory, task, window, len(window) // 2))
    if found.at is None:
        return found
    longer = answered[-2 * WINDOW :]
    before = since - (len(answered) - len(longer))
    if before >= 2 * SHORTEST:
        back = tell(surprises(memory, task, longer, before))
        if back.kind != "change":
            return Drift("oscillation", None, back.levels)
    return replace(found, at=len(answered) - len(window) + found.at)


def watch(
    memory: EpisodicMemory, task: Task, user: str, past: Sequence[Interaction] | None = None
) -> tuple[Drift, list[Interaction]]:
    """What a user's interactions say, and these interactions.

    With too few of them, and where answers are no labels (or options that differ from query to
    query), there is only noise. `past` are all of them, oldest first, where they were read already.
    """
    mine = memory.store.of(user)
    known = mine.interactions(task.name) if past is None else past
    answered = [one for one in known if one.response in task.labels]
    if isinstance(task, Choice):
        return Drift("noise", None, ()), answered
    turn = turn_of(mine, task.name)
    places = (at for at, one in enumerate(answered) if turn and one.id == turn.since)
    return look(memory, task, answered, next(places, 0)), answered


def follow(
    memory: EpisodicMemory, task: Task, user: str, past: Sequence[Interaction] | None = None
) -> Drift:
    """Look at a user: where the habits have changed, what is older fades from now on; where the old
    ones are back, nothing does. `past` is as in `watch`."""
    drift, answered = watch(memory, task, user, past)
    mine = memory.store.of(user)
    if drift.at is not None:
        save_turn(mine, task.name, answered[drift.at].id, HALF_LIFE)
    elif drift.kind == "oscillation":
        forget_turn(mine, task.name)
    return drift


class HabitsChanged:
    """Those whose habits have changed since their last alignment, a trigger of the queue.

    Whoever has new interactions is looked at, once for every newest one.

    Args:
        embedder: of the interactions.
    """

    name = "drift"

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self._looked: dict[tuple[str, str], int] = {}

    def due(self, store: Store) -> Iterator[tuple[str, str]]:
        """(user, task) of each."""
        memory, tasks = EpisodicMemory(store, self.embedder), load_tasks(store)
        for user, task, newest in behind(store):
            if self._looked.get((user, task)) == newest or task not in tasks:
                continue
            self._looked[user, task] = newest
            if watch(memory, tasks[task], user)[0].kind == "change":
                yield user, task


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
