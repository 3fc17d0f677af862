"""Open a database and give out transactions: SQLite by default, PostgreSQL by its URL.

Writers take turns (SQLite: BEGIN IMMEDIATE, PostgreSQL: an advisory lock). So no writer fails
half way because another one holds the lock, and rows become visible in the order of their `seq`,
which the caches of `index.py` rely on.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from personaagent.errors import StoreError
from personaagent.memory import schema
from personaagent.memory.turnstile import Turnstile

T = TypeVar("T")

BUSY_SECONDS = 30
CONNECTIONS = 32  # kept open in SQLite: opening one anew costs more than ten reads
_WRITERS_LOCK = 0x9E12_50A4  # any constant that every PersonaAgent process agrees on


class Database:
    """An engine, the name it is reported under, and its read and write transactions.

    Raises:
        StoreError: the database cannot be opened, is not ours, or is of a newer schema.
    """

    def __init__(self, where: str | Path) -> None:
        url = _url(where)
        sqlite_file = url.database if url.drivername == "sqlite" else None
        self.name = sqlite_file or url.render_as_string()
        try:
            self._engine = _engine(url)
        except ModuleNotFoundError as error:
            raise StoreError(
                f"{self.name}: the driver '{error.name}' is not installed: "
                "pip install 'personaagent[postgres]'"
            ) from error
        # Read by `_begin` below; all these engines share one pool of connections.
        self._writer = self._engine.execution_options(personaagent_write=True)
        self._glancer = self._engine.execution_options(personaagent_glance=True)
        self._turnstile = Turnstile(self.write)
        # One of the two: each takes a twentieth of a second to import.
        dialect = "sqlite" if sqlite_file else "postgresql"
        self.insert: Callable[[sa.Table], Any]
        self.insert = import_module(f"sqlalchemy.dialects.{dialect}").insert
        try:
            with _explained(self.name):
                _use_wal(self._engine)
            with self.read() as connection:
                current = self._checked(connection) == schema.SCHEMA_VERSION
            if not current:
                with self.write() as connection:
                    self._upgrade(connection, self._checked(connection))
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that writes nothing."""
        with _explained(self.name), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def glance(self) -> Iterator[sa.Connection]:
        """For a single statement that writes nothing: it is a transaction by itself."""
        with _explained(self.name), self._glancer.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that commits at the end of the block, or leaves nothing behind."""
        with self._turnstile.turn, _explained(self.name), self._writer.begin() as connection:
            yield connection

    def together(self, work: Callable[[sa.Connection], T]) -> T:
        """`write` for a single piece of work, in a transaction that it may share with others which
        wait to write; see `Turnstile`."""
        return self._turnstile.together(work)

    def upsert(self, connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> None:
        """Insert a row, or replace the one that has its primary key."""
        keys = [column.name for column in table.primary_key]
        values = {name: value for name, value in row.items() if name not in keys}
        insert = self.insert(table).values(row)
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=values))

    def compact(self) -> bool:
        """Leave no trace of deleted rows in the files; False where a reader would not let go.

        PostgreSQL frees the rows for its own reuse; what its write-ahead log and its backups keep
        is its administrator's.
        """
        with _explained(self.name):
            if self._engine.dialect.name != "sqlite":
                options = {"isolation_level": "AUTOCOMMIT"}
                with self._engine.connect().execution_options(**options) as connection:
                    connection.exec_driver_sql("VACUUM")
                return True
            raw = self._engine.raw_connection()  # VACUUM takes no transaction
            try:
                cursor = raw.cursor()
                for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM"):
                    cursor.execute(statement)
                busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                return not busy
            finally:
                raw.close()

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()

    def _checked(self, connection: sa.Connection) -> int:
        """The version of a memory database that we can read; 0 if nothing is in it yet."""
        present = set(sa.inspect(connection).get_table_names())
        if not present:
            return 0
        found = None
        if schema.meta.name in present:
            key = schema.meta.c.key == "schema_version"
            found = connection.scalar(sa.select(schema.meta.c.value).where(key))
        if found is None:
            raise StoreError(
                f"{self.name}: this database holds other tables and is not a PersonaAgent "
                "database: name a file (or a PostgreSQL database) of its own"
            )
        if int(found) > schema.SCHEMA_VERSION:
            raise StoreError(
                f"{self.name}: its schema is version {found}, this PersonaAgent reads version "
                f"{schema.SCHEMA_VERSION}: upgrade with 'pip install -U personaagent', or name "
                "another database"
            )
        return int(found)

    def _upgrade(self, connection: sa.Connection, version: int) -> None:
        """Make the tables that an older version lacks, or all; two processes may try at once."""
        schema.metadata.create_all(connection)
        if version == 1:
            schema.from_version_1(connection)
        if version:
            schema.to_version_3(connection)
        row = {"key": "schema_version", "value": str(schema.SCHEMA_VERSION)}
        self.upsert(connection, schema.meta, row)


def _url(where: str | Path) -> URL:
    if not (isinstance(where, str) and "://" in where):
        return URL.create("sqlite", database=str(Path(where).expanduser()))
    try:
        url = make_url(where)
    except sa.exc.ArgumentError as error:
        raise StoreError(f"'{where}' is not the URL of a database: {error}") from error
    backend = url.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite")
    raise StoreError(
        f"'{url.render_as_string()}': name a file, sqlite:///file.db or "
        "postgresql://user:password@host/database (a database in memory would be lost, and its "
        "threads would not share it)"
    )


def _engine(url: URL) -> sa.Engine:
    if url.drivername != "sqlite":
        engine = sa.create_engine(url)
        sa.event.listen(engine, "begin", _lock_writers)
        return engine
    assert url.database is not None
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{url.database}: its folder cannot be created: {error}") from error
    pool = {} if url.database == ":memory:" else {"pool_size": CONNECTIONS, "max_overflow": -1}
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **pool)
    sa.event.listen(engine, "connect", _configure)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: object) -> None:
    # Python's sqlite3 would begin transactions by itself, deferred and only before a write.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    # Of use only in a new file. A vector has 1.5 kB: pages of 4 kB would leave a fifth empty and
    # take a third more time to read.
    connection.execute("PRAGMA page_size = 16384")
    # NORMAL would survive kill -9 as well; FULL (one fsync a commit, milliseconds) also survives
    # a power cut, and what the journal holds was paid for with LM calls.
    connection.execute("PRAGMA synchronous = FULL")
    # What is deleted is overwritten with zeros.
    connection.execute("PRAGMA secure_delete = ON")


def _begin(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("personaagent_glance"):
        return
    write = options.get("personaagent_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _lock_writers(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("personaagent_write"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})")


def _use_wal(engine: sa.Engine) -> None:
    """Switch a SQLite file to write-ahead logging: readers and a writer side by side.

    The switch needs the file for itself, and SQLite does not wait for it by busy_timeout.
    """
    if engine.dialect.name != "sqlite":
        return
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.05)
        finally:
            connection.close()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn the driver's errors into ones that say what to do."""
    try:
        yield
    except Exception as error:
        # `raw_connection` lets the driver's own error through, Connection wraps it.
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        if not isinstance(cause, Exception) or not _is_driver_error(cause):
            raise
        raise StoreError(f"{name}: {cause}{_remedy(str(cause))}") from error


def _is_driver_error(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("sqlite3", "psycopg")


def _remedy(problem: str) -> str:
    for sign, remedy in (
        ("not a database", "this file is something else: name another one"),
        ("malformed", "the file is damaged: restore a backup, or start a new database"),
        ("locked", f"another process has been writing for {BUSY_SECONDS} s: try again"),
        ("unable to open", "check that the path is a file and that you may write there"),
        ("is full", "free some space and try again: nothing was changed"),
        ("readonly", "check that you may write to the file and its folder"),
    ):
        if sign in problem:
            return f": {remedy}"
    return ""
