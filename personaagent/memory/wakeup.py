"""What one process did, noticed by the others within a second: erasures by those that keep caches,
jobs by workers that wait.

PostgreSQL wakes them (LISTEN and NOTIFY). A message only says that there is something: what it is
is read from the tables, so that none is missed where a connection breaks. SQLite has no messages,
and its tables are looked at twice a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from personaagent.beside import beside
from personaagent.errors import StoreError
from personaagent.memory.schema import erasures

if TYPE_CHECKING:
    import threading

    from personaagent.memory.database import Database

ERASURES = "personaagent_erasures"
DUE = "personaagent_due"
_LOOK = 0.5  # seconds


def notify(connection: sa.Connection, channel: str) -> None:
    """Wake those who wait, once the transaction is committed."""
    if connection.dialect.name != "sqlite":
        connection.execute(sa.select(sa.func.pg_notify(channel, "")))


class Wakeup:
    """Waits for a message of other processes; as a context manager it ends with its block.

    Args:
        channel: `ERASURES` or `DUE`.
    """

    def __init__(self, database: Database, channel: str) -> None:
        self._database = database
        self._channel = channel
        self._connection: Any = None

    def __enter__(self) -> Self:
        self._connection = self._database.listening(self._channel)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether there may be something new."""
        began = time.monotonic()
        try:
            if self._connection is None:
                self._connection = self._database.listening(self._channel)
                if self._connection is not None:
                    return True  # whatever was said meanwhile was not heard
            else:
                heard = list(self._connection.notifies(timeout=seconds, stop_after=1))
                if heard:  # those that wait already say the same
                    list(self._connection.notifies(timeout=0))
                return bool(heard)
        except Exception as error:
            # The server went away. It is asked again next time.
            if not isinstance(error, StoreError) and not _is_drivers(error):
                raise
            self._close()
        time.sleep(max(0.0, seconds - (time.monotonic() - began)))
        return True

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(Exception):  # it may be broken
                self._connection.close()
            self._connection = None


def _is_drivers(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] == "psycopg"


@contextmanager
def erasures_told(database: Database, tell: Callable[[set[str]], None]) -> Iterator[None]:
    """Inside the block, tell of users of whom something was erased, whoever erased it.

    Args:
        tell: called on a thread with their hashes (`tombstones.owner_of`).
    """
    c = erasures.c
    with Wakeup(database, ERASURES) as wakeup:
        with database.glance() as connection:
            seen = connection.scalar(sa.select(sa.func.max(c.seq))) or 0

        def watch(over: threading.Event) -> None:
            nonlocal seen
            unread = False
            while not over.is_set():
                unread = wakeup.wait(_LOOK) or unread
                if not unread:
                    continue
                with suppress(StoreError), database.glance() as connection:
                    found = connection.execute(sa.select(c.seq, c.owner).where(c.seq > seen)).all()
                    unread = False
                    if found:
                        seen = max(seq for seq, _ in found)
                        tell({owner for _, owner in found})

        with beside(watch):
            yield
