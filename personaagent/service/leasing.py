"""Leases of users: held while somebody works on a persona, given back whatever ends the work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

    over = threading.Event()

    def renew() -> None:
        while not over.wait(LEASE.total_seconds() / 4) and jobs.renew(job):
            pass

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
