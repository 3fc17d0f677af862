"""Leases of users: held while somebody works on a persona, given back whatever ends the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from personaagent.beside import beside

if TYPE_CHECKING:
    import threading

    import sqlalchemy as sa

    from personaagent.memory import Store
    from personaagent.memory.queue import Job, Queue


@contextmanager
def held(store: Store, user: str, task: str) -> Iterator[Callable[[sa.Connection], None]]:
    """Hold a user's lease while the block compiles; gives what ends the job in the transaction
    that publishes.

    Raises:
        BusyError: somebody else works for the user.
    """
    from personaagent.memory.queue import Holder, Queue

    jobs = Queue(store)
    job = jobs.hold(user, task, str(Holder.new("compile")))
    try:
        with renewed(jobs, job):
            yield lambda connection: jobs.done(connection, job)
    finally:
        jobs.again(job)


@contextmanager
def renewed(jobs: Queue, job: Job) -> Iterator[None]:
    """Renew the lease of a job while the block works on it."""
    from personaagent.memory.queue import LEASE

    def renew(over: threading.Event) -> None:
        while not over.wait(LEASE.total_seconds() / 4) and jobs.renew(job):
            pass

    with beside(renew):
        yield
