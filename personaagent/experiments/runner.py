"""An experiment: a cohort, its personas, and every system's answer to every sample, each once.

What is done is written down as it is done, so a run that is stopped goes on with the same command.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from personaagent.data import Choice, Interaction
from personaagent.experiments.aligner import Aligner, Alignments
from personaagent.experiments.cohort import Cohort, EvaluationData, Sample
from personaagent.experiments.lineup import PAPER, SWAPPED, SystemSpec
from personaagent.experiments.metrics import values
from personaagent.experiments.protocol import (
    Setup,
    digest,
    lm_to_dict,
    package_version,
    run_key,
    same_without_personas,
    task_to_dict,
)
from personaagent.experiments.results import Results, Row
from personaagent.experiments.sample_runner import Asking
from personaagent.experiments.trace import forget_traces
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.paper import as_in_the_paper

if TYPE_CHECKING:
    from personaagent.experiments.ablations import Personas
    from personaagent.lm import PersonaLM
    from personaagent.optimizers.ray_pool import RayPool

PERSONAS = "personas"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: `PERSONAS` or a system; `score` is the first metric so far."""

    stage: str
    done: int
    total: int
    failed: int = 0
    score: float | None = None


class Experiment:
    """One LM on one cohort of one data set, under several systems.

    Args:
        data: samples and histories.
        systems: who answers, in this order.
        lm: the same one for all; it also aligns the personas.
        memory: over a store that is this data set's own (see `trace.workplace`).
        results: where answers go.
        cohort: which samples; default: all.
        setup: cold start and alignment.
        parallel: samples side by side; default: what the setup says, else the LM's slots.
        pool: desks with the same LM and memory, that do the work instead of this process, on all
            their slots.
        watch: called when a stage begins and after each of its items.
    """

    def __init__(
        self,
        data: EvaluationData,
        systems: Sequence[SystemSpec],
        lm: PersonaLM,
        memory: EpisodicMemory,
        results: Results,
        *,
        cohort: Cohort | None = None,
        setup: Setup | None = None,
        parallel: int | None = None,
        pool: RayPool[EpisodicMemory] | None = None,
        watch: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self.data = data
        self.systems = list(systems)
        self.lm = lm.copy(cache=False)  # an answer of the response cache would cost no seconds
        self.memory = memory
        self.results = results
        self.cohort = cohort or Cohort()
        self.setup = setup or Setup()
        self.parallel = self.setup.parallel or parallel or lm.slots
        self.watch = watch
        self.samples = self.cohort.choose(data.samples)
        self.run = run_key(data, lm, self.setup, memory.embedder.fingerprint)
        self.id = digest([self.run, asdict(self.cohort)])
        self._remembered = False
        key = run_key(data, lm, self.setup.of_personas, memory.embedder.fingerprint)
        asked = frozenset(one.query.id for one in data.samples)
        self.pool = pool
        self.aligner = Aligner(
            Alignments(
                data.task,
                key,
                {**self.setup.alignment, "prior": self.setup.prior},
                data.cutoffs,
                asked,
            ),
            memory,
            lambda row: results.record_persona(replace(row, run=self.run)),
            pool,
        )
        varied = {
            name: value
            for name, value in self.setup.alignment.items()
            if name in ("iterations", "batch")
        }
        self.paper = Aligner(
            Alignments(data.task, f"{key}/{PAPER}", as_in_the_paper(**varied), data.cutoffs, asked),
            memory,
            lambda row: results.record_persona(replace(row, run=f"{self.run}/{PAPER}")),
            pool,
        )

    def __call__(self) -> str:
        """Answer what has no answer yet; the experiment's id in the results database.

        Raises:
            BudgetError: the budget is used up; what was answered is kept.
            LMError: a local LM does not answer at all.
        """
        import dspy

        self.results.begin(self.id, self.run, self.protocol())
        self.results.adopt(self.run, self._alike(), _plain(self.systems))
        todo = {entrant.name: self._unanswered(entrant) for entrant in self.systems}
        if not any(todo.values()):
            return self.id
        self.remember()
        with dspy.context(lm=self.lm):
            self._warm_up()
            ours = [one for one in self.systems if one.needs_personas and one.name != PAPER]
            needing = [one for s in ours for one in todo[s.name]]
            users = dict.fromkeys(one.query.user for one in needing)
            swapped = dict.fromkeys(one.query.user for one in todo.get(SWAPPED, ()))
            personas = self.personas([*users, *(self.strangers[user] for user in swapped)])
            if papers := list(dict.fromkeys(one.query.user for one in todo.get(PAPER, ()))):
                personas = replace(personas, paper=self._aligned(self.paper, papers).aligned)
            for entrant in self.systems:
                if todo[entrant.name]:
                    self._ask(entrant, todo[entrant.name], personas)
        return self.id

    def personas(self, users: Iterable[str]) -> Personas:
        """The personas of these users, each aligned unless it is already.

        Raises:
            BudgetError: the budget is used up; what was done is kept.
        """
        self.remember()
        personas = self._aligned(self.aligner, list(dict.fromkeys(users)))
        return replace(personas, strangers=self.strangers)

    def _aligned(self, aligner: Aligner, users: Sequence[str]) -> Personas:
        import dspy

        def watch(done: int, failed: int) -> None:
            self.watch(Progress(PERSONAS, done, len(users), failed))

        with dspy.context(lm=self.lm):
            return aligner.align(users, watch)

    @cached_property
    def strangers(self) -> Mapping[str, str]:
        """By user of the store, under whose persona the swap test answers."""
        if SWAPPED not in {one.name for one in self.systems}:
            return {}
        return self.data.strangers

    def redo(self, systems: Sequence[SystemSpec], *, personas: bool = False) -> int:
        """Forget what these systems answered, and the personas; how many answers it was."""
        users = {one.query.user for one in self.data.samples}
        for entrant in systems:
            for user in users:
                forget_traces(self.memory.store, self.run, entrant.name, user)
        if personas:
            self.aligner.forget(users)
            self.paper.forget(users)
        for run in self._alike():  # else they would be found there again
            self.results.forget(run, _plain(systems))
        names = [entrant.name for entrant in systems]
        return self.results.forget(self.run, names, personas=personas)

    def protocol(self) -> dict[str, Any]:
        """Everything about the experiment, in plain values without any text of the data."""
        return {
            "task": task_to_dict(self.data.task),
            "lm": lm_to_dict(self.lm, self.data.task),
            "data": {
                "name": self.data.name,
                "digest": self.data.digest,
                "samples": len(self.data.samples),
                "users": len({one.owner for one in self.data.samples}),
            },
            "cohort": asdict(self.cohort),
            "samples": {one.query.id: one.query.user for one in self.samples},
            "users": len({one.owner for one in self.samples}),
            "systems": {one.name: one.role for one in self.systems},
            "latest": self.setup.latest,
            "variant": self.setup.variant,
            "settings": self.setup.settings,
            "prior": self.setup.prior and self.setup.prior.to_dict(),
            "embedder": self.memory.embedder.fingerprint,
            "parallel": self.parallel,
            "version": package_version(),
            "date": datetime.now(UTC).date().isoformat(),
        }

    def _alike(self) -> set[str]:
        """The other runs, in which systems without personas were asked the same."""
        mine = self.protocol()
        return {
            one.run
            for one in self.results.experiments()
            if one.run != self.run and same_without_personas(one.protocol, mine)
        }

    def _unanswered(self, entrant: SystemSpec) -> list[Sample]:
        done = self.results.answered(self.run, entrant.name)
        return [one for one in self.samples if one.query.id not in done]

    def remember(self) -> None:
        """Import the histories, once; everyone's where wrong options are made of others' papers."""
        if self._remembered:
            return
        owners = {one.owner for one in self.samples}
        if self.strangers:
            learned = {self.strangers[one.query.user] for one in self.samples}
            owners |= {one.owner for one in self.data.samples if one.query.user in learned}
        everyone = isinstance(self.data.task, Choice)
        found: dict[tuple[str, str], Interaction] = {}
        for one in self.data.histories(None if everyone else owners):
            found.setdefault((one.user, one.id), one)
        given = list(found.values())
        if self.setup.latest is not None:
            given = self._latest(given, self.setup.latest)
        self.memory.store.add(given)
        self.memory.ready(*dict.fromkeys(one.query.user for one in self.samples), progress=True)
        self._remembered = True

    def _latest(self, given: Sequence[Interaction], count: int) -> list[Interaction]:
        """Of each user the latest so many before the first question; without times the last."""
        cutoffs = self.data.cutoffs
        of: dict[str, list[Interaction]] = {}
        for one in given:
            cutoff = cutoffs.get(one.user)
            if one.time is None or cutoff is None or one.time < cutoff:
                of.setdefault(one.user, []).append(one)
        epoch = datetime.min.replace(tzinfo=UTC)
        ordered = (sorted(mine, key=lambda one: one.time or epoch) for mine in of.values())
        return [one for mine in ordered for one in (mine[-count:] if count else ())]

    def _warm_up(self) -> None:
        """Load the models before the first sample is timed; the LM only where calls are free."""
        self.memory.embed("warm up")
        if self.lm.identity.price == 0:
            self.lm("Say OK.", max_tokens=16)

    def _ask(self, entrant: SystemSpec, todo: Sequence[Sample], personas: Personas) -> None:
        """Ask one system, side by side; each answer is written down before the next one starts."""
        options: dict[str, Any] = {} if self.setup.k is None else {"k": self.setup.k}
        failures = (self.paper if entrant.name == PAPER else self.aligner).failures
        asking = Asking(self.run, self.data.task, entrant, personas, failures, options)

        before = self.results.rows(self.run, [one.query.id for one in self.samples])
        scores = [
            _score(self, row)
            for row in before
            if row.system == entrant.name and row.answer is not None
        ]
        total, failed = len(self.samples), 0

        def watch() -> None:
            score = sum(scores) / len(scores) if scores else None
            done = len(scores) + failed
            self.watch(Progress(entrant.name, done, total, failed, score))

        watch()
        with closing(self._rows(asking, todo)) as rows:
            for row in rows:
                if row.answer is None:
                    failed += 1
                else:
                    scores.append(_score(self, row))
                watch()

    def _rows(self, asking: Asking, todo: Sequence[Sample]) -> Generator[Row]:
        """The rows of these samples, as they are written down."""
        if self.pool is not None:
            for done in self.pool.side_by_side(asking, todo):
                if done.error is not None:
                    raise done.error
                assert done.result is not None
                self.results.record(done.result)
                yield done.result
            return

        def record(sample: Sample) -> Row:
            row = asking(self.memory, sample)
            self.results.record(row)
            return row

        pool = ThreadPoolExecutor(self.parallel)
        try:
            asked = [pool.submit(contextvars.copy_context().run, record, one) for one in todo]
            for future in as_completed(asked):
                yield future.result()
        finally:  # also on Ctrl-C: what is under way ends and is kept, the rest is not begun
            pool.shutdown(cancel_futures=True)


def _plain(systems: Sequence[SystemSpec]) -> list[str]:
    return [one.name for one in systems if not one.needs_personas]


def _score(experiment: Experiment, row: Row) -> float:
    return float(values(experiment.data.task, [row.gold], [row.answer or ""])[0])
