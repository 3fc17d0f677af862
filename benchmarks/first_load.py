"""A first load of PostgreSQL: the rows of `benchmarks.million`, as fast as the database takes them.

What docs/stores.md advises for a first load: keys and indexes are made when the rows are in, and a
table that was emptied by the transaction that fills it (`COPY ... FREEZE`) needs no log where
`wal_level` is minimal, nor a later VACUUM. Each of the two large tables is filled by a process. A
load that was stopped leaves both tables empty and without keys: begin with a new database.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from personaagent.data import Interaction
from personaagent.memory import encoding
from personaagent.memory.schema import interactions
from personaagent.memory.stored_vectors import vector_bytes

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

LEAST, MOST = 10, 100  # interactions of a user
TEXT = "the plot of this film was slow but its music made me stay until the very last scene"
WORDS = np.array(TEXT.split(), dtype=object)
AT_ONCE = 500  # users
DIMENSIONS = 384
FINGERPRINT = f"chance:{DIMENSIONS}"
LEFT_FREE = 6 << 30  # bytes of disk
SECONDS = 10  # between two lines of progress

# The settings of a server that is made for a load.
SETTINGS = """
wal_level = minimal
max_wal_senders = 0
max_wal_size = 4GB
checkpoint_timeout = 30min
"""
_FOR_A_LOAD = (
    "SET synchronous_commit = off",
    "SET maintenance_work_mem = '768MB'",
)


def chance(count: int, dice: np.random.Generator) -> NDArray[np.float32]:
    """Unit vectors of chance, float32 [count, DIMENSIONS]."""
    drawn = dice.standard_normal((count, DIMENSIONS), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def lengths(users: int, seed: int = 0) -> NDArray[np.int64]:
    """How many interactions each user has: rank r of a Zipf distribution between the bounds."""
    ranks = np.arange(LEAST, MOST + 1)
    weights = 1.0 / ranks
    return np.random.default_rng(seed).choice(ranks, size=users, p=weights / weights.sum())


def histories(users: int, name: str = "u") -> Iterator[list[Interaction]]:
    """The interactions of all users, so many users at once."""
    dice = np.random.default_rng(1)
    counts = lengths(users)
    for first in range(0, users, AT_ONCE):
        some = counts[first : first + AT_ONCE]
        texts = iter(dice.choice(WORDS, size=(some.sum(), 20)).tolist())
        yield [
            Interaction(f"i{n}", f"{name}{user}", "films", f"{n} {' '.join(next(texts))}", "good")
            for user, count in enumerate(some, first)
            for n in range(count)
        ]


def load(url: str, users: int, disk: Path | None = None) -> int:
    """Put the users' interactions and vectors into an empty database; how many interactions.

    Args:
        url: of a database that has its tables.
        disk: a folder on the disk that the database is on: the load stops before that is full.
    """
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT EXISTS (SELECT 1 FROM interactions)").fetchone() != (False,):
            raise SystemExit("the database has interactions already: name an empty one")
        foreign, keys = _keys(connection)
        for table, name, _ in foreign + keys:
            connection.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
        indexes = _indexes(connection)
        for name, _, _ in indexes:
            connection.execute(f'DROP INDEX "{name}"')
        made: dict[str, list[str]] = {"interactions": [], "vectors": []}
        for table, name, definition in keys:
            made[table].append(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}')
        for _, table, definition in indexes:
            made[table].append(definition)
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
            rows = [
                processes.submit(fill, url, users, disk, made[table])
                for table, fill in (("interactions", _interactions), ("vectors", _vectors))
            ]
            counts = {one.result() for one in rows}
        assert len(counts) == 1, counts
        count = counts.pop()
        for statement in _FOR_A_LOAD:
            connection.execute(statement)
        for table, name, definition in foreign:
            _timed(connection, f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}')
        connection.execute(
            "SELECT setval(pg_get_serial_sequence('interactions', 'seq'), %s)", [count]
        )
        _timed(connection, "ANALYZE interactions, vectors")
    return count


class Progress:
    """Lines on stderr: how many users' rows are in, how fast, and how long the rest takes."""

    def __init__(self, what: str, users: int, disk: Path | None) -> None:
        self._what, self._users, self._disk = what, users, disk
        self._began = self._said = time.perf_counter()

    def at(self, users: int, rows: int) -> None:
        """So many are in.

        Raises:
            SystemExit: the disk is almost full; the transaction is taken back.
        """
        now = time.perf_counter()
        if now - self._said < SECONDS and users < self._users:
            return
        self._said, took = now, now - self._began
        left = took / users * (self._users - users)
        line = f"{self._what}: {users:,} of {self._users:,} users, {rows / took:,.0f} rows a second"
        if self._disk:
            free = shutil.disk_usage(self._disk).free
            line += f", {free / 2**30:.0f} GB of disk free"
            if free < LEFT_FREE:
                raise SystemExit(f"{line}: too little to go on, so nothing is kept")
        print(f"{line}, {left / 60:.0f} min left", file=sys.stderr, flush=True)


def _keys(connection: Connection[Any]) -> tuple[list[Any], list[Any]]:
    """(table, name, definition) of the foreign keys, and of the keys, of the two tables."""
    found = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), contype = 'f'"
        " FROM pg_constraint WHERE contype IN ('f', 'p', 'u')"
        " AND conrelid IN ('interactions'::regclass, 'vectors'::regclass) ORDER BY conname"
    ).fetchall()
    if not found:
        raise SystemExit("a load was stopped in this database: name a new one")
    return [one[:3] for one in found if one[3]], [one[:3] for one in found if not one[3]]


def _indexes(connection: Connection[Any]) -> list[Any]:
    """(name, table, definition) of the indexes of the two tables that no key has made."""
    return connection.execute(
        "SELECT indexname, tablename, indexdef FROM pg_indexes"
        " WHERE schemaname = current_schema() AND tablename IN ('interactions', 'vectors')"
    ).fetchall()


def _interactions(url: str, users: int, disk: Path | None, after: list[str]) -> int:
    """Fill `interactions`, numbered from 1; how many."""
    names = [column.name for column in interactions.columns]
    columns = ", ".join(f'"{name}"' for name in names)
    progress = Progress("interactions", users, disk)
    seq = done = 0
    with (
        _emptied(url, "interactions", after) as cursor,
        cursor.copy(f"COPY interactions ({columns}) FROM STDIN (FREEZE)") as copy,
    ):
        for part in histories(users):
            rows = [encoding.row(one) | {"seq": seq + n} for n, one in enumerate(part, 1)]
            # No text here has a character that COPY wants escaped.
            lines = ("\t".join(_field(row[name]) for name in names) for row in rows)
            copy.write("\n".join(lines) + "\n")
            seq += len(rows)
            done = min(done + AT_ONCE, users)
            progress.at(done, seq)
    return seq


def _field(value: object) -> str:
    return r"\N" if value is None else str(value)


def _vectors(url: str, users: int, disk: Path | None, after: list[str]) -> int:
    """Fill `vectors` in COPY's binary format, where rows of one length are an array; how many."""
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("bytes of seq", ">i4"),
            ("seq", ">i8"),
            ("bytes of fingerprint", ">i4"),
            ("fingerprint", f"S{len(FINGERPRINT)}"),
            ("bytes of vector", ">i4"),
            ("vector", f"V{2 * DIMENSIONS}"),
        ]
    )
    # Several rows have the same vector: what is measured here does not look at them.
    some = [vector_bytes(one) for one in chance(1_000, np.random.default_rng(0))]
    vectors = np.array(some, dtype=row["vector"])
    progress = Progress("vectors", users, disk)
    counts = lengths(users)
    seq = done = 0
    with (
        _emptied(url, "vectors", after) as cursor,
        cursor.copy(
            "COPY vectors (seq, fingerprint, vector) FROM STDIN (FORMAT BINARY, FREEZE)"
        ) as copy,
    ):
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for first in range(0, users, AT_ONCE):
            rows = np.empty(counts[first : first + AT_ONCE].sum(), dtype=row)
            rows["fields"] = 3
            rows["bytes of seq"] = 8
            rows["seq"] = np.arange(seq + 1, seq + len(rows) + 1)
            rows["bytes of fingerprint"] = len(FINGERPRINT)
            rows["fingerprint"] = FINGERPRINT.encode()
            rows["bytes of vector"] = 2 * DIMENSIONS
            rows["vector"] = vectors[rows["seq"] % len(vectors)]
            copy.write(rows.tobytes())
            seq += len(rows)
            done = min(done + AT_ONCE, users)
            progress.at(done, seq)
        copy.write(b"\xff\xff")
    return seq


@contextmanager
def _emptied(url: str, table: str, after: list[str]) -> Iterator[Cursor[Any]]:
    """A cursor in the transaction that fills a table; when it is done, what comes after."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _FOR_A_LOAD:
            connection.execute(statement)
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {table}")  # so the log needs no copy of the rows
            yield cursor
        for statement in after:
            _timed(connection, statement)


def _timed(connection: Connection[Any], statement: str) -> None:
    """Execute a statement that takes a while, and say what it took."""
    began = time.perf_counter()
    connection.execute(statement)
    took = time.perf_counter() - began
    print(f"{took:.0f} s: {statement}", file=sys.stderr, flush=True)
