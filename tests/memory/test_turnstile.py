"""Writers of one process: together where they wait, each on its own where one fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from personaagent.errors import ConflictError
from personaagent.memory import Store
from personaagent.memory.database import Turnstile


def test_what_waits_is_committed_together_and_is_there_afterwards(store: Store) -> None:
    journal, found = store.of("ann").journal("run"), {}

    def put(n: int) -> None:
        found[n] = journal.put(f"key-{n}", n)

    begun = []
    transaction = store.database.write

    @contextmanager
    def counted() -> Iterator[Any]:
        begun.append(1)
        with transaction() as connection:
            yield connection

    store.database._turnstile._transaction = counted
    with store.database._turnstile.turn:
        threads = [threading.Thread(target=put, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        while len(store.database._turnstile._waiting) < 16:
            pass
    for thread in threads:
        thread.join(20)
    assert (
        found == {n: n for n in range(16)} == {int(k[4:]): v for k, v in journal.entries().items()}
    )
    assert len(begun) == 1


def test_one_that_fails_takes_nobody_with_it(store: Store) -> None:
    journal, failed = store.of("ann").journal("run"), []
    stale = store.of("ann").journal("stale")
    object.__setattr__(stale, "erasure", 99)

    def refused() -> None:
        with pytest.raises(ConflictError, match="erased meanwhile"):
            stale.put("a", 1)
        failed.append(True)

    with store.database._turnstile.turn:
        works = [refused, *(lambda n=n: journal.put(f"key-{n}", n) for n in range(5))]
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        while len(store.database._turnstile._waiting) < 6:
            pass
    for thread in threads:
        thread.join(20)
    assert failed == [True]
    assert sorted(journal.entries().values()) == [0, 1, 2, 3, 4]
    assert len(stale) == 0


def test_a_writer_that_is_interrupted_leaves_the_others_their_turn() -> None:
    done: list[int] = []
    interrupted: list[bool] = []

    @contextmanager
    def transaction() -> Iterator[Any]:
        yield None

    turnstile = Turnstile(transaction)
    second = threading.Thread(target=lambda: done.append(turnstile.together(lambda _: 7)))

    def stopped(_: Any) -> None:
        if interrupted:
            return
        interrupted.append(True)
        second.start()
        while not turnstile._waiting:
            pass
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        turnstile.together(stopped)
    second.join(20)
    assert done == [7]
