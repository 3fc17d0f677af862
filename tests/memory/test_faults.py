"""Processes that are killed, and processes that write at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from standins import HashEmbedder
from worker import batch
from worlds import interaction

from personaagent.memory import EpisodicMemory, Store

HERE = Path(__file__).parent
BATCHES, SIZE = 40, 50


def ready(database: str, *arguments: object) -> subprocess.Popen[str]:
    """A worker that has opened the database and waits for `go`."""
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)])
    process = subprocess.Popen(
        [sys.executable, str(HERE / "worker.py"), database, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each has printed, if all went well."""
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


@pytest.mark.parametrize("kill_after", [0, 3, 11])
def test_what_was_committed_survives_kill_9_and_the_rest_can_be_added_again(
    database: str, kill_after: int
) -> None:
    process = ready(database, "add", "i", BATCHES, SIZE)
    go([process])
    assert process.stdin is not None
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == kill_after:
            break
    time.sleep(0.003 * kill_after)  # somewhere inside a later batch
    process.send_signal(signal.SIGKILL)
    committed = kill_after + 1 + len(process.stdout.readlines())
    process.wait()
    process.stdin.close()
    process.stdout.close()

    everything = batch(0, BATCHES * SIZE)
    with Store(database) as store:
        memory = EpisodicMemory(store, HashEmbedder())
        stored = sum(user.interactions for user in store.users())
        assert stored % SIZE == 0  # no half batch
        assert committed * SIZE <= stored < BATCHES * SIZE
        added = memory.add(everything)
        assert (added.new, added.known) == (len(everything) - stored, stored)
        for user in ("user0", "user1", "user2"):
            mine = [one for one in everything if one.user == user]
            assert store.of(user).interactions() == mine
            assert memory.ready(user) == 0  # every vector is there
            assert len(memory.recall(user, "film", 2 * len(mine))) == len(mine)


def test_vectors_that_a_kill_prevented_are_made_up_for_on_first_use(store: Store) -> None:
    store.add([interaction(n) for n in range(3)])  # killed before the vectors
    memory = EpisodicMemory(store, HashEmbedder())
    assert memory.recall("ann", "film number 1", 1)[0].interaction.id == "i1"
    assert memory.ready("ann") == 0


def test_two_processes_add_to_one_database_at_once(database: str) -> None:
    processes = [ready(database, "add", prefix, BATCHES, SIZE) for prefix in ("a", "b", "a")]
    go(processes)
    finish(processes)
    with Store(database) as store:
        assert sum(user.interactions for user in store.users()) == 2 * BATCHES * SIZE


def test_two_processes_publish_at_once_and_no_persona_is_lost(database: str) -> None:
    count = 40
    processes = [ready(database, "publish", name, count) for name in ("one", "two")]
    go(processes)
    conflicts = sum(map(int, finish(processes)))
    assert conflicts > 0  # or they did not meet at all
    with Store(database) as store:
        chain = store.of("ann").personas("films")
        assert sorted(persona.profile for persona in chain) == sorted(
            f"{name} {number}" for name in ("one", "two") for number in range(count)
        )
        assert [persona.version for persona in chain] == list(range(2 * count))
        assert [persona.parent for persona in chain[1:]] == [one.hash for one in chain[:-1]]
        assert store.of("ann").persona("films") == chain[-1]


def test_many_threads_add_and_recall_at_once(store: Store) -> None:
    memory = EpisodicMemory(store, HashEmbedder())
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for n in range(10):
                number = 100 * thread + n
                memory.add([interaction(number % 50, user=f"own{thread}"), interaction(number)])
                found = memory.recall("ann", f"film number {number}", 1)
                assert found[0].score > 0.99
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(memory.recall("ann", "film", 1000)) == 80


def test_processes_that_open_a_new_database_at_once_agree_on_it(database: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        for opened in pool.map(lambda _: Store(database), range(8)):
            opened.close()
    with Store(database) as store:
        assert store.add([interaction(1)]).new == 1
