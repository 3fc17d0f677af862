"""The LM's slots as one pool: whatever is under way at once, a free slot goes to who needs it.

Work is written as it is independent (many users, replays of several personas, gradients beside a
cue), with as many threads as that takes; each of their LM calls waits here for a slot. So slots are
full wherever there is work, and never more than full.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback


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


class _Taking(BaseCallback):
    """Takes a slot for every LM call of a context, as DSPy tells of their begin and end. A call
    that is made within another one (an LM that falls back on a second one) has that one's slot."""

    def __init__(self, slots: Slots, user: Hashable) -> None:
        self._slots = slots
        self._user = user
        self._mine = threading.local()  # `call`: which one of this thread holds a slot

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        del instance, inputs
        if not (getattr(self._mine, "call", None) or _in_event_loop()):
            self._slots.take(self._user)
            self._mine.call = call_id

    def on_lm_end(
        self, call_id: str, outputs: Any | None, exception: BaseException | None = None
    ) -> None:
        del outputs, exception
        if getattr(self._mine, "call", None) == call_id:
            self._mine.call = None
            self._slots.give(self._user)


@contextmanager
def taking(slots: Slots, user: Hashable) -> Iterator[None]:
    """In this block, and wherever its context goes, each LM call takes one of these slots."""
    with dspy.context(callbacks=[_Taking(slots, user), *dspy.settings.get("callbacks", [])]):
        yield


@contextmanager
def within_slots() -> Iterator[None]:
    """The same for the slots of DSPy's LM, unless the block is within `taking` already."""
    if any(isinstance(one, _Taking) for one in dspy.settings.get("callbacks", [])):
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
