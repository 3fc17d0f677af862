"""What the LM costs: calls, tokens, seconds and money, counted in one place for every kind of LM.

An LM counts into its meter, and into the meter of every `measure()` block that it is called from.
Such a block lives in DSPy's settings context, so it holds wherever that context goes: into
`dspy.Parallel`, `Module.batch`, `dspy.Evaluate`, `dspy.asyncify`, asyncio tasks, and a plain thread
that runs in a copy of the context (`contextvars.copy_context().run`). A plain thread without one
counts into the LM's meter only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace

from personaagent.errors import BudgetError

SCOPES = "personaagent_meters"
"""The key in DSPy's settings context: the meters of the open `measure()` blocks."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used; the difference of two of them is what was used in between.

    `calls` counts what was asked: `failed` of them after all retries, `hits` of them answered from
    DSPy's response cache, without the LM. `input_tokens` includes `cached_tokens`, those that the
    LM took from its prompt cache; `output_tokens` includes `thought_tokens`, those of its thought.
    `unmetered` calls are those whose tokens the LM did not tell, `fallbacks` those that another LM
    answered in its place. `seconds` sums the calls' durations, waiting and retries
    included; `busy_seconds` is the time during which at least one call was running. `money` is in
    the price list's unit (dollars); `unpriced` calls are those whose price is unknown.
    """

    calls: int = 0
    failed: int = 0
    retries: int = 0
    hits: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    thought_tokens: int = 0
    seconds: float = 0.0
    busy_seconds: float = 0.0
    money: float = 0.0
    unpriced: int = 0
    unmetered: int = 0
    fallbacks: int = 0

    @property
    def thought_seconds(self) -> float:
        """The share of `seconds` that went into thought, by its share of the tokens written."""
        return self.seconds * self.thought_tokens / self.output_tokens if self.output_tokens else 0

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Usage)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(Usage)))

    def to_dict(self) -> dict[str, int | float]:
        """Plain numbers by field name, for logs and reports."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits that are checked before each call; None is no limit.

    Answers from the response cache are free and do not count. Calls are exact, also with several
    threads; tokens and money are known only afterwards, so the calls that are under way when a
    limit is reached still finish.
    """

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None

    def check(self, used: Usage) -> None:
        """Let the next call pass, or not.

        Raises:
            BudgetError: a limit is reached, or money is limited and the price is unknown.
        """
        for name, limit, spent in (
            ("calls", self.calls, used.calls - used.hits),
            ("tokens", self.tokens, used.tokens),
            ("money", self.money, used.money),
        ):
            if limit is not None and spent >= limit:
                raise BudgetError(
                    f"the budget of {limit:g} {name} is used up ({spent:g} used); raise the limit "
                    "or go on with what there is"
                )
        if self.money is not None and used.unpriced:
            raise BudgetError(
                f"a budget of money cannot be kept: the price of {used.unpriced} calls is unknown; "
                "limit calls or tokens instead"
            )


@dataclass(slots=True)
class Call:
    """One call while it runs: what it adds to the meters when it ends."""

    used: Usage = field(default_factory=Usage)

    def retried(self) -> None:
        """Another attempt is about to be made."""
        self.used = replace(self.used, retries=self.used.retries + 1)

    def answered(self, used: Usage) -> None:
        """What the answer took: hits, tokens, money."""
        self.used += used


class Meter:
    """A thread-safe counter of LM calls; several LMs may share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used = Usage()
        self._running = 0
        self._busy_since = 0.0

    def snapshot(self) -> Usage:
        """What was used so far; running calls show only in `busy_seconds`."""
        with self._lock:
            return self._snapshot()

    def count(self, used: Usage) -> None:
        """Add what another process used."""
        with self._lock:
            self._used += used

    @contextmanager
    def measure(self) -> Iterator[Meter]:
        """A meter of its own for what this meter counts during the block, from this context.

        `with lm.meter.measure() as used: ...` and then `used.snapshot()`. Blocks may be nested and
        may run in parallel, one per user.
        """
        import dspy

        scope = Meter()
        with dspy.context(**{SCOPES: (*_scopes(), (self, scope))}):
            yield scope

    @contextmanager
    def call(self, budget: Budget | None = None) -> Iterator[Call]:
        """Count the block as one call, here and in the open `measure()` blocks.

        Raises:
            BudgetError: `budget` does not allow it; then nothing is counted.
        """
        meters = [self, *(scope for owner, scope in _scopes() if owner is self)]
        self._begin(budget)
        for scope in meters[1:]:
            scope._begin()
        call, start = Call(Usage(calls=1)), time.monotonic()
        try:
            yield call
        except BaseException:
            call.used = replace(call.used, failed=1)
            raise
        finally:
            call.used = replace(call.used, seconds=time.monotonic() - start)
            for meter in meters:
                meter._end(call.used)

    def _begin(self, budget: Budget | None = None) -> None:
        with self._lock:
            if budget is not None:
                # Calls under way count as spent, or parallel callers would all slip through.
                budget.check(self._snapshot() + Usage(calls=self._running))
            if self._running == 0:
                self._busy_since = time.monotonic()
            self._running += 1

    def _end(self, used: Usage) -> None:
        with self._lock:
            if self._running == 1:
                self._used = self._snapshot()
            self._running -= 1
            self._used += used

    def _snapshot(self) -> Usage:
        """Under the lock."""
        busy = time.monotonic() - self._busy_since if self._running else 0.0
        return replace(self._used, busy_seconds=self._used.busy_seconds + busy)


def _scopes() -> tuple[tuple[Meter, Meter], ...]:
    """The open blocks of this context: (the meter that is measured, the block's own)."""
    import dspy

    scopes: tuple[tuple[Meter, Meter], ...] = dspy.settings.get(SCOPES, ())
    return scopes
