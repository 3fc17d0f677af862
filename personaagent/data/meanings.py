"""What the labels of a task mean to a cohort: a log-linear model over the embedding of a query.

Only these weights leave the cohort, one byte each, never a text. They travel inside the persona.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from personaagent.errors import DataError

_LARGEST = 127  # of a signed byte


@dataclass(frozen=True, slots=True)
class Meanings:
    """p(label | query) ~ exp(weights(label) · [embedding; 1]).

    Attributes:
        space: fingerprint of the embedder; the weights say nothing of other vectors.
        scale: what one step of a byte is worth.
        labels: by label its d weights and its bias, signed bytes in base64.

    Raises:
        DataError: the weights are no bytes, not equally many for all labels, or worth nothing.
    """

    space: str
    scale: float
    labels: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    def __post_init__(self) -> None:
        try:
            sizes = {len(base64.b64decode(row, validate=True)) for row in self.labels.values()}
        except ValueError as error:  # an artifact comes from anywhere
            raise DataError(f"meanings: weights that are no base64: {error}") from error
        if len(sizes) > 1 or not 0 < self.scale < math.inf:
            raise DataError("meanings: labels with more weights than others, or without a scale")

    @classmethod
    def of(cls, space: str, labels: Sequence[str], weights: NDArray[np.float64]) -> Self:
        """Rounded to bytes.

        Args:
            space: fingerprint of the embedder.
            labels: L of them.
            weights: [L, d + 1], the bias last; not all of them 0.
        """
        scale = float(np.abs(weights).max()) / _LARGEST
        rows = np.round(weights / scale).astype(np.int8)
        coded = (base64.b64encode(row.tobytes()).decode() for row in rows)
        return cls(space, scale, dict(zip(labels, coded, strict=True)))

    def likelihoods(self, vector: NDArray[np.float32]) -> dict[str, float]:
        """p of every label, summing to 1.

        Args:
            vector: the query's, unit length, float32 [d].

        Raises:
            DataError: the weights are of another length.
        """
        one = np.append(vector, np.float32(1))
        weights = np.array(
            [np.frombuffer(base64.b64decode(row), dtype=np.int8) for row in self.labels.values()],
            dtype=np.float32,
        )
        if weights.shape != (len(self.labels), len(one)):
            raise DataError(f"meanings: weights of {weights.shape[-1]} numbers, not {len(one)}")
        logits = weights @ one * self.scale
        p = np.exp(logits - logits.max())
        return dict(zip(self.labels, (p / p.sum()).tolist(), strict=True))
