"""Turns: where a user's habits changed, so that what is older fades from the votes.

`personaagent.optimizers.drift` finds them; recall reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from personaagent.data import Interaction
from personaagent.data.influence import faded
from personaagent.memory.encoding import microseconds
from personaagent.memory.index import UNDATED
from personaagent.memory.schema import interactions, turns
from personaagent.memory.user import UserMemory

_TURN = (
    sa.select(turns.c.since, turns.c.half_life, interactions.c.time, interactions.c.seq)
    .join(
        interactions,
        sa.and_(interactions.c.user == turns.c.user, interactions.c.id == turns.c.since),
    )
    .where(turns.c.user == sa.bindparam("of"), turns.c.task == sa.bindparam("task"))
)


@dataclass(frozen=True, slots=True)
class Turn:
    """`since` is the id of the first interaction after the change, at the place (time in
    microseconds, seq); what is older loses half its weight with every `half_life` interactions
    after the change."""

    since: str
    half_life: float
    time: int
    seq: int

    def fading(
        self, seqs: NDArray[np.int64], times: NDArray[np.int64]
    ) -> Callable[[int, Interaction], float]:
        """The factor for the weight of an interaction (with its seq), in (0, 1].

        Args:
            seqs: the seqs of the interactions that exist for the query.
            times: their times in microseconds.
        """
        after = (times > self.time) | ((times == self.time) & (seqs >= self.seq))
        factor = faded(int(after.sum()), self.half_life)

        def of(seq: int, one: Interaction) -> float:
            time = microseconds(one.time) if one.time else UNDATED
            return 1.0 if (time, seq) >= (self.time, self.seq) else factor

        return of


def turn_of(memory: UserMemory, task: str) -> Turn | None:
    """The user's latest turn in a task, None where there is none."""
    with memory.database.read() as connection:
        row = connection.execute(_TURN, {"of": memory.user, "task": task}).first()
    if row is None:
        return None
    return Turn(row.since, row.half_life, UNDATED if row.time is None else row.time, row.seq)


def save_turn(memory: UserMemory, task: str, since: str, half_life: float) -> None:
    """Let what is older than the interaction `since` fade, by a half-life in interactions."""
    row = {"user": memory.user, "task": task, "since": since, "half_life": half_life}
    created = microseconds(memory.now())
    with memory.database.write() as connection:
        memory.database.upsert(connection, turns, row | {"created": created})


def forget_turn(memory: UserMemory, task: str) -> None:
    """Let everything count again."""
    with memory.database.write() as connection:
        connection.execute(turns.delete().where(turns.c.user == memory.user, turns.c.task == task))
