"""The queue of alignments: who is due, who works on what, and what a dead worker leaves."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from worlds import NOON, interaction

from personaagent.data import Persona
from personaagent.errors import BusyError
from personaagent.memory import Store
from personaagent.memory.erasure import erase
from personaagent.memory.queue import (
    ATTEMPTS,
    LEASE,
    Holder,
    NewInteractions,
    Queue,
    Schedule,
    gone,
    newest_of,
    note_alignment,
)
from personaagent.memory.schema import jobs


class Clock:
    def __init__(self) -> None:
        self.moment = NOON + timedelta(days=30)

    def __call__(self) -> datetime:
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(new_database: Callable[[], str], clock: Clock) -> Queue:
    return Queue(Store(new_database(), now=clock))


def align(queue: Queue, user: str) -> None:
    newest = newest_of(queue.store, user, "films")
    with queue.store.database.write() as connection:
        note_alignment(queue.store, connection, user, "films", newest)


def test_enough_new_interactions_make_an_alignment_due(queue: Queue) -> None:
    triggers = [NewInteractions(3)]
    queue.store.add([interaction(n) for n in range(2)])
    assert queue.trigger(triggers) == 0
    queue.store.add([interaction(2), interaction(3, user="bob")])
    assert queue.trigger(triggers) == 1
    assert queue.trigger(triggers) == 0  # it waits already
    (job,) = queue.jobs()
    assert (job.user, job.task, job.trigger) == ("ann", "films", "interactions")


def test_what_an_alignment_knew_is_not_new(queue: Queue) -> None:
    queue.store.add([interaction(n) for n in range(5)])
    align(queue, "ann")
    assert queue.trigger([NewInteractions(2)]) == 0
    queue.store.add([interaction(5), interaction(6)])
    assert queue.trigger([NewInteractions(2)]) == 1


def test_a_schedule_asks_for_those_with_anything_new(queue: Queue, clock: Clock) -> None:
    daily = [Schedule(timedelta(days=1))]
    queue.store.add([interaction(1), interaction(1, user="bob")])
    align(queue, "ann")
    align(queue, "bob")
    queue.store.add([interaction(2)])
    assert queue.trigger(daily) == 0
    clock.moment += timedelta(days=1)
    assert queue.trigger(daily) == 1
    assert queue.jobs()[0].user == "ann"


def test_no_two_workers_work_for_one_user(queue: Queue) -> None:
    queue.add("ann", "films", "request")
    queue.add("ann", "books", "request")
    queue.add("bob", "films", "request")
    one, two, three = (queue.take(name) for name in "xyz")
    assert one is not None
    assert two is not None
    assert {one.user, two.user} == {"ann", "bob"}
    assert three is None
    with queue.store.database.write() as connection:
        queue.done(connection, one)
    third = queue.take("z")
    assert third is not None
    assert (third.user, third.task) != (one.user, one.task)


def test_a_lease_is_renewed_or_runs_out(queue: Queue, clock: Clock) -> None:
    queue.add("ann", "films", "request")
    job = queue.take("x")
    assert job is not None
    clock.moment += LEASE * 0.9
    assert queue.renew(job)
    clock.moment += LEASE * 0.9
    assert queue.take("y") is None
    assert queue.jobs()[0].state(clock()) == "running"
    clock.moment += LEASE
    assert queue.jobs()[0].state(clock()) == "interrupted"
    again = queue.take("y")
    assert again is not None
    assert not queue.renew(job)
    queue.failed(job, "the dead speak")  # it is not theirs any more
    assert queue.jobs()[0].worker == "y"


def test_what_fails_is_tried_again_later_and_then_left_to_people(
    queue: Queue, clock: Clock
) -> None:
    queue.add("ann", "films", "request")
    for attempt in range(ATTEMPTS):
        job = queue.take("x")
        assert job is not None
        queue.failed(job, f"problem {attempt}")
        assert queue.take("x") is None
        clock.moment += timedelta(hours=1)
    assert queue.take("x") is None
    (job,) = queue.jobs()
    assert (job.state(clock()), job.problem) == ("failed", f"problem {ATTEMPTS - 1}")
    assert not queue.add("ann", "films", "interactions")
    assert queue.retry() == 1
    assert queue.take("x") is not None


def test_an_erasure_asks_for_what_it_emptied(queue: Queue) -> None:
    store = queue.store
    store.add([interaction(1), interaction(2)])
    store.of("ann").publish(Persona("ann", "films", "both"), expected=None, reason="")
    queue.add("ann", "films", "interactions")
    job = queue.take("x")
    assert job is not None
    erase(store, "ann", ids=["i1"])
    (again,) = queue.jobs()
    assert (again.trigger, again.worker) == ("erasure", None)
    with store.database.write() as connection:
        queue.done(connection, job)  # the worker that knew the erased one
    assert len(queue.jobs()) == 1
    erase(store, "ann", everything=True)
    assert queue.jobs() == []


def dead() -> Holder:
    """A process of this machine that has ended."""
    if not (child := os.fork()):
        os._exit(0)
    os.waitpid(child, 0)
    return replace(Holder.new("worker"), process=child)


def test_a_holder_is_gone_only_where_that_can_be_known() -> None:
    mine = Holder.new("worker")
    assert Holder.read(str(mine)) == mine
    assert not mine.gone
    assert dead().gone
    assert not replace(dead(), place="elsewhere").gone
    assert not gone("a name in another form")


def test_the_job_of_a_dead_worker_is_free_at_once(queue: Queue, clock: Clock) -> None:
    queue.store.add([interaction(1)])
    queue.add("ann", "films", "request")
    queue.take(str(dead()))
    assert queue.jobs()[0].state(clock()) == "interrupted"
    assert queue.take("other") is not None


def test_the_job_of_a_worker_that_died_elsewhere_is_free_at_the_end_of_its_lease(
    queue: Queue, clock: Clock
) -> None:
    queue.store.add([interaction(1)])
    queue.add("ann", "films", "request")
    queue.take(str(replace(dead(), place="elsewhere", host="attic")))
    (job,) = queue.jobs()
    assert job.state(clock()) == "running"
    assert "attic" in job.waiting(clock())
    assert f"{clock() + LEASE:%H:%M:%S}" in job.waiting(clock())
    assert queue.take("other") is None
    clock.moment += LEASE
    assert queue.take("other") is not None


def test_who_compiles_and_who_works_keep_each_other_away(queue: Queue) -> None:
    queue.store.add([interaction(1)])
    queue.add("ann", "films", "request")
    job = queue.take(str(Holder.new("worker")))
    with pytest.raises(BusyError, match=f"'worker', process {os.getpid()} on "):
        queue.hold("ann", "films", "me")
    with pytest.raises(BusyError):
        queue.hold("ann", "books", "me")  # the same user
    queue.hold("bob", "films", "me")
    assert job is not None
    queue.again(job)
    queue.hold("ann", "films", "me")
    assert queue.take("worker") is None


def test_one_process_may_compile_several_tasks_of_a_user(queue: Queue) -> None:
    mine, again = str(Holder.new("compile")), str(Holder.new("compile"))
    queue.hold("ann", "films", mine)
    queue.hold("ann", "books", again)
    with pytest.raises(BusyError):
        queue.hold("ann", "films", again)
    other = str(replace(Holder.new("compile"), process=os.getppid()))
    with pytest.raises(BusyError):
        queue.hold("ann", "music", other)


def test_what_is_held_by_hand_leaves_no_job_behind(queue: Queue) -> None:
    queue.again(queue.hold("ann", "films", "me"))
    assert queue.jobs() == []
    queue.hold("ann", "films", str(dead()))
    assert queue.jobs() == []
    assert queue.take("worker") is None


def test_a_job_that_comes_while_somebody_works_by_hand_is_there_afterwards(queue: Queue) -> None:
    held = queue.hold("ann", "films", "me")
    queue.add("ann", "films", "erasure")
    queue.again(held)
    assert [(one.trigger, one.worker) for one in queue.jobs()] == [("erasure", None)]
    held = queue.hold("ann", "films", "me")
    with queue.store.database.write() as connection:
        queue.done(connection, held)
    assert queue.jobs() == []


def test_a_job_that_somebody_is_about_to_take_holds_nobody_up(queue: Queue) -> None:
    """On PostgreSQL: its row is locked, and the next worker takes the next job."""
    if not queue.store.database.keeps_log:
        pytest.skip("SQLite has one writer")
    for user in ("ann", "bob"):
        queue.add(user, "films", "request")
    with queue.store.database.claim() as connection:
        first = sa.select(jobs.c.user).where(jobs.c.user == "ann").with_for_update()
        connection.execute(first).all()
        other = queue.take("x")
        assert other is not None
        assert other.user == "bob"
        assert queue.take("y") is None
    assert queue.take("y") is not None


def test_many_workers_at_once_take_each_job_once_and_no_user_twice(queue: Queue) -> None:
    count, users = 8, [f"user{n % 20}" for n in range(40)]
    for n, user in enumerate(users):
        queue.add(user, f"task{n // 20}", "request")
    taken: list[tuple[str, str]] = []
    at_work: set[str] = set()
    twice: list[str] = []
    lock = threading.Lock()

    def work(name: str) -> None:
        while len(taken) < len(users):
            if (job := queue.take(name)) is None:
                continue
            with lock:
                if job.user in at_work:
                    twice.append(job.user)
                at_work.add(job.user)
            assert queue.renew(job)
            with lock:
                at_work.discard(job.user)
                taken.append((job.user, job.task))
            with queue.store.database.write() as connection:
                queue.done(connection, job)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, map(str, range(count))))
    assert twice == []
    assert len(taken) == len(set(taken)) == len(users)
    assert queue.jobs() == []


def test_who_was_aligned_since_a_trigger_looked_is_not_due_again(queue):
    queue.store.add([interaction(1)])
    newest = newest_of(queue.store, "ann", "films")

    class Slow:
        name = "slow"

        def due(self, store):
            with store.database.write() as connection:
                note_alignment(store, connection, "ann", "films", newest)
            return [("ann", "films")]

    assert queue.trigger([Slow()]) == 0
    assert queue.jobs() == []
