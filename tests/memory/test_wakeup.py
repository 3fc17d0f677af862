"""What other processes did is noticed within a second, by caches and by workers that wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from standins import HashEmbedder
from worlds import interaction

from personaagent.data import Persona
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.erasure import erase
from personaagent.memory.queue import Queue
from personaagent.memory.sync import read, sync
from personaagent.memory.wakeup import DUE, Wakeup


def seconds_until(true: Callable[[], bool], most: float = 5.0) -> float:
    began = time.monotonic()
    while not true() and time.monotonic() - began < most:
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture
def serving(database: str):
    """A process that has answered, and keeps what it read of two users."""
    with Store(database) as store:
        memory = EpisodicMemory(store, HashEmbedder())
        memory.add([interaction(n, user=user) for user in ("ann", "bob") for n in range(3)])
        with memory.watching():
            for user in ("ann", "bob"):
                memory.recall(user, "film number 1", 2)
            yield memory


def test_a_server_lets_go_of_what_another_one_erased(serving, database):
    with Store(database) as other:
        erase(other, "ann", ids=["i1"])
        assert seconds_until(lambda: len(serving._indexes) == 1) < 1
    assert serving._indexes._users.get("ann") is None
    assert serving._indexes._users.get("bob") is not None
    assert len(serving._recalled) == 0


def test_a_server_notices_the_versions_of_another_one(serving, database):
    with Store(database) as other:
        first = Persona("ann", "films", "likes plots")
        other.of("ann").publish(first, expected=None, reason="")
        assert serving.store.of("ann").persona("films") == first
        second = first.succeed(profile="likes endings")
        other.of("ann").publish(second, expected=first.hash, reason="")
        assert serving.store.of("ann").persona("films") == second


def test_an_erasure_that_comes_by_a_sync_is_noticed_too(serving, database, new_database):
    with Store(database) as store, Store(new_database()) as device:
        device.add([interaction(1), interaction(2)])
        erase(device, "ann", ids=["i1"])
        with device.database.read() as connection:
            theirs = read(device, connection, "ann")
        sync(store, theirs)
        assert seconds_until(lambda: serving._indexes._users.get("ann") is None) < 1


def test_a_message_says_that_a_job_is_due(database):
    with Store(database) as store, Store(database) as other, Wakeup(store.database, DUE) as wakeup:
        if not store.database.keeps_log:
            pytest.skip("SQLite has no messages: a worker looks every few seconds")
        assert not wakeup.wait(0.05)
        later = threading.Timer(0.1, lambda: Queue(other).add("ann", "films", "request"))
        later.start()
        began = time.monotonic()
        assert wakeup.wait(10)
        assert time.monotonic() - began < 2
        for n in range(3):
            Queue(other).add(f"user{n}", "films", "request")
        assert wakeup.wait(1)
        assert not wakeup.wait(0.1)  # three messages are one
        later.join()


def test_a_lost_connection_is_opened_again_and_nothing_is_missed(serving, database):
    if not serving.store.database.keeps_log:
        pytest.skip("SQLite has no connection to lose")
    with Store(database) as other:
        with other.database.write() as connection:
            listening = "query LIKE 'LISTEN personaagent_erasures%'"
            ended = sa.text(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {listening}"
            )
            assert connection.execute(ended).all()
        erase(other, "ann", ids=["i1"])
        assert seconds_until(lambda: serving._indexes._users.get("ann") is None) < 3


def test_a_pooled_connection_that_the_server_closed_is_replaced(serving, database):
    if not serving.store.database.keeps_log:
        pytest.skip("SQLite is no server")
    with serving.store.database.glance() as connection:
        used = connection.scalar(sa.text("SELECT pg_backend_pid()"))
    with Store(database) as other, other.database.write() as connection:
        assert connection.scalar(sa.select(sa.func.pg_terminate_backend(used)))
    assert serving.store.of("ann").count() == 3
