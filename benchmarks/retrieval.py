"""How fast and how large retrieval is: python -m benchmarks.retrieval [--quick] [--scratch DIR]

Random unit vectors stand in for embeddings, so the time of the embedding model is not in here.
The whole table needs about 5 GB of disk (in --scratch) and 2 GB of memory.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from personaagent.data import Interaction
from personaagent.memory import Embedder, EpisodicMemory, Store
from personaagent.memory.index import UserIndex
from personaagent.memory.vectors import FaissIndex, Seqs, VectorIndex

T = TypeVar("T")

DIMENSIONS = 384
THREADS = 8
RECALLS = 2_000
K = 5
START = datetime(2020, 1, 1, tzinfo=UTC)


class RandomEmbedder:
    """Unit vectors at random: the cost of the index alone."""

    fingerprint = "random"
    dimensions = DIMENSIONS

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> NDArray[np.float32]:  # noqa: ARG002
        vectors = self._random.standard_normal((len(texts), DIMENSIONS), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def fill(store: Store, users: int, each: int) -> float:
    """Write users x each interactions with vectors; the seconds it took."""
    memory = EpisodicMemory(store, RandomEmbedder())
    began = time.perf_counter()
    at_once = max(1, 20_000 // each)
    for first in range(0, users, at_once):
        memory.add(
            Interaction(
                f"i{n}",
                f"u{user}",
                "task",
                f"item {n} of {user}",
                "yes",
                START + timedelta(minutes=n),
            )
            for user in range(first, min(first + at_once, users))
            for n in range(each)
        )
    return time.perf_counter() - began


def loaded(store: Store, user: str, embedder: Embedder) -> tuple[Seqs, VectorIndex]:
    """A user's index by itself, vectors included."""
    index = UserIndex()
    index.refresh(store.of(user))
    vectors = index.load(store.of(user), embedder, FaissIndex, embed_missing=lambda: None)
    return index.seqs, vectors


def timed(call: Callable[[T], object], arguments: Iterable[T]) -> str:
    """Wall clock p50 and p99, and CPU p50, which others on the machine disturb less."""
    wall, cpu = [], []
    for argument in arguments:
        began = time.perf_counter(), time.thread_time()
        call(argument)
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.thread_time() - began[1])
    p50, p99, own = (
        float(np.percentile(took, percent)) * 1e3
        for took, percent in ((wall, 50), (wall, 99), (cpu, 50))
    )
    return f"p50 {p50:.3g} ms, p99 {p99:.3g} ms, CPU p50 {own:.3g} ms"


def recalls_a_second(memory: EpisodicMemory, users: int, threads: int) -> float:
    """Hot recalls of random users by so many threads, all of them counted; the best of three."""

    def work(seed: int) -> None:
        for user in np.random.default_rng(seed).integers(users, size=RECALLS // threads).tolist():
            memory.recall(f"u{user}", "q", K)

    took = []
    for _ in range(3):
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
        took.append(time.perf_counter() - began)
    return RECALLS / min(took)


def resident_megabytes() -> float:
    """What this process holds in memory now (Linux), or held at most (elsewhere)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def many_users(folder: Path, users: int, each: int) -> list[tuple[str, str, str]]:
    """Rows of the table for `users` with `each` memories."""
    store = Store(folder / "many.db")
    size = f"{users:,} users x {each:,}"
    rows = [("write rows and vectors", size, f"{fill(store, users, each):.0f} s")]
    chosen = np.random.default_rng(1).permutation(users).tolist()

    memory = EpisodicMemory(store, RandomEmbedder())
    took = timed(lambda user: memory.recall(f"u{user}", "q", K), chosen[:1000])
    rows.append(("recall, user cold", size, took))

    began = time.perf_counter()
    for user in chosen[1000:]:
        memory.recall(f"u{user}", "q", K)
    seconds = time.perf_counter() - began
    rows.append(("all users resident", size, f"{resident_megabytes():,.0f} MB, {seconds:.1f} s"))

    took = timed(lambda user: memory.recall(f"u{user}", "q", K), chosen)
    rows.append(("recall, user hot", size, took))

    hot = [loaded(store, f"u{user}", memory.embedder) for user in chosen[:1000]]
    query = memory.embedder.encode(["q"])[0]
    took = timed(lambda n: hot[n][1].nearest(query, K, hot[n][0]), range(len(hot)))
    rows.append(("search, index hot", size, took))
    half = [seqs[: each // 2] for seqs, _ in hot]
    took = timed(lambda n: hot[n][1].nearest(query, K, half[n]), range(len(hot)))
    rows.append(("search, hot, filtered to half", size, took))

    alone, together = (recalls_a_second(memory, users, threads) for threads in (1, THREADS))
    ratio = f"{together:,.0f} / {alone:,.0f} a second = {together / alone:.2f} (target >= 1)"
    rows.append((f"recalls of {THREADS} threads / of one", size, ratio))

    for name in ("bm25", "hybrid", "recency"):
        recall = partial(memory.recall, query="item 7", k=K, retriever=name)
        took = timed(recall, [f"u{user}" for user in chosen[:300]])
        rows.append((f"recall, {name}, first", size, took))
    store.close()
    return rows


def one_user(folder: Path, each: int, rounds: int) -> list[tuple[str, str, str]]:
    """Rows of the table for a single user with `each` memories."""
    store = Store(folder / "one.db")
    size = f"1 user x {each:,}"
    rows = [("write rows and vectors", size, f"{fill(store, 1, each):.0f} s")]
    memory = EpisodicMemory(store, RandomEmbedder())
    began = time.perf_counter()
    memory.recall("u0", "q", K)
    rows.append(("recall, user cold", size, f"{time.perf_counter() - began:.1f} s"))
    rows.append(("user resident", size, f"{resident_megabytes():,.0f} MB"))
    took = timed(lambda _: memory.recall("u0", "q", K), range(rounds))
    rows.append(("recall, user hot", size, took))
    middle = START + timedelta(minutes=each // 2)
    took = timed(lambda _: memory.recall("u0", "q", K, before=middle), range(rounds))
    rows.append(("recall, hot, before the middle", size, took))
    store.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds")
    parser.add_argument("--scratch", type=Path, help="folder for the databases; default: temporary")
    options = parser.parse_args()
    users, each, lonely = (50, 20, 2_000) if options.quick else (10_000, 100, 1_000_000)
    print("| what | size | measured |\n|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        for row in many_users(Path(folder), users, each):
            print("|", " | ".join(row), "|", flush=True)
        for row in one_user(Path(folder), lonely, rounds=20):
            print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
