"""kill -9 at every write in turn, and a full disk: nothing is lost, nothing is half done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fault_loop import sync_other
from worlds import interaction

from personaagent.data import Persona
from personaagent.errors import StoreError
from personaagent.memory import Store
from personaagent.memory.erasure import erase
from personaagent.memory.sync import read, sync

TESTS = Path(__file__).parents[1]


def points(script: str, *arguments: object, folder: Path) -> int:
    """How many points a loop of faults has gone through."""
    parts = [TESTS.parent, TESTS, TESTS / "memory", TESTS / "cli"]
    run = subprocess.run(
        [sys.executable, str(TESTS / script), str(folder), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, parts))},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


@pytest.mark.parametrize("work", ["forget", "sync"])
def test_a_kill_at_any_write_leaves_all_or_nothing_and_the_same_call_goes_on(
    work: str, tmp_path: Path
) -> None:
    assert points("memory/fault_loop.py", work, folder=tmp_path) > 20


def test_a_worker_killed_at_any_write_is_replaced_by_one_that_publishes_the_same(
    tmp_path: Path,
) -> None:
    assert points("cli/worker_faults.py", folder=tmp_path) > 10


@contextmanager
def full(store: Store) -> Iterator[None]:
    """The disk has no page left for the database."""

    def limit(connection: Any, *_: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def unlimited(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1000000")

    engine = store.database._engine
    sa.event.listen(engine, "checkout", limit)
    yield
    sa.event.remove(engine, "checkout", limit)
    sa.event.listen(engine, "checkout", unlimited)


MANY = [interaction(n, query=f"film {n} " * 40) for n in range(400)]


def test_a_full_disk_changes_nothing_and_says_so(tmp_path: Path) -> None:
    with Store(tmp_path / "memory.db") as store:
        mine = store.of("ann")
        store.add(MANY)
        first = Persona("ann", "films", "x" * 100)
        mine.publish(first, expected=None, reason="start")
        huge = first.succeed(profile="y" * 100_000)
        with full(store):
            for work in (
                lambda: store.add(
                    [interaction(n, user="bob", query="q" * 9_000) for n in range(9)]
                ),
                lambda: mine.publish(huge, expected=first.hash, reason="too much"),
                lambda: erase(store, "ann", ids=[f"i{n}" for n in range(400)]),
            ):
                with pytest.raises(StoreError, match=r"is full: free some space .* nothing was"):
                    work()
            assert mine.count() == len(MANY)
            assert mine.history("films")[-1].persona == first
            assert [one.user for one in store.users()] == ["ann"]
        erased = erase(store, "ann", ids=[f"i{n}" for n in range(400)])
        assert len(erased.interactions) == len(MANY)


def test_a_full_disk_stops_a_sync_before_anything(tmp_path: Path) -> None:
    with Store(tmp_path / "other.db") as other:
        other.add(MANY)
    with Store(tmp_path / "memory.db") as store:
        store.add([interaction(1000)])
        with Store(tmp_path / "other.db") as other, other.database.read() as connection:
            theirs = read(other, connection, "ann")
        with full(store), pytest.raises(StoreError, match="is full"):
            sync(store, theirs)
        assert store.of("ann").count() == 1
    sync_other(tmp_path)
    with Store(tmp_path / "memory.db") as store:
        assert store.of("ann").count() == 401
