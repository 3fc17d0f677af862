"""Many users' work side by side on the LM's slots.

A user keeps a slot: the LM's prompt cache lives on the prefixes that a user's calls share. Where
fewer users than slots are left, the slots are dealt out again, and each user's own replays run side
by side on theirs. So there are never more calls under way than slots, and hardly ever fewer.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Generic, TypeVar

import dspy

from personaagent.lm import Budget, PersonaLM

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """What became of one user: a result, or the error that ended the work; in seconds."""

    user: str
    result: R | None
    error: Exception | None
    seconds: float


def side_by_side(
    work: Callable[[str], R], users: Sequence[str], lm: PersonaLM
) -> Generator[Done[R]]:
    """Do the work for every user, in this order, as many at once as the LM has slots.

    Args:
        work: called with a user, in a copy of this context with the LM configured for DSPy.
        users: each once.
        lm: metered and budgeted as it is; its slots are dealt out.

    Yields:
        Each user as the work ends. One that fails does not stop the rest. Where the caller stops
        early, calls under way end and nothing further is asked.
    """
    todo, done = deque(users), SimpleQueue[Done[R]]()
    deal = _Deal(lm, min(lm.slots, len(users)))

    def drive(own: PersonaLM) -> None:
        while todo:
            try:
                user = todo.popleft()
            except IndexError:  # another thread took the last one
                break
            started = time.monotonic()
            result, failure = None, None
            try:
                with dspy.context(lm=own):
                    result = work(user)
            except Exception as error:  # whatever it is, it is this user's
                failure = error
            done.put(Done(user, result, failure, time.monotonic() - started))
        deal.leave(own)

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(drive, own))
        for own in list(deal.holders)
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in users:
            yield done.get()
    finally:
        todo.clear()
        deal.close()
        for thread in threads:
            thread.join()


class _Deal:
    """The LM's slots, dealt out evenly to copies of it; whoever leaves gives theirs to the rest."""

    def __init__(self, lm: PersonaLM, hands: int) -> None:
        self._lm = lm
        self._lock = threading.Lock()
        self.holders = [lm.copy() for _ in range(hands)]
        self._share()

    def leave(self, own: PersonaLM) -> None:
        with self._lock:
            self.holders.remove(own)
            self._share()

    def close(self) -> None:
        """Let no further call pass."""
        with self._lock:
            for own in self.holders:
                own.budget = Budget(calls=0)

    def _share(self) -> None:
        for at, own in enumerate(self.holders):
            each, over = divmod(self._lm.slots, len(self.holders))
            own.identity = replace(self._lm.identity, slots=each + (at < over))
