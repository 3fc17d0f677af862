"""Finished work is kept, so that what was paid for once is not paid for again, also after a kill.

A `Ledger` knows what its values cost: settings are compared by what each would cost alone, in
whatever order and after whatever interruption they were tried.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast

from personaagent.lm import Meter, Usage

T = TypeVar("T")


class Record(Protocol):
    """Where finished work is written down: `personaagent.memory.Journal`, or `MemoryWorkLog`."""

    def get(self, key: str) -> Any | None: ...

    def put(self, key: str, value: Any) -> Any: ...


class MemoryWorkLog:
    """A record that lives as long as the process."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def get(self, key: str) -> Any | None:
        return self._values.get(key)

    def put(self, key: str, value: Any) -> Any:
        return self._values.setdefault(key, value)

    def entries(self, prefix: str = "") -> dict[str, Any]:
        """The values of the keys that start so, by key, in the order of keys."""
        return {key: self._values[key] for key in sorted(self._values) if key.startswith(prefix)}


class ReadOnce:
    """A record that is read once, at first: for whoever writes it alone, as under a lease."""

    def __init__(self, record: Record, values: dict[str, Any]) -> None:
        """`values` is all that the record holds."""
        self._record = record
        self._values = values

    def get(self, key: str) -> Any | None:
        return self._values.get(key)

    def put(self, key: str, value: Any) -> Any:
        """Into the record too; the value that stands there."""
        stands = self._values[key] = self._record.put(key, value)
        return stands


def once(record: Record, key: str, work: Callable[[], T]) -> T:
    """The recorded value of a key; the work is done only where there is none. A record that counts
    what values cost makes them itself (`Ledger`)."""
    if (metered := getattr(record, "once", None)) is not None:
        return cast(T, metered(key, work))
    value: T | None = record.get(key)
    if value is None:
        value = record.put(key, work())
    return cast(T, value)


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
