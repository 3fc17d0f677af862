"""A list that is made while its reader is busy with something else, and waits when it is read.

Where the LM computes its calls in one batch it is made at once: that is as fast, and what is
written beside something else comes out otherwise.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Self, TypeVar, overload

import dspy

T = TypeVar("T")


def in_turn() -> bool:
    """Whether what could be asked side by side is better asked in turn."""
    return bool(getattr(dspy.settings.lm, "batches", False))


class Ahead(Sequence[T]):
    """Made at once by another thread, in a copy of this context (LM, adapter, meters, slots). As a
    context manager it is there when the block has ended, however it ends.

    Args:
        make: makes the list. What it raises is raised to each reader.
    """

    def __init__(self, make: Callable[[], list[T]]) -> None:
        if in_turn():
            self._made: Future[list[T]] = Future()
            self._made.set_result(make())
            return
        pool = ThreadPoolExecutor(1)
        self._made = pool.submit(contextvars.copy_context().run, make)
        pool.shutdown(wait=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        wait([self._made])

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        return self._made.result()[at]

    def __len__(self) -> int:
        return len(self._made.result())
