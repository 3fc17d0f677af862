"""kill -9 at every write in turn, in forked processes: python fault_loop.py FOLDER WORK.

It prints how many points there were, and fails at the first one after which something is lost or
half done. The parent imports everything and starts no thread, so that a fork is cheap and safe.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from standins import HashEmbedder
from worlds import interaction

from personaagent.data import Directive, Persona
from personaagent.memory import EpisodicMemory, Store, exports
from personaagent.memory.sync import merge, read, sync
from personaagent.privacy import forgetting

CANARY = "xyzzycanary"
WRITES = ("BEGIN I", "INSERT", "UPDATE", "DELETE", "COMMIT", "VACUUM", "PRAGMA wal_checkpoint")


def arm(point: int, writes: tuple[str, ...] = WRITES) -> None:
    """Kill this process before its `point`-th write to a database or change of a file."""
    left = point

    def count(statement: str) -> None:
        nonlocal left
        if statement.startswith(writes):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.set_trace_callback(count)

    sa.event.listen(sa.pool.Pool, "connect", connected)
    sys.addaudithook(lambda event, _: count("DELETE") if event == "os.remove" else None)


def forked(work: Callable[[], Any]) -> int:
    """Do the work in a process of its own; 0, or the signal that killed it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def at_every_point(
    folder: Path,
    begin: Callable[[Path], None],
    work: Callable[[Path], Any],
    check: Callable[[Path], None],
    before: Callable[[Path], None] = lambda _: None,
    **how: Any,
) -> int:
    """Kill the work at every point in turn, each in a fresh copy; the number of points."""
    pristine = folder / "pristine"
    pristine.mkdir()
    begin(pristine)
    point = 0
    while True:
        point += 1
        here = folder / "here"
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(pristine, here)
        before(here)
        killed = forked(lambda: (arm(point, **how), work(here)))  # noqa: B023
        check(here)
        if not killed:
            return point - 1


# Forget


def begin_forget(folder: Path) -> None:
    with Store(folder / "memory.db") as store:
        memory = EpisodicMemory(store, HashEmbedder())
        memory.add([interaction(n) for n in range(4)])
        memory.add([interaction(9, query=f"film about {CANARY}")])
        rule = Directive("If it mentions film, answer good.", "film", 0.3, ("i1", "i2", "i9"))
        first = Persona("ann", "films", f"Likes {CANARY}.", (rule,))
        store.of("ann").publish(first, expected=None, reason="start")
        store.of("ann").publish(first.succeed(), expected=first.hash, reason="again")
        store.of("ann").journal("run").put("gradient", CANARY)


def record_export(folder: Path) -> None:
    """An export, which must be where this copy of the folder is."""
    with Store(folder / "memory.db") as store:
        persona = store.of("ann").persona("films")
        assert persona is not None
        file = folder / "ann.json"
        file.write_text(persona.profile)
        exports.record(store, "ann", [file], persona.hash)


def forget(folder: Path) -> Any:
    with Store(folder / "memory.db") as store:
        nowhere = f"sqlite:///{folder}/none.db"
        return forgetting.forget(store, "ann", ids=["i9"], tracking_uri=nowhere)


def check_forget(folder: Path) -> None:
    with Store(folder / "memory.db") as store:
        mine = store.of("ann")
        chain = mine.history("films")
        if mine.get(["i9"]):  # nothing has happened
            assert [one.persona is None for one in chain] == [False, False]
            assert mine.journal("run").get("gradient") == CANARY
            assert store.add([interaction(9, query=f"film about {CANARY}")]).known == 1
        else:  # all of it
            assert [one.persona is None for one in chain] == [True, True, False]
            assert mine.journal("run").get("gradient") is None
            assert store.add([interaction(9, query=f"film about {CANARY}")]).erased == 1
    receipt = forget(folder)
    assert receipt.complete, receipt.left
    for file in folder.iterdir():
        assert CANARY.encode() not in file.read_bytes(), file
    assert not (folder / "ann.json").exists()
    with Store(folder / "memory.db") as store:
        assert forgetting.unfinished_users(store) == []
        assert store.of("ann").count() == 4
        champion = store.of("ann").persona("films")
        assert champion is not None
        assert [one.support for one in champion.directives] == [("i1", "i2")]


# Sync


def begin_sync(folder: Path) -> None:
    begin_forget(folder)
    shutil.copy(folder / "memory.db", folder / "other.db")
    with Store(folder / "memory.db") as store:
        mine = store.of("ann")
        champion = mine.persona("films")
        assert champion is not None
        mine.publish(champion.succeed(profile="mine"), expected=champion.hash, reason="mine")
    with Store(folder / "other.db") as store:
        store.add([interaction(5), interaction(6)])
        forgetting.erase(store, "ann", ids=["i9"])


def sync_other(folder: Path) -> None:
    with Store(folder / "other.db") as other, other.database.read() as connection:
        theirs = read(other, connection, "ann")
    with Store(folder / "memory.db") as store:
        sync(store, theirs)


def check_sync(folder: Path) -> None:
    def replica(name: str) -> Any:
        with Store(folder / name) as store, store.database.read() as connection:
            return read(store, connection, "ann")

    before = replica("../pristine/memory.db")
    both = merge(before, replica("other.db"))
    assert replica("memory.db") in (before, both)
    sync_other(folder)
    assert replica("memory.db") == both
    with Store(folder / "memory.db") as store:
        assert store.of("ann").history("films")[-1].persona == store.of("ann").persona("films")
        assert forgetting.unfinished_users(store) == ["ann"]


def main(folder: Path, work: str) -> None:
    forgetting.clear_responses = lambda: 0  # type: ignore[attr-defined]
    if work == "forget":
        points = at_every_point(
            folder,
            begin_forget,
            forget,
            check_forget,
            record_export,
        )
    else:
        points = at_every_point(folder, begin_sync, sync_other, check_sync)
    print(points)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
