"""What storing costs beside embedding: python -m benchmarks.ingest [--quick]

`EpisodicMemory.add` (rows, vectors, two kinds of transactions) against the bare embedder on the
same texts, in turns, in one run. The ratio is the part of the embedder's speed that is left.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from personaagent.data import Interaction
from personaagent.memory import EpisodicMemory, SentenceEmbedder, Store

SENTENCE = "the plot of this film was slow but its music made me stay until the very last scene"


def sample(count: int, users: int) -> list[Interaction]:
    """Interactions of 5 to 40 words each, spread over the users."""
    rng = random.Random(0)
    words = SENTENCE.split()
    return [
        Interaction(
            f"i{n}",
            f"u{n % users}",
            "task",
            f"{n} {' '.join(rng.choices(words, k=rng.randint(5, 40)))}",
            "yes",
        )
        for n in range(count)
    ]


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the wall clock and of the CPU, which others on the machine disturb less."""
    began = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few texts, seconds")
    count, rounds = (64, 1) if parser.parse_args().quick else (2_000, 5)
    interactions = sample(count, users=max(1, count // 100))
    texts = [one.query for one in interactions]
    embedder = SentenceEmbedder()
    embedder.encode(texts[:64])  # load and warm up
    bare, added = [], []
    with tempfile.TemporaryDirectory() as folder:
        for n in range(rounds):
            bare.append(timed(partial(embedder.encode, texts)))
            with Store(Path(folder) / f"{n}.db") as store:
                memory = EpisodicMemory(store, embedder)
                added.append(timed(partial(memory.add, interactions)))
    # The fastest round: what others on the machine take only ever adds.
    alone, stored = (count / np.min(seconds, axis=0) for seconds in (bare, added))
    print(f"| {count:,} texts | texts/s | texts/s of CPU |\n|---|---|---|")
    print(f"| embedder alone | {alone[0]:.0f} | {alone[1]:.0f} |")
    print(f"| EpisodicMemory.add | {stored[0]:.0f} | {stored[1]:.0f} |")
    print(f"| ratio | {stored[0] / alone[0]:.3f} | {stored[1] / alone[1]:.3f} |")


if __name__ == "__main__":
    main()
