"""The LM's slots as one pool: whatever is under way at once, a free slot goes to who needs it.

Work is written as it is independent (many users, replays of several personas, gradients beside a
cue), with as many threads as that takes; each of their LM calls waits here for a slot. So slots are
full wherever there is work, and never more than full.

`Ahead` is a list that is made while its reader is busy with something else, and waits when it is
read. Where the LM computes its calls in one batch it is made at once: that is as fast, and what is
written beside something else comes out otherwise.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Self, TypeVar, overload

import dspy
from dspy.utils.callback import BaseCallback

from personaagent.lm.model import TURN, PersonaLM


class Slots:
    """So many calls at once. A free slot goes to the user with the fewest calls under way, of
    several to the one that waits longest: where all have work, each keeps its own slots, and with
    them the LM's prompt cache, which lives on the prefixes that a user's calls share."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._under_way: Counter[Hashable] = Counter()
        self._waiting: list[tuple[Hashable, threading.Event]] = []
        self._lock = threading.Lock()

    def take(self, user: Hashable) -> None:
        """Wait for a slot."""
        turn = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                self._under_way[user] += 1
                return
            self._waiting.append((user, turn))
        turn.wait()

    def give(self, user: Hashable) -> None:
        """Give a slot back."""
        with self._lock:
            self._under_way[user] -= 1
            if not self._waiting:
                self._free += 1
                return
            # The first of equals waits longest.
            next_one = min(self._waiting, key=lambda one: self._under_way[one[0]])
            self._waiting.remove(next_one)
            who, turn = next_one
            self._under_way[who] += 1
        turn.set()


class _Turns:
    """Takes a slot for every LM call of a context. A call that is made within another one (an LM
    that falls back on a second one) has that one's slot."""

    def __init__(self, slots: Slots, user: Hashable) -> None:
        self._slots = slots
        self._user = user
        self._mine = threading.local()  # `call`: which one of this thread holds a slot

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Have a slot for the block."""
        call = object()
        self.begin(call)
        try:
            yield
        finally:
            self.end(call)

    def begin(self, call: object) -> None:
        if not (getattr(self._mine, "call", None) or _in_event_loop()):
            self._slots.take(self._user)
            self._mine.call = call

    def end(self, call: object) -> None:
        if getattr(self._mine, "call", None) == call:
            self._mine.call = None
            self._slots.give(self._user)


class _Telling(BaseCallback):
    """Tells of the calls of an LM that is not ours and does not ask for a slot itself."""

    def __init__(self, turns: _Turns) -> None:
        self._turns = turns

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        del instance, inputs
        self._turns.begin(call_id)

    def on_lm_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        del outputs, exception
        self._turns.end(call_id)


@contextmanager
def taking(slots: Slots, user: Hashable) -> Iterator[None]:
    """In this block, and wherever its context goes, each LM call takes one of these slots."""
    turns = _Turns(slots, user)
    own: dict[str, Any] = {TURN: turns}
    # Callbacks cost every module, adapter and tool that is called half as much as their work.
    if not isinstance(dspy.settings.lm, PersonaLM):
        own["callbacks"] = [_Telling(turns), *dspy.settings.get("callbacks", [])]
    with dspy.context(**own):
        yield


@contextmanager
def within_slots() -> Iterator[None]:
    """The same for the slots of DSPy's LM, unless the block is within `taking` already."""
    if dspy.settings.get(TURN) is not None:
        yield
        return
    with taking(Slots(getattr(dspy.settings.lm, "slots", 1)), ""):
        yield


def _in_event_loop() -> bool:
    """Whether waiting would hold up the very calls that are waited for."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


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
