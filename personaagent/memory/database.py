"""Open a database and give out transactions: SQLite by default, PostgreSQL by its URL.

A SQLite file is made for its owner alone. Where it or its folder cannot be written to, it is opened
to be read, without a log or a lock beside it.

Writers take turns (SQLite: BEGIN IMMEDIATE, PostgreSQL: an advisory lock). So no writer fails half
way because another one holds the lock, and rows become visible in the order of their `seq`, which
the caches of `index.py` rely on. Where nothing rests on an order (the leases of the queue),
PostgreSQL locks single rows instead: `claim`.

Writers of one process wait in a `Turnstile`, and those that wait meanwhile are committed together:
SQLite's own waiting looks again only after up to 100 ms, so sixteen threads that each write down an
answer would wait for each other ten times as long as for the disk. Whoever comes first writes for
all who wait: one commit, one fsync.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from personaagent.errors import StoreError
from personaagent.files import private_file, private_folder
from personaagent.memory import schema

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


BUSY_SECONDS = 30
CONNECTIONS = 32  # kept open in SQLite: opening one anew costs more than ten reads
# A server allows a hundred connections in all by default, for all processes: few are kept open.
_KEPT, _MOST = 4, 32
_CONNECT_SECONDS = 10
_IDENTITY = "database"  # a key of `meta`
_WRITERS_LOCK = 0x9E12_50A4  # any constant that every PersonaAgent process agrees on
_JOBS_LOCK = 0x1E12_50A5  # the same; the first of two numbers, the second stands for a user


class Database:
    """An engine, the name it is reported under, and its read and write transactions.

    Args:
        where: a file or a URL.
        create: make a SQLite file, and its folder, that is not there.

    Attributes:
        readonly: whether nothing can be written: the file, or the folder that it is in, is
            read-only.

    Raises:
        StoreError: the database cannot be opened, is not ours, or is of a newer schema.
    """

    def __init__(self, where: str | Path, *, create: bool = True) -> None:
        url = _url(where)
        sqlite_file = url.database if url.drivername == "sqlite" else None
        self.name = sqlite_file or url.render_as_string()
        self.readonly = sqlite_file is not None and _is_readonly(Path(sqlite_file))
        if sqlite_file is not None:
            _prepare(Path(sqlite_file), create)
        try:
            with _explained(self.name):
                self._engine = _engine(url, _readable(sqlite_file) if self.readonly else None)
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
            if not self.readonly:
                with _explained(self.name):
                    _use_wal(self._engine)
            with self.read() as connection:
                current = self._checked(connection) == schema.SCHEMA_VERSION
            if not current:
                if self.readonly:
                    raise StoreError(
                        f"{self.name}: it is read-only, and empty or of an older PersonaAgent: "
                        "copy it to a folder that you may write to, and name the copy"
                    )
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
        if self.readonly:
            raise StoreError(
                f"{self.name}: it is read-only: check that you may write to the file and its "
                "folder, or name a copy of it"
            )
        with self._turnstile.turn, _explained(self.name), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def claim(self) -> Iterator[sa.Connection]:
        """`write` without waiting for a turn, where the database locks single rows.

        For rows whose order nobody relies on. So that there is no deadlock, whoever holds a row
        here must not wait for another: select with SKIP LOCKED, lock users with `try_user`, or
        change a single row.
        """
        if self._engine.dialect.name == "sqlite":
            with self.write() as connection:
                yield connection
            return
        with _explained(self.name), self._engine.begin() as connection:
            yield connection

    def try_user(self, connection: sa.Connection, user: str) -> bool:
        """Lock a user's jobs until the transaction ends, unless somebody else has; whether it
        could."""
        if self._engine.dialect.name == "sqlite":
            return True  # a writer is alone
        locked = sa.func.pg_try_advisory_xact_lock(_JOBS_LOCK, _key_of(user))
        return bool(connection.scalar(sa.select(locked)))

    def lock_user(self, connection: sa.Connection, user: str) -> None:
        """`try_user`, and wait."""
        if self._engine.dialect.name != "sqlite":
            locked = sa.func.pg_advisory_xact_lock(_JOBS_LOCK, _key_of(user))
            connection.execute(sa.select(locked))

    def listening(self, channel: str) -> Any | None:
        """A driver's connection of its own that hears `wakeup.notify`, for the caller to close;
        None where there is no such thing."""
        if self._engine.dialect.name == "sqlite":
            return None
        with _explained(self.name):
            places, options = self._engine.dialect.create_connect_args(self._engine.url)
            given = {**options, "autocommit": True, "connect_timeout": _CONNECT_SECONDS}
            connection = import_module("psycopg").connect(*places, **given)
            connection.execute(f"LISTEN {channel}")
            return connection

    def together(self, work: Callable[[sa.Connection], T]) -> T:
        """`write` for a single piece of work, in a transaction that it may share with others which
        wait to write; see `Turnstile`."""
        return self._turnstile.together(work)

    def identity(self) -> str:
        """A name that this database keeps wherever it is moved, and that no other one has.

        Raises:
            StoreError: it has none yet, and cannot be written to.
        """
        key = schema.meta.c.key == _IDENTITY
        with self.read() as connection:
            known = connection.scalar(sa.select(schema.meta.c.value).where(key))
        if known is not None:
            return str(known)
        row = {"key": _IDENTITY, "value": uuid.uuid4().hex}
        with self.write() as connection:
            connection.execute(self.insert(schema.meta).on_conflict_do_nothing(), row)
            return str(connection.scalar(sa.select(schema.meta.c.value).where(key)))

    @property
    def keeps_log(self) -> bool:
        """Whether what was deleted lives on in a log that only an administrator can clear."""
        return self._engine.dialect.name != "sqlite"

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
        if version in (1, 2):
            schema.to_version_3(connection)
        if version in (1, 2, 3, 4):
            schema.to_version_5(connection)
        if version in (1, 2, 3, 4, 5):
            schema.to_version_6(connection)
        row = {"key": "schema_version", "value": str(schema.SCHEMA_VERSION)}
        self.upsert(connection, schema.meta, row)


def _url(where: str | Path) -> URL:
    where = "sqlite:///:memory:" if str(where) == ":memory:" else where
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


def _prepare(file: Path, create: bool) -> None:
    """See that the file is there, for its owner alone where it is new."""
    if file.exists():
        return
    if not create:
        raise StoreError(
            f"{file}: there is no such database: check the path, or make it with 'personaagent "
            "import FILE --tasks tasks.json'"
        )
    try:
        private_folder(file.parent)
    except OSError as error:
        raise StoreError(f"{file}: its folder cannot be created: {error}") from error
    try:
        private_file(file)
    except OSError as error:
        raise StoreError(f"{file}: it cannot be created: {error}") from error


def _is_readonly(file: Path) -> bool:
    """Whether nobody can write to a file that is there. A log beside it takes its folder."""
    return file.is_file() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def _readable(file: str | None) -> Callable[[], sqlite3.Connection]:
    """Makes connections that only read.

    SQLite wants to write beside a database that is in WAL mode even to read it. Where it may not,
    the file is taken as one that nobody changes; but then what is still in its log is not seen,
    so a log that is there must be readable.

    Raises:
        StoreError: a log is there, and cannot be read.
    """
    path = Path(str(file)).absolute()
    plain, still = (f"{path.as_uri()}?{said}" for said in ("mode=ro", "mode=ro&immutable=1"))

    def connect(uri: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)

    try:
        probe = connect(plain)
        try:
            probe.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            probe.close()
    except sqlite3.OperationalError as error:
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            raise StoreError(
                f"{path}: it is read-only, and its log {log.name} holds changes that cannot be "
                f"read ({error}): copy both to a folder that you may write to, and name the copy"
            ) from error
        return lambda: connect(still)
    return lambda: connect(plain)


def _engine(url: URL, creator: Callable[[], sqlite3.Connection] | None) -> sa.Engine:
    if url.drivername != "sqlite":
        # The connection used last is used first: a server may close those that idle. One that it
        # has closed (it was started anew) is noticed before it is used.
        engine = sa.create_engine(
            url,
            pool_size=_KEPT,
            max_overflow=_MOST - _KEPT,
            pool_use_lifo=True,
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
        )
        sa.event.listen(engine, "begin", _lock_writers)
        return engine
    pool = {"pool_size": CONNECTIONS, "max_overflow": -1}
    if creator is not None:
        engine = sa.create_engine(url, creator=creator, **pool)
        sa.event.listen(engine, "connect", _configure_reading)
    else:
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


def _configure_reading(connection: Any, _record: object) -> None:
    connection.isolation_level = None


def _begin(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("personaagent_glance"):
        return
    write = options.get("personaagent_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _key_of(user: str) -> int:
    """A number of 32 bits that stands for a user; two who share one wait for each other."""
    return int.from_bytes(hashlib.sha256(user.encode()).digest()[:4], signed=True)


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
