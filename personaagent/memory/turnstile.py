"""Writers of one process take turns here, and those that wait meanwhile are committed together.

SQLite lets one writer in at a time, and the others look again after up to 100 ms: sixteen threads
that each write down an answer would wait for each other ten times as long as for the disk. Here
they queue without looking, and whoever comes first writes for all who wait: one commit, one fsync.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Work = Callable[[sa.Connection], Any]


class Turnstile:
    """Holds `turn` while its process writes.

    Args:
        transaction: begins one that commits at the end of its block, or leaves nothing behind.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
        self.turn = threading.RLock()
        self._transaction = transaction
        self._waiting: list[tuple[Work, Future[Any]]] = []
        self._lock = threading.Lock()

    def together(self, work: Callable[[sa.Connection], T]) -> T:
        """What the work gives, once it is committed: with that of others, or alone where one of
        them fails. It may be called again after its first transaction was rolled back."""
        mine: Future[T] = Future()
        with self._lock:
            self._waiting.append((work, mine))
        with self.turn:
            while not mine.done():
                self._write()
        return mine.result()

    def _write(self) -> None:
        with self._lock:
            some, self._waiting = self._waiting, []
        try:
            with self._transaction() as connection:
                values = [work(connection) for work, _ in some]
        except Exception:
            for work, future in some:
                self._alone(work, future)
        except BaseException:  # the others' turn comes
            with self._lock:
                self._waiting = [*some, *self._waiting]
            raise
        else:
            for value, (_, future) in zip(values, some, strict=True):
                future.set_result(value)

    def _alone(self, work: Work, future: Future[Any]) -> None:
        try:
            with self._transaction() as connection:
                value = work(connection)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(value)
