"""A vector index of your own, in half the memory: where a user's memories are searched."""

import numpy as np

from personaagent.policies import INDEXES


class HalfPrecision:
    def __init__(self, dimensions: int) -> None:
        self.seqs = np.empty(0, dtype=np.int64)
        self.vectors = np.empty((0, dimensions), dtype=np.float16)

    def add(self, seqs, vectors) -> None:
        self.seqs = np.concatenate([self.seqs, seqs])
        self.vectors = np.concatenate([self.vectors, vectors.astype(np.float16)])

    def nearest(self, vector, k, among):
        rows = np.flatnonzero(np.isin(self.seqs, among))
        scores = self.vectors[rows].astype(np.float32) @ vector
        return [(int(self.seqs[rows[at]]), float(scores[at])) for at in np.argsort(-scores)[:k]]

    def __len__(self) -> int:
        return len(self.seqs)

    @property
    def bytes(self) -> int:
        return self.vectors.nbytes


INDEXES.add("half", HalfPrecision)  # EpisodicMemory(store, embedder, index="half")
