"""A thread-safe cache that drops what was used longest ago once its budget is exceeded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LRU(Generic[K, V]):
    """Values with a cost each; `budget` bounds their sum, but for the value used last."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._spent = 0
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """The value, marked as used; None if it is not here."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def keep(self, key: K, value: V, cost: int) -> V:
        """Put a value unless the key has one, set its cost, drop others; return what is kept."""
        with self._lock:
            kept, before = self._values.pop(key, (value, 0))
            self._values[key] = (kept, cost)
            self._spent += cost - before
            while self._spent > self._budget and len(self._values) > 1:
                _, (_, dropped) = self._values.popitem(last=False)
                self._spent -= dropped
            return kept

    def drop(self, unwanted: Callable[[K], bool]) -> None:
        """Drop the values of these keys."""
        with self._lock:
            for key in [key for key in self._values if unwanted(key)]:
                _, cost = self._values.pop(key)
                self._spent -= cost

    def __len__(self) -> int:
        return len(self._values)
