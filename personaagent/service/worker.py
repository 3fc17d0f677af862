"""Works off the queue: triggers say whose persona is due, and a pool trains them: one after another
here, or side by side on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import dspy

from personaagent.errors import BudgetError, ConflictError
from personaagent.memory.queue import Holder, Queue
from personaagent.memory.tasks import task_named
from personaagent.memory.wakeup import DUE, Wakeup
from personaagent.optimizers.user_pool import OneByOne
from personaagent.privacy.forgetting import finish, unfinished_users
from personaagent.service.leasing import renewed
from personaagent.service.trainer import Telling, tell_on

if TYPE_CHECKING:
    from personaagent.memory.queue import Job, Trigger
    from personaagent.optimizers.user_pool import Attempt, Done, Pool
    from personaagent.service.publish import Compiled
    from personaagent.service.trainer import Trained, Trainer, Watcher

_NICER = 10  # of 19
POLL = 5.0  # seconds between looks into an empty queue, where nobody wakes the worker


def _here(trainer: Trainer) -> AbstractContextManager[Pool[Trainer]]:
    return nullcontext(OneByOne(trainer))


def give_way() -> None:
    """Have this process leave the processor to others that want it: answers beside alignments."""
    if hasattr(os, "nice"):  # not on Windows
        os.nice(_NICER)


def align(trainer: Trainer, job: Job, attempt: Attempt, /) -> Trained:
    """Train a job's user; what comes of it is published in one transaction with the job's end."""
    jobs = Queue(trainer.memory.store)
    task = task_named(trainer.memory.store, job.task)
    # DSPy would keep the latest 10,000 prompts, also of who is erased meanwhile.
    with dspy.context(disable_history=True):
        return trainer.learn(
            task,
            trainer.material(job.user, task),
            Telling(attempt.tell),
            then=lambda connection: jobs.done(connection, job),
        )


@dataclass(frozen=True)
class Worker:
    """One of any number of workers of a database.

    Args:
        jobs: the queue.
        triggers: what makes an alignment due.
        trainer: called when there is first something to do, so that an idle worker needs no LM.
        tracked: keep an MLflow run of every alignment.
        pool: who trains, called with the trainer; by default one user after another, here.
    """

    jobs: Queue
    triggers: Sequence[Trigger]
    trainer: Callable[[], Trainer]
    tracked: bool = True
    pool: Callable[[Trainer], AbstractContextManager[Pool[Trainer]]] = _here

    def work(
        self, watch: Callable[[Job], Watcher], *, once: bool = False
    ) -> Iterator[tuple[Job, Compiled | str]]:
        """Each job that was worked on, with its outcome or what became of it.

        Args:
            watch: gives who is told of a job.
            once: end when nothing is due, instead of waiting for more.

        Raises:
            BudgetError: the budget is used up; the job stays in the queue.
        """
        store, name = self.jobs.store, str(Holder.new("worker"))
        made: tuple[Trainer, Pool[Trainer]] | None = None
        with Wakeup(store.database, DUE) as wakeup, ExitStack() as stack:
            held = stack.enter_context(_Held(self.jobs))
            while True:
                for user in unfinished_users(store):
                    finish(store, user)
                self.jobs.trigger(self.triggers)
                while (made is None or made[1].free > 0) and (job := self.jobs.take(name)):
                    held.hold(job)
                    if made is None:
                        trainer = self.trainer()
                        made = trainer, stack.enter_context(self.pool(trainer))
                    watcher = watch(job)
                    held.watchers[job] = watcher
                    made[1].begin(align, job, partial(tell_on, watcher))
                if made is not None and made[1].busy:
                    trainer, pool = made
                    for done in pool.ended():
                        yield done.user, self._settle(trainer, held, done)
                elif once:
                    return
                else:
                    wakeup.wait(POLL)

    def _settle(self, trainer: Trainer, held: _Held, done: Done[Job, Trained]) -> Compiled | str:
        """What came of a job, which is let go of."""
        job, error = done.user, done.error
        watcher = held.watchers[job]
        if error is None:
            assert done.result is not None
            if self.tracked:
                task = task_named(self.jobs.store, job.task)
                trainer.track(task, done.result, watcher.note)
            held.let_go(job)
            return done.result.done
        if isinstance(error, BudgetError):
            raise error  # `held` gives the job back
        held.let_go(job)
        if isinstance(error, ConflictError):
            self.jobs.again(job)
            return f"starts again: {error}"
        self.jobs.failed(job, str(error))
        return f"failed: {error}"


class _Held:
    """The leases of the jobs under way, renewed until they are let go; whatever ends the block, the
    rest is given back."""

    def __init__(self, jobs: Queue) -> None:
        self.watchers: dict[Job, Watcher] = {}
        self._jobs = jobs
        self._leases: dict[Job, ExitStack] = {}

    def hold(self, job: Job) -> None:
        """Renew the lease of a job from now on."""
        self._leases[job] = stack = ExitStack()
        stack.enter_context(renewed(self._jobs, job))

    def let_go(self, job: Job) -> None:
        """The job is over."""
        self.watchers.pop(job, None)
        self._leases.pop(job).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for job in list(self._leases):
            self.let_go(job)
            self._jobs.again(job)
