"""Finished work is kept, so that what was paid for once is not paid for again, also after a kill.

A `Ledger` knows what its values cost: settings are compared by what each would cost alone, in
whatever order and after whatever interruption they were tried.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from personaagent.lm import Meter, Usage


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


class Entry:
    """What a key holds; `value` is None until it is made."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @property
    def missing(self) -> bool:
        """Whether it is to be made."""
        return self.value is None


@contextmanager
def once(record: Record, key: str) -> Iterator[Entry]:
    """The entry of a key. Where it is missing the block makes its value, which is written down when
    the block ends; the value that stands then is the entry's.

    A block, so that the work is done by who wants it and not by the record. A record that counts
    what values cost, or how many there are, has a block of its own.
    """
    if (own := getattr(record, "once", None)) is not None:
        with own(key) as entry:
            yield entry
        return
    entry = Entry(record.get(key))
    if entry.missing:
        yield entry
        entry.value = record.put(key, entry.value)
    else:
        yield entry


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

    @contextmanager
    def once(self, key: str) -> Iterator[Entry]:
        """As `once`: where the value is missing it is metered and written down.

        What is asked for on the way to another value is part of what that one took.
        """
        kept, outer = self._record.get(key), _found.get()
        entry = Entry(kept and kept["value"])
        if kept is None:
            found: list[Usage] = []
            token = _found.set(found)
            try:
                with self._meter.measure() as used:
                    yield entry
            finally:
                _found.reset(token)
            spent = sum(found, used.snapshot())
            kept = self._record.put(key, _entry(entry.value, spent))
        else:
            yield entry
            if outer is not None:
                outer.append(Usage(**kept["spent"]))
        entry.value = self._take(key, kept) if outer is None else kept["value"]

    def _take(self, key: str, entry: dict[str, Any]) -> Any:
        with self._lock:
            self._taken[key] = Usage(**entry["spent"])
        return entry["value"]


def _entry(value: Any, spent: Usage) -> dict[str, Any]:
    return {"value": value, "spent": spent.to_dict()}
