"""Works off the queue: triggers say whose persona is due, and one after another is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from personaagent.errors import BudgetError, ConflictError, PersonaAgentError
from personaagent.memory.queue import Holder
from personaagent.memory.tasks import task_named
from personaagent.memory.wakeup import DUE, Wakeup
from personaagent.privacy.forgetting import finish, unfinished_users
from personaagent.service.leasing import renewed

if TYPE_CHECKING:
    from personaagent.memory.queue import Job, Queue, Trigger
    from personaagent.service.publish import Compiled
    from personaagent.service.trainer import Trainer, Watcher

POLL = 5.0  # seconds between looks into an empty queue, where nobody wakes the worker


@dataclass(frozen=True)
class Worker:
    """One of any number of workers of a database.

    Args:
        jobs: the queue.
        triggers: what makes an alignment due.
        trainer: called when there is first something to do, so that an idle worker needs no LM.
        tracked: keep an MLflow run of every alignment.
    """

    jobs: Queue
    triggers: Sequence[Trigger]
    trainer: Callable[[], Trainer]
    tracked: bool = True

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
        store, name, trainer = self.jobs.store, str(Holder.new("worker")), None
        with Wakeup(store.database, DUE) as wakeup:
            while True:
                for user in unfinished_users(store):
                    finish(store, user)
                self.jobs.trigger(self.triggers)
                if job := self.jobs.take(name):
                    trainer = trainer or self.trainer()
                    yield job, self._attempt(job, trainer, watch(job))
                elif once:
                    return
                else:
                    wakeup.wait(POLL)

    def _attempt(self, job: Job, trainer: Trainer, watcher: Watcher) -> Compiled | str:
        """Work on a job; whatever ends it, it is given back."""
        try:
            with renewed(self.jobs, job):
                return self._align(job, trainer, watcher)
        except BudgetError:
            self.jobs.again(job)
            raise
        except ConflictError as error:
            self.jobs.again(job)
            return f"starts again: {error}"
        except PersonaAgentError as error:
            self.jobs.failed(job, str(error))
            return f"failed: {error}"
        except BaseException:
            self.jobs.again(job)
            raise

    def _align(self, job: Job, trainer: Trainer, watcher: Watcher) -> Compiled:
        task = task_named(self.jobs.store, job.task)
        trained = trainer.learn(
            task,
            trainer.material(job.user, task),
            watcher,
            then=lambda connection: self.jobs.done(connection, job),
        )
        if self.tracked:
            trainer.track(task, trained, watcher.note)
        return trained.done
