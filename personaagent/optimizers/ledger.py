"""A record that knows what its values cost, so that a value which is found again is not free.

Settings are compared by what each would cost alone, in whatever order and after whatever
interruption they were tried; what is paid once is counted for every setting that needs it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast

from personaagent.lm import Meter, Usage

if TYPE_CHECKING:
    from personaagent.optimizers.record import Record

T = TypeVar("T")
# What those took that were found on the way to a value which is being made.
_found: ContextVar[list[Usage] | None] = ContextVar("found", default=None)


class Ledger:
    """One setting's view of a record that several settings share.

    Args:
        record: where the values are, with what they took when they were made.
        meter: counts the LM calls that make a value.
    """

    def __init__(self, record: Record, meter: Meter) -> None:
        self._record = record
        self._meter = meter
        self._lock = threading.Lock()
        self._taken: dict[str, Usage] = {}

    @property
    def spent(self) -> Usage:
        """What everything that was asked for took, each value once, whoever paid for it."""
        with self._lock:
            return sum(self._taken.values(), Usage())

    def get(self, key: str) -> Any | None:
        """The value of a key, None where there is none."""
        entry = self._record.get(key)
        return None if entry is None else self._take(key, entry)

    def put(self, key: str, value: Any) -> Any:
        """Write a value that cost nothing, unless the key has one; the value that stands."""
        return self._take(key, self._record.put(key, _entry(value, Usage())))

    def once(self, key: str, work: Callable[[], T]) -> T:
        """The value of a key; made, metered and written down where there is none.

        What is asked for on the way to another value is part of what that one took.
        """
        entry, outer = self._record.get(key), _found.get()
        if entry is None:
            found: list[Usage] = []
            token = _found.set(found)
            try:
                with self._meter.measure() as used:
                    value = work()
            finally:
                _found.reset(token)
            spent = sum(found, used.snapshot())
            entry = self._record.put(key, _entry(value, spent))
        elif outer is not None:
            outer.append(Usage(**entry["spent"]))
        return cast(T, self._take(key, entry) if outer is None else entry["value"])

    def _take(self, key: str, entry: dict[str, Any]) -> Any:
        with self._lock:
            self._taken[key] = Usage(**entry["spent"])
        return entry["value"]


def _entry(value: Any, spent: Usage) -> dict[str, Any]:
    return {"value": value, "spent": spent.to_dict()}
