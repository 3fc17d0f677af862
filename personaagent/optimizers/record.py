"""Records of finished work: what was paid for once is not paid for again, also after a kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

T = TypeVar("T")


class Record(Protocol):
    """Where finished work is written down: `personaagent.memory.Journal`, or `Scratch`."""

    def get(self, key: str) -> Any | None: ...

    def put(self, key: str, value: Any) -> Any: ...


class Scratch:
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


@runtime_checkable
class Metered(Record, Protocol):
    """A record that makes its values itself, because it counts what they cost (see `Ledger`)."""

    def once(self, key: str, work: Callable[[], Any]) -> Any: ...


def once(record: Record, key: str, work: Callable[[], T]) -> T:
    """The recorded value of a key; the work is done only where there is none."""
    if isinstance(record, Metered):
        return cast(T, record.once(key, work))
    value: T | None = record.get(key)
    if value is None:
        value = record.put(key, work())
    return cast(T, value)
