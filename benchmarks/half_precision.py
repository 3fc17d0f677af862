"""What vectors in half precision cost recall: python -m benchmarks.half_precision FILE [--users 40]

FILE is a questions file in the form of LaMP (.json or .json.gz). Each user's latest history is
embedded by the project's embedder; for every text the k nearest others of the user are found by
vectors as they are, and by vectors that were rounded to 16 bits. Recall@k is the share of the
former that the latter find.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from personaagent.memory import SentenceEmbedder
from personaagent.memory.stored_vectors import rounded

KS = (1, 4, 10)


def texts_of(path: Path, users: int, most: int) -> list[list[str]]:
    """The texts of so many users' latest interactions, those with the longest histories first."""
    read = path.read_bytes()
    whole = gzip.decompress(read) if path.suffix == ".gz" else read
    profiles = [one["profile"] for one in json.loads(whole)]
    profiles.sort(key=len, reverse=True)
    return [[text_of(one) for one in mine[-most:]] for mine in profiles[:users]]


def text_of(one: dict[str, str]) -> str:
    """The text of an interaction, by LaMP's names of it."""
    return next(one[name] for name in ("text", "description", "abstract") if one.get(name))


def nearest(vectors: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The k nearest others of each row, best first [n, k]."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--users", type=int, default=40)
    parser.add_argument("--most", type=int, default=100, help="interactions of a user")
    options = parser.parse_args()
    embedder = SentenceEmbedder()
    found: dict[int, list[float]] = {k: [] for k in KS}
    off, count = 0.0, 0
    for texts in texts_of(options.file, options.users, options.most):
        exact = np.asarray(embedder.encode(texts), dtype=np.float32)
        half = rounded(exact)
        off = max(off, float(np.abs(exact @ exact.T - half @ half.T).max()))
        count += len(texts)
        for k in KS:
            most = min(k, len(texts) - 1)
            pairs = zip(nearest(exact, most), nearest(half, most), strict=True)
            found[k] += [len(set(one) & set(other)) / most for one, other in pairs]
    print("| what | measured |\n|---|---|")
    print(f"| users, texts | {options.users}, {count:,} |")
    for k, shares in found.items():
        print(f"| recall@{k} in half precision | {np.mean(shares):.4%} |")
    print(f"| the largest change of a similarity | {off:.6f} |")
    size = exact.shape[1]
    print(f"| bytes of a vector, before and in half precision | {4 * size}, {2 * size} |")


if __name__ == "__main__":
    main()
