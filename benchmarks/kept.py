"""Results that are kept by the id of a question, line by line, and what they say of all users.

A run that was stopped goes on from them, and a table is computed again from them alone.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

DRAWS = 10_000


class Kept:
    """Results by arm and question, in a file that grows by lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._one_at_a_time = threading.Lock()
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.rows = {(one["arm"], one["id"]): one for one in map(json.loads, lines)}

    def add(self, row: dict[str, Any]) -> None:
        with self._one_at_a_time, self._path.open("a", encoding="utf-8") as stream:
            self.rows[row["arm"], row["id"]] = row
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


class OverUsers:
    """Means with 95 % intervals by a bootstrap over users, whose questions stay together.

    Args:
        owners: the user of every question, in the order of the values.
    """

    def __init__(self, owners: Sequence[str]) -> None:
        users = sorted(set(owners))
        places = [[at for at, one in enumerate(owners) if one == user] for user in users]
        random = np.random.default_rng(0)
        drawn = random.integers(0, len(users), (DRAWS, len(users)))
        self._counts = np.array([len(one) for one in places], float)[drawn].sum(axis=1)
        self._places, self._drawn = places, drawn

    def mean(self, values: Any) -> tuple[float, float, float]:
        """The mean and the ends of its interval."""
        given = np.asarray(values, float)
        sums = np.array([given[one].sum() for one in self._places])
        means = sums[self._drawn].sum(axis=1) / self._counts
        low, high = np.quantile(means, (0.025, 0.975))
        return float(given.mean()), float(low), float(high)

    def said(self, values: Any, decimals: int = 2) -> str:
        """The same as a table has it."""
        mean, low, high = self.mean(values)
        return f"{mean:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"
