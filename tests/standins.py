"""Stand-ins for models, for tests only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class HashEmbedder:
    """Each word is a fixed random direction: texts that share words are near each other."""

    def __init__(self, name: str = "hash", dimensions: int = 32) -> None:
        self.fingerprint = f"{name}:{dimensions}"
        self.dimensions = dimensions
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> NDArray[np.float32]:
        self.encoded.extend(texts)
        vectors = np.stack([self._vector(text) for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def _vector(self, text: str) -> NDArray[np.float64]:
        words = [*text.lower().split(), self.fingerprint]
        return np.sum([_direction(word, self.dimensions) for word in words], axis=0)


@lru_cache(maxsize=10_000)
def _direction(word: str, dimensions: int) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(dimensions)
