"""The queue of alignments that are due: durable, and one at a time for a user.

A worker takes a job for as long as its lease lasts and renews it while it works; when it dies the
next worker goes on, with what the journal kept: at once where the dead one ran on the same machine,
else when the lease runs out. `compile` holds the same lease, so that nobody works for a user whose
persona somebody else is about to publish.

A lease names its holder, a process, so that others on the same machine see whether it still lives.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, Self

import sqlalchemy as sa

from personaagent.errors import BusyError
from personaagent.memory.changes import settle
from personaagent.memory.encoding import microseconds, moment, moment_or_none
from personaagent.memory.schema import alignments, changed, interactions, jobs
from personaagent.memory.store import Store
from personaagent.memory.wakeup import DUE, notify


@dataclass(frozen=True, slots=True)
class Holder:
    """A process at work; as text it is what a lease is signed with.

    Attributes:
        work: what it does, such as `worker` or `compile`.
        host: the name of its machine, for people.
        place: of the machine since it was started, and its container: within one, ids of
            processes name the same ones.
        process: its id.
        mark: tells two of one process apart.
    """

    work: str
    host: str
    place: str
    process: int
    mark: str

    @classmethod
    def new(cls, work: str) -> Self:
        """This process."""
        return cls(work, socket.gethostname(), _place(), os.getpid(), uuid.uuid4().hex)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The holder of a signature, None where it is in another form."""
        parts = text.split("/")
        if len(parts) != 5 or not parts[3].isdigit():
            return None
        work, host, place, process, mark = parts
        return cls(work, host, place, int(process), mark)

    def __str__(self) -> str:
        host = self.host.replace("/", "_")
        return f"{self.work}/{host}/{self.place}/{self.process}/{self.mark}"

    @property
    def gone(self) -> bool:
        """Whether it is known to be dead; False where that cannot be known from here."""
        if self.place != _place() or os.name == "nt":  # there, signal 0 is no question
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # somebody else's, and alive
            return False
        return False

    def described(self) -> str:
        """In words."""
        return f"'{self.work}', process {self.process} on {self.host}"


def gone(signature: str) -> bool:
    """Whether the holder of a lease is known to be dead."""
    holder = Holder.read(signature)
    return holder is not None and holder.gone


def same_process(one: str | None, other: str | None) -> bool:
    """Whether two leases are held by one process."""
    a, b = Holder.read(one or ""), Holder.read(other or "")
    return a is not None and b is not None and (a.place, a.process) == (b.place, b.process)


def described(signature: str | None) -> str:
    """The holder of a lease, in words."""
    holder = Holder.read(signature or "")
    return "another process" if holder is None else holder.described()


@cache
def _place() -> str:
    told = [socket.gethostname(), *filter(None, map(_told, _TELLING))]
    return sha256("\n".join(told).encode()).hexdigest()[:16]


_TELLING = ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid")


def _told(name: str) -> str:
    path = Path(name)
    try:
        return str(path.readlink()) if path.is_symlink() else path.read_text()
    except OSError:  # not Linux
        return ""


LEASE = timedelta(minutes=2)
ATTEMPTS = 3
"""Failures after which a job waits for a person, or for the next trigger."""

BY_HAND = "compile"
"""The trigger of a job that is there only while somebody works on it."""

_PAUSE = timedelta(minutes=1)  # after the first failure; twice as long after each further one


@dataclass(frozen=True, slots=True)
class Job:
    """An alignment that is due.

    Attributes:
        trigger: why: `interactions`, `schedule` or what else asked for it.
        due: not before this moment.
        attempts: how often it failed.
        worker: who works on it, the text of a `Holder`; None while it waits.
        lease: until when, unless it is renewed.
        problem: how the last attempt failed.
    """

    user: str
    task: str
    trigger: str
    created: datetime
    due: datetime
    attempts: int
    worker: str | None
    lease: datetime | None
    problem: str

    def state(self, now: datetime) -> str:
        """`running`, `waiting`, `failed`, or `interrupted` where its worker is gone."""
        if self.worker is not None:
            return "running" if self.held(now) else "interrupted"
        return "failed" if self.attempts >= ATTEMPTS else "waiting"

    def held(self, now: datetime) -> bool:
        """Whether somebody works on it, as far as can be known."""
        running = self.worker is not None and self.lease is not None and self.lease > now
        return running and not gone(self.worker or "")

    def waiting(self, now: datetime) -> str:
        """What has to come before it is worked on, in words."""
        if self.worker is not None and self.held(now):
            until = f"{self.lease:%H:%M:%S} UTC" if self.lease else "it ends"
            return (
                f"{described(self.worker)} is at work on it; were it to die unseen, the job would "
                f"be free at {until}"
            )
        if self.state(now) == "failed":
            return (
                f"it failed {self.attempts} times ({self.problem}): 'personaagent queue --retry' "
                "gives it another chance"
            )
        return f"it is tried again at {self.due:%H:%M:%S} UTC ({self.problem or self.trigger})"


class Trigger(Protocol):
    """Decides whose persona is to be aligned again."""

    @property
    def name(self) -> str:
        """What a job says of why it is there."""
        ...

    def due(self, store: Store) -> Iterable[tuple[str, str]]:
        """(user, task) of each; there is something new of all of them."""
        ...


@dataclass(frozen=True, slots=True)
class NewInteractions:
    """Those with at least so many interactions that their last alignment did not know."""

    threshold: int
    name: str = "interactions"

    def due(self, store: Store) -> list[tuple[str, str]]:
        return [(user, task) for user, task, _ in behind(store, self.threshold)]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Those who have a persona and were last aligned so long ago, if there is anything new."""

    every: timedelta
    name: str = "schedule"

    def due(self, store: Store) -> list[tuple[str, str]]:
        a = alignments.c
        known = sa.select(a.user, a.task).where(
            a.time <= microseconds(store.now() - self.every),
            sa.exists().where(_same(changed, alignments)),
            sa.exists().where(_same(interactions, alignments), interactions.c.seq > a.seq),
        )
        with store.database.read() as connection:
            return [(user, task) for user, task in connection.execute(known.order_by(a.time))]


class Queue:
    """The jobs of a database; any number of workers may share it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def jobs(self) -> list[Job]:
        """Every job, the one that is due first before the others."""
        select = sa.select(jobs).order_by(jobs.c.due, jobs.c.user, jobs.c.task)
        now = self.store.now()
        with self.store.database.read() as connection:
            found = [_job(row) for row in connection.execute(select).mappings()]
        return [one for one in found if one.trigger != BY_HAND or one.held(now)]

    def trigger(self, triggers: Iterable[Trigger]) -> int:
        """Add what the triggers find due; the number of new jobs."""
        return sum(
            self._add_due(user, task, trigger.name)
            for trigger in triggers
            for user, task in trigger.due(self.store)
        )

    def add(self, user: str, task: str, trigger: str) -> bool:
        """Add a job, unless the persona has one already; whether it was added."""
        with self.store.database.write() as connection:
            return add(self.store, connection, self.store.of(user).user, task, trigger)

    def _add_due(self, user: str, task: str, trigger: str) -> bool:
        """`add`, unless somebody has aligned the persona to all there is since the trigger looked:
        else its work would be done twice."""
        i, a = interactions.c, alignments.c
        known = sa.select(a.seq).where(a.user == user, a.task == task).scalar_subquery()
        new = sa.exists().where(i.user == user, i.task == task, i.seq > sa.func.coalesce(known, 0))
        with self.store.database.write() as connection:
            if not connection.scalar(sa.select(new)):
                return False
            return add(self.store, connection, user, task, trigger)

    def retry(self) -> int:
        """Give every failed job another chance; how many there were."""
        failed = sa.and_(jobs.c.attempts >= ATTEMPTS, jobs.c.owner.is_(None))
        again = {"attempts": 0, "due": microseconds(self.store.now())}
        with self.store.database.write() as connection:
            return connection.execute(jobs.update().where(failed).values(again)).rowcount

    def hold(self, user: str, task: str, holder: str) -> Job:
        """Take a job of one's own, for a user whom nobody works for; one process may do so for
        several tasks of a user.

        Raises:
            BusyError: somebody does; it says who, and until when.
        """
        now = self.store.now()
        with self.store.database.write() as connection:
            self.store.database.lock_user(connection, user)
            self._release_dead(connection, microseconds(now))
            busy = sa.select(jobs).where(jobs.c.user == user, jobs.c.lease > microseconds(now))
            for job in map(_job, connection.execute(busy).mappings().all()):
                if job.task != task and same_process(job.worker, holder):
                    continue
                raise BusyError(
                    f"user '{user}', task '{job.task}': {described(job.worker)} is at work on "
                    "this user's persona: wait until it is done, or stop it; were it to die "
                    f"unseen, the user would be free at {job.lease:%H:%M:%S} UTC"
                )
            add(self.store, connection, user, task, BY_HAND)
            leased = {"owner": holder, "lease": microseconds(now + LEASE)}
            connection.execute(jobs.update().where(_mine(user, task)).values(leased))
            row = connection.execute(sa.select(jobs).where(_mine(user, task))).mappings().one()
        return _job(row)

    def take(self, worker: str) -> Job | None:
        """The job that is due first and whose user nobody else is busy with, leased."""
        now, database = self.store.now(), self.store.database
        at = microseconds(now)
        leased = {"owner": worker, "lease": microseconds(now + LEASE)}
        other = jobs.alias()
        busy = sa.exists().where(other.c.user == jobs.c.user, other.c.lease > at)
        free = (
            jobs.c.due <= at,
            jobs.c.attempts < ATTEMPTS,
            # Of the row itself, PostgreSQL asks it again once the row is locked.
            sa.or_(jobs.c.lease.is_(None), jobs.c.lease <= at),
            ~busy,
        )
        select = sa.select(jobs).where(*free).order_by(jobs.c.due, jobs.c.user, jobs.c.task)
        select = select.limit(1).with_for_update(skip_locked=True, of=jobs)
        passed: list[str] = []  # users whom somebody else takes just now
        while True:
            with database.claim() as connection:
                self._release_dead(connection, at)
                row = (
                    connection.execute(select.where(jobs.c.user.not_in(passed))).mappings().first()
                )
                if row is None:
                    return None
                user = row["user"]
                leases = sa.exists().where(jobs.c.user == user, jobs.c.lease > at)
                if database.try_user(connection, user) and not connection.scalar(sa.select(leases)):
                    mine = _mine(user, row["task"])
                    connection.execute(jobs.update().where(mine).values(leased))
                    return _job({**row, **leased})
            passed.append(user)

    def renew(self, job: Job) -> bool:
        """Hold a job for another lease; False if it is another worker's by now, or was dropped."""
        lease = microseconds(self.store.now() + LEASE)
        return self._change(job, {"lease": lease})

    def done(self, connection: sa.Connection, job: Job) -> None:
        """Drop a job in the transaction that publishes what came of it."""
        held = sa.and_(_mine(job.user, job.task), jobs.c.owner == job.worker)
        connection.execute(jobs.delete().where(held))

    def failed(self, job: Job, problem: str) -> None:
        """Put a job back to be tried again later."""
        pause = _PAUSE * 2**job.attempts
        later = {
            "owner": None,
            "lease": None,
            "attempts": job.attempts + 1,
            "due": microseconds(self.store.now() + pause),
            "problem": problem,
        }
        self._change(job, later)

    def again(self, job: Job) -> None:
        """Put a job back that must start again, or was stopped; it has not failed. One that was
        there only by hand goes."""
        held = sa.and_(_mine(job.user, job.task), jobs.c.owner == job.worker)
        with self.store.database.claim() as connection:
            _release(connection, held)

    def _release_dead(self, connection: sa.Connection, now: int) -> None:
        """Free the jobs whose holder is dead, and drop those that were there only by hand."""
        held = sa.select(jobs.c.owner, jobs.c.lease).where(jobs.c.owner.is_not(None)).distinct()
        for owner, lease in connection.execute(held).all():
            if (lease or 0) > now and not gone(owner):
                continue
            theirs = sa.select(jobs.c.user, jobs.c.task).where(jobs.c.owner == owner)
            locked = connection.execute(theirs.with_for_update(skip_locked=True)).all()
            for user, task in locked:
                _release(connection, sa.and_(_mine(user, task), jobs.c.owner == owner))

    def _change(self, job: Job, values: Mapping[str, object]) -> bool:
        held = sa.and_(_mine(job.user, job.task), jobs.c.owner == job.worker)
        with self.store.database.claim() as connection:
            return bool(connection.execute(jobs.update().where(held).values(values)).rowcount)


def newest_of(store: Store, user: str, task: str) -> int:
    """The number of the user's newest interaction of a task, 0 without one."""
    i = interactions.c
    with store.database.read() as connection:
        mine = sa.select(sa.func.max(i.seq)).where(i.user == user, i.task == task)
        return connection.scalar(mine) or 0


def behind(store: Store, new: int = 1) -> list[tuple[str, str, int]]:
    """(user, task, number of the newest interaction) of the personas whose last alignment did not
    know at least `new` interactions; who waits longest first."""
    i, c = interactions.c, changed.c
    unknown = (i.user == c.user, i.task == c.task, i.seq > sa.func.coalesce(alignments.c.seq, 0))

    def of_each(value: sa.ColumnElement[int]) -> sa.ScalarSelect[int]:
        # Asked for each of the few who have changed: to join them, PostgreSQL may read everyone's.
        mine = sa.select(value).select_from(interactions).where(*unknown)
        return mine.correlate(changed, alignments).scalar_subquery()

    each = (
        sa.select(
            c.user,
            c.task,
            of_each(sa.func.max(i.seq)).label("newest"),
            of_each(sa.func.min(i.seq)).label("oldest"),
            of_each(sa.func.count()).label("count"),
        )
        .select_from(changed.outerjoin(alignments, _same(changed, alignments)))
        .subquery()
    )
    select = (
        sa.select(each.c.user, each.c.task, each.c.newest)
        .where(each.c.count >= max(new, 1))
        .order_by(each.c.oldest)
    )
    with store.database.read() as connection:
        return [(user, task, newest) for user, task, newest in connection.execute(select)]


def add(store: Store, connection: sa.Connection, user: str, task: str, trigger: str) -> bool:
    """`Queue.add` within a transaction."""
    known = connection.execute(sa.select(jobs.c.trigger).where(_mine(user, task))).first()
    if known is not None:
        if known.trigger == BY_HAND:  # to be done even if whoever is at it gives up
            connection.execute(jobs.update().where(_mine(user, task)).values(trigger=trigger))
        return False
    notify(connection, DUE)
    now = microseconds(store.now())
    row = {"user": user, "task": task, "trigger": trigger, "created": now, "due": now}
    connection.execute(jobs.insert(), row | {"attempts": 0, "problem": ""})
    return True


def note_alignment(
    store: Store, connection: sa.Connection, user: str, task: str, newest: int
) -> None:
    """Note, in the transaction that publishes it, up to which interaction a persona is aligned."""
    row = {"user": user, "task": task, "seq": newest, "time": microseconds(store.now())}
    store.database.upsert(connection, alignments, row)
    settle(connection, user, task, newest)


def _release(connection: sa.Connection, held: sa.ColumnElement[bool]) -> None:
    connection.execute(jobs.delete().where(held, jobs.c.trigger == BY_HAND))
    connection.execute(jobs.update().where(held).values(owner=None, lease=None))


def _mine(user: str, task: str) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.user == user, jobs.c.task == task)


def _same(one: sa.Table, other: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(one.c.user == other.c.user, one.c.task == other.c.task)


def _job(data: Mapping[Any, Any]) -> Job:
    return Job(
        user=data["user"],
        task=data["task"],
        trigger=data["trigger"],
        created=moment(data["created"]),
        due=moment(data["due"]),
        attempts=data["attempts"],
        worker=data["owner"],
        lease=moment_or_none(data["lease"]),
        problem=data["problem"],
    )
