"""What a run has done so far, so that it goes on after a kill instead of starting again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from personaagent.errors import ConflictError, DataError
from personaagent.memory.database import Database
from personaagent.memory.encoding import microseconds
from personaagent.memory.schema import journal
from personaagent.memory.tombstones import latest

# Every answer of the service is written by these, so they are built once.
_VALUE = sa.select(journal.c.value).where(
    *(journal.c[name] == sa.bindparam(f"of_{name}") for name in ("user", "run", "key"))
)


@cache
def _new(insert: Callable[[sa.Table], Any]) -> Any:
    """Adds an entry unless its key has one, in the words of a database."""
    return insert(journal).on_conflict_do_nothing()


@dataclass(frozen=True)
class Journal:
    """The JSON values that one run of one user has written; each `put` is a transaction.

    The first write of a key wins, so a step that is done twice counts once. After an erasure
    (`erasure` is the number of the latest one when it was opened) it takes no more: the run may
    hold the erased text.
    """

    database: Database
    now: Callable[[], datetime]
    user: str
    run: str
    erasure: int

    def get(self, key: str) -> Any | None:
        """The value of a key, None where nothing was written."""
        with self.database.glance() as connection:
            text = self._value(connection, key)
        return None if text is None else json.loads(text)

    def put(self, key: str, value: Any) -> Any:
        """Write a value unless the key has one; return the value that stands.

        Raises:
            DataError: the value is not JSON.
            ConflictError: an interaction of the user was erased since this journal was opened.
        """
        return self.database.together(lambda connection: self.write(connection, key, value))

    def write(self, connection: sa.Connection, key: str, value: Any) -> Any:
        """`put` within a transaction."""
        try:
            text = json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise DataError(f"run '{self.run}': key '{key}': not a JSON value: {error}") from error
        row = {
            "user": self.user,
            "run": self.run,
            "key": key,
            "value": text,
            "created": microseconds(self.now()),
        }
        if latest(connection, self.user) != self.erasure:
            raise ConflictError(
                f"run '{self.run}': interactions of user '{self.user}' were erased meanwhile: "
                "start again, without them"
            )
        added = connection.execute(_new(self.database.insert), row)
        if added.rowcount == 1:
            return json.loads(text)
        return json.loads(str(self._value(connection, key)))

    def entries(self, prefix: str = "") -> dict[str, Any]:
        """The values of the keys that start so, by key, in the order of keys."""
        begins = journal.c.key.startswith(prefix, autoescape=True)
        select = sa.select(journal.c.key, journal.c.value).where(self._mine(), begins)
        with self.database.read() as connection:
            found = connection.execute(select).all()
        # LIKE ignores case in SQLite, and databases collate differently.
        return {key: json.loads(text) for key, text in sorted(found) if key.startswith(prefix)}

    def __len__(self) -> int:
        with self.database.read() as connection:
            count = sa.select(sa.func.count()).select_from(journal).where(self._mine())
            return connection.scalar(count) or 0

    def __bool__(self) -> bool:
        """A journal is one even before its first entry."""
        return True

    def clear(self) -> None:
        """Forget everything that this run has written."""
        with self.database.write() as connection:
            connection.execute(journal.delete().where(self._mine()))

    def _value(self, connection: sa.Connection, key: str) -> str | None:
        of = {"of_user": self.user, "of_run": self.run, "of_key": key}
        return connection.scalar(_VALUE, of)

    def _mine(self) -> sa.ColumnElement[bool]:
        return sa.and_(journal.c.user == self.user, journal.c.run == self.run)
