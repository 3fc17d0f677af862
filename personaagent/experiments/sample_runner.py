"""One sample under one system, metered by itself: an answer, or a failure, as a row."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from personaagent.data import Task
from personaagent.errors import BudgetError, PersonaAgentError
from personaagent.experiments.cohort import Sample
from personaagent.experiments.lineup import SystemSpec
from personaagent.experiments.metrics import loss
from personaagent.experiments.results import Row
from personaagent.experiments.trace import action_name, keep_trace
from personaagent.memory import EpisodicMemory, Store

if TYPE_CHECKING:
    from personaagent.experiments.ablations import Personas
    from personaagent.experiments.systems import System
    from personaagent.lm import Meter
    from personaagent.optimizers.user_pool import Attempt

_LONGEST_ERROR = 300
_DIGITS = 6

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SampleRunner:
    """Asks one system.

    Args:
        run: the key of the run.
        task: what is answered.
        entrant: the system's name and part.
        system: the system itself.
        personas: what it answers under, if it does.
        failures: why a user has no persona.
        meter: the LM's.
        store: where traces go.
    """

    run: str
    task: Task
    entrant: SystemSpec
    system: System
    personas: Personas
    failures: dict[str, str]
    meter: Meter
    store: Store

    def __call__(self, sample: Sample) -> Row:
        """The row of a sample.

        Raises:
            BudgetError: the budget is used up; the sample stays unanswered.
        """
        query = sample.query
        row: dict[str, Any] = {
            "run": self.run,
            "system": self.entrant.name,
            "sample": query.id,
            "user": sample.owner,
            "gold": sample.gold,
            "answer": None,
        }
        given: dict[str, Any] = {
            "user": query.user,
            "before": query.time,
            "exclude": (query.id,),  # a history may hold the very question
        }
        try:
            if self.entrant.needs_personas and query.user in self.failures:
                raise PersonaAgentError(f"no persona: {self.failures[query.user]}")
            if prepare := getattr(self.system, "prepare", None):
                started = time.perf_counter()
                with self.meter.measure() as meter:
                    prepare(**given)
                row["ahead_seconds"] = round(time.perf_counter() - started, _DIGITS)
                row["ahead_calls"] = meter.snapshot().calls
            started = time.perf_counter()
            with self.meter.measure() as meter:
                said = self.system(query=query.query, **given)
            row["seconds"] = round(time.perf_counter() - started, _DIGITS)
            used = meter.snapshot()
            for name in ("calls", "input_tokens", "cached_tokens", "output_tokens", "money"):
                row[name] = getattr(used, name)
            row |= self._judged(sample, said)
            if self.entrant.role != "floor":
                part = getattr(self.system, "part", None)
                persona = part(self.personas, query.user) if part else None
                keep_trace(self.store, self.run, self.entrant.name, sample, said, persona)
        except BudgetError:
            raise
        except Exception as error:  # a system may raise anything, and must not end the others
            _log.debug("%s failed on %s", self.entrant.name, query.id, exc_info=True)
            said_so = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
            row |= {"answer": None, "distribution": None, "loss": None, "error": said_so}
        return Row(**row)

    def _judged(self, sample: Sample, said: Any) -> dict[str, Any]:
        answer, distribution = str(said.answer).strip(), said.get("distribution")
        return {
            "answer": answer,
            "distribution": distribution
            and {label: round(p, _DIGITS) for label, p in distribution.items()},
            "loss": round(loss(self.task, sample.gold, answer, distribution), _DIGITS),
            "actions": tuple(action_name(one) for one in said.get("actions") or ()),
            "memories": tuple(one.interaction.id for one in said.get("memories") or ()),
        }


class Asking:
    """Asks one system, as work of a pool: it can be sent to another process, which makes the system
    once for all its samples.

    Args:
        run, task, entrant, personas, failures: see `SampleRunner`.
        options: of the system.
    """

    def __init__(
        self,
        run: str,
        task: Task,
        entrant: SystemSpec,
        personas: Personas,
        failures: dict[str, str],
        options: dict[str, Any],
    ) -> None:
        self._given = run, task, entrant, personas, failures, options
        self._made: SampleRunner | None = None
        self._making = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """What has been made of a memory stays with it."""
        return Asking, self._given

    def __call__(
        self, memory: EpisodicMemory, sample: Sample, attempt: Attempt | None = None, /
    ) -> Row:
        """The row of a sample."""
        del attempt
        with self._making:
            if self._made is None:
                self._made = self._runner(memory)
        return self._made(sample)

    def _runner(self, memory: EpisodicMemory) -> SampleRunner:
        import dspy

        run, task, entrant, personas, failures, options = self._given
        # A memory of its own: no system profits from what another one has embedded.
        own = EpisodicMemory(memory.store, memory.embedder)
        system = entrant.make(task, own, personas, **options)
        meter = dspy.settings.lm.meter
        return SampleRunner(run, task, entrant, system, personas, failures, meter, memory.store)
