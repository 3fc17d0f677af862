"""Many users' work side by side on the LM's slots.

As many users are under way as the LM has slots, which all of them share (`slots.Slots`): a user who
computes, or waits for a last answer, leaves the slots to the others. So there are never more calls
under way than slots, and hardly ever fewer.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

import dspy

from personaagent.lm import Budget, PersonaLM
from personaagent.optimizers.slots import Slots, taking

W = TypeVar("W", bound=Hashable)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Done(Generic[W, R]):
    """What became of one user: a result, or the error that ended the work; in seconds."""

    user: W
    result: R | None
    error: Exception | None
    seconds: float


def side_by_side(
    work: Callable[[W], R], users: Sequence[W], lm: PersonaLM
) -> Generator[Done[W, R]]:
    """Do the work for every user, in this order, as many at once as the LM has slots.

    Args:
        work: called with a user, in a copy of this context with the LM configured for DSPy.
        users: each once; a user of several tasks as (user, task).
        lm: metered and budgeted as it is.

    Yields:
        Each user as the work ends. One that fails does not stop the rest. Where the caller stops
        early, calls under way end and nothing further is asked.
    """
    todo, done = deque(users), SimpleQueue[Done[W, R] | BaseException]()
    own, slots = lm.copy(), Slots(lm.slots)

    def drive() -> None:
        while todo:
            try:
                user = todo.popleft()
            except IndexError:  # another thread took the last one
                break
            started = time.monotonic()
            result, failure = None, None
            try:
                with dspy.context(lm=own), taking(slots, user):
                    result = work(user)
            except Exception as error:  # whatever it is, it is this user's
                failure = error
            except BaseException as error:  # nobody else can tell the reader, who waits
                done.put(error)
                return
            done.put(Done(user, result, failure, time.monotonic() - started))

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(drive,))
        for _ in range(min(lm.slots, len(users)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in users:
            ended = done.get()
            if isinstance(ended, BaseException):
                raise ended
            yield ended
    finally:
        todo.clear()
        own.budget = Budget(calls=0)  # no further call passes
        for thread in threads:
            thread.join()
