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
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

import dspy

from personaagent.errors import PersonaAgentError
from personaagent.lm import Budget, PersonaLM
from personaagent.optimizers.slots import Slots, taking

P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)
P_contra = TypeVar("P_contra", contravariant=True)
W = TypeVar("W", bound=Hashable)
W_contra = TypeVar("W_contra", bound=Hashable, contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Told = Callable[[Any], None]
"""Called with what some work tells whoever waits for it."""


def ignore(what: Any) -> None:
    """Told nothing."""
    del what


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job. `tell` reaches whoever waits; `again` says that an earlier attempt's
    process is gone."""

    tell: Told = ignore
    again: bool = False


class Work(Protocol[P_contra, W_contra, R_co]):
    """What is done for each of many jobs, here or elsewhere."""

    def __call__(self, place: P_contra, job: W_contra, attempt: Attempt, /) -> R_co:
        """Do a job with what the place has: a store, a model."""
        ...


class Pool(Protocol[P_co]):
    """Does jobs as they come: one after another here (`OneByOne`), or on Ray (`RayPool`)."""

    @property
    def free(self) -> int: ...

    @property
    def busy(self) -> bool: ...

    def begin(self, work: Work[P_co, Any, Any], job: Any, told: Told = ignore) -> None: ...

    def ended(self) -> Iterable[Done[Any, Any]]: ...


@dataclass(frozen=True, slots=True)
class Done(Generic[W, R]):
    """What became of one user: a result, or the error that ended the work; in seconds."""

    user: W
    result: R | None
    error: Exception | None
    seconds: float


class OneByOne(Generic[P]):
    """A pool of one place, this one: a job that has begun is done when it is waited for."""

    def __init__(self, place: P) -> None:
        self._place = place
        self._begun: list[tuple[Work[P, Any, Any], Any, Told]] = []

    @property
    def free(self) -> int:
        return 1 - len(self._begun)

    @property
    def busy(self) -> bool:
        return bool(self._begun)

    def begin(self, work: Work[P, Any, Any], job: Any, told: Told = ignore) -> None:
        self._begun.append((work, job, told))

    def ended(self) -> Iterable[Done[Any, Any]]:
        """The job that has begun, done now."""
        ((work, job, told),) = self._begun
        self._begun.clear()
        started = time.monotonic()
        result, failure = None, None
        try:
            result = work(self._place, job, Attempt(told))
        except PersonaAgentError as error:
            failure = error
        return [Done(job, result, failure, time.monotonic() - started)]


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
