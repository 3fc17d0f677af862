"""kill -9 at every write of a worker's update in turn: python worker_faults.py FOLDER."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import sys
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any

import cli_world
import faiss  # noqa: F401 - once here, not in every fork, like the next one
import scipy.optimize  # noqa: F401
from fault_loop import at_every_point, forked
from standins import HashEmbedder

import personaagent.lm
import personaagent.memory
from personaagent.cli import app, data
from personaagent.cli.worker import worker as command
from personaagent.memory import Store
from personaagent.memory.queue import Queue
from personaagent.optimizers import Setting

worker = app.grouped(command)
COMMITS = ("COMMIT",)  # a transaction that is killed before its end is one that never began


def begin(folder: Path) -> None:
    history = cli_world.write(folder / "history.jsonl", cli_world.rows(count=6))
    tasks = folder / "tasks.json"
    tasks.write_text(json.dumps(cli_world.TASKS))
    with redirect_stdout(io.StringIO()):
        data.import_files([history], tasks, db=str(folder / "memory.db"))


def work(folder: Path) -> None:
    sys.stderr = io.StringIO()
    worker(once=True, threshold=1, no_track=True, db=str(folder / "memory.db"), lm="stand-in")


def outcome(folder: Path) -> Any:
    """What is published and noted, if the queue is empty."""
    with Store(folder / "memory.db") as store:
        mine = store.of("amira")
        assert Queue(store).jobs() == []
        chain = mine.history("inbox")
        noted = sqlite3.connect(folder / "memory.db").execute("SELECT seq FROM alignments")
        return [(one.hash, one.reason) for one in chain], noted.fetchall()


def at_once(folder: Path, expected: Any) -> None:
    """Three workers for one user, of which one works and nothing is published twice."""
    folder.mkdir()
    forked(lambda: begin(folder))
    children = []
    for _ in range(3):
        if not (child := os.fork()):
            work(folder)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert outcome(folder) == expected


def main(folder: Path) -> None:
    few = {"iterations": 1, "batch": 2, "replay": 2}
    Setting.__init__.__defaults__ = tuple(few.get(one.name, one.default) for one in fields(Setting))
    personaagent.lm.connect = cli_world.connect
    personaagent.memory.named_embedder = HashEmbedder
    undisturbed = folder / "undisturbed"
    undisturbed.mkdir()
    forked(lambda: begin(undisturbed))
    forked(lambda: work(undisturbed))
    expected = outcome(undisturbed)
    assert len(expected[0]) == 1

    def check(here: Path) -> None:
        with Store(here / "memory.db") as store:
            published = store.of("amira").history("inbox")
            jobs = Queue(store).jobs()
        with sqlite3.connect(here / "memory.db") as connection:
            noted = connection.execute("SELECT * FROM alignments").fetchall()
            assert bool(published) == bool(noted)
            assert not (published and jobs)
            connection.execute("UPDATE jobs SET lease = 0 WHERE lease IS NOT NULL")  # time passes
        assert not forked(lambda: work(here))
        assert outcome(here) == expected

    at_once(folder / "at_once", expected)
    print(at_every_point(folder, begin, work, check, writes=COMMITS))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
