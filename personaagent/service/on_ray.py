"""Many users trained on a Ray cluster: what `Many.run` does, on several machines (`ray_pool`).

Who is begun again elsewhere, because a node was lost, goes on from the journal. The lease of a user
keeps two from working on one persona meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import dspy

from personaagent.errors import BusyError
from personaagent.memory.queue import LEASE
from personaagent.optimizers.ray_pool import RayPool
from personaagent.service.many import Job, told
from personaagent.service.trainer import Telling, tell_on

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from personaagent.data import Task
    from personaagent.optimizers.ray_pool import Make
    from personaagent.optimizers.user_pool import Attempt
    from personaagent.service.many import Board, Many
    from personaagent.service.publish import Compiled
    from personaagent.service.trainer import Trained, Trainer, Watcher

_AGAIN = 1.0  # seconds until a lease is asked for again


@dataclass(frozen=True, slots=True)
class _Training:
    """Trains a user, unless that is done; `restart` forgets what an interrupted training has done
    before this run."""

    tasks: Mapping[str, Task]
    restart: bool

    def __call__(self, trainer: Trainer, job: Job, attempt: Attempt, /) -> Trained | Compiled:
        # Begun before, by a process that is gone: its lease may still hold, its journal goes on.
        patience = LEASE.total_seconds() + _AGAIN if attempt.again else 0
        until = time.monotonic() + patience
        user, task = job[0], self.tasks[job[1]]
        anew = self.restart and not attempt.again
        trainer = replace(trainer, lm=dspy.settings.lm)  # the one that can be stopped
        while True:
            try:
                return trainer.train_new(user, task, Telling(attempt.tell), restart=anew)
            except BusyError:
                if time.monotonic() > until:
                    raise
                time.sleep(_AGAIN)


def run(
    many: Many,
    make: Make[Trainer],
    board: Board,
    *,
    restart: bool = False,
    tracked: bool = False,
) -> None:
    """`Many.run` on the cluster that this process is connected to.

    Args:
        make: an LM with so many slots, and a trainer of the same store and setting with it; it is
            called on the nodes.

    Raises:
        DataError: the database or a budget is of a kind that works on one machine only.
    """
    watchers: dict[Job, Watcher] = {}

    def begun() -> Iterator[Job]:
        for job in many.todo:
            watchers[job] = board.begin(many.name(job))
            yield job

    def tell(job: Job, what: Any) -> None:
        tell_on(watchers[job], what)

    began = time.monotonic()
    training = _Training(many.tasks, restart)
    with RayPool(make, many.trainer.lm, many.trainer.memory.store) as pool:
        for done in pool.side_by_side(training, begun(), tell):
            many.seconds = time.monotonic() - began
            if done.error is not None:
                many.end(done.user, told(done.error), board)
            else:
                assert done.result is not None
                many.end(done.user, done.result, board, tracked=tracked)
