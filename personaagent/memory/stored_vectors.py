"""Vectors as they are stored: in half precision, which costs no recall and half of the disk
(docs/costs.md).

All vectors are rounded, also one that was just made or that an older version stored in single
precision: so a score does not depend on where its vectors came from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def rounded(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors [..., d] as they are when they are read back."""
    return _unit(np.asarray(vectors).astype(np.float16))


def vector_bytes(vector: NDArray[np.float32]) -> bytes:
    """A vector as it is stored; given as it was made, for its rounding is done once."""
    return vector.astype("<f2").tobytes()


def vector_of(stored: bytes, dimensions: int) -> NDArray[np.float32]:
    """The vector, float32 [dimensions]; an older version's, too."""
    if len(stored) == 4 * dimensions:
        return rounded(np.frombuffer(stored, dtype="<f4"))
    return _unit(np.frombuffer(stored, dtype="<f2"))


def matrix_of(stored: Sequence[bytes], dimensions: int) -> NDArray[np.float32]:
    """The vectors, float32 [n, dimensions]."""
    joined = b"".join(stored)
    if len(joined) == 2 * dimensions * len(stored):  # the common case, at once
        return _unit(np.frombuffer(joined, dtype="<f2").reshape(-1, dimensions))
    return np.stack([vector_of(one, dimensions) for one in stored])


def _unit(half: NDArray[np.float16]) -> NDArray[np.float32]:
    """Rounding changes a vector's length a little; scores of the same text are 1."""
    single = half.astype(np.float32)
    lengths = np.linalg.norm(single, axis=-1, keepdims=True)
    unit: NDArray[np.float32] = single / np.maximum(lengths, np.float32(1e-12))
    return unit
