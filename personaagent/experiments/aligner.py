"""The personas that an experiment's systems answer under: aligned once a user, then kept.

A persona learns only from what was before its user's first question, and never from a question of
the data set. The store's journal holds the work as it is done, so an alignment that is stopped goes
on, and one that is done is not done again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from personaagent.data import (
    Choice,
    Interaction,
    Persona,
    Task,
    self_supervised_pairs,
)
from personaagent.errors import BudgetError, DataError, PersonaAgentError
from personaagent.experiments.ablations import Personas
from personaagent.experiments.results import PersonaRow
from personaagent.memory import EpisodicMemory
from personaagent.optimizers import AlignmentLog, PersonaAlignment, Prior
from personaagent.optimizers.user_pool import side_by_side
from personaagent.programs import PersonaAgent

if TYPE_CHECKING:
    from personaagent.optimizers.ray_pool import RayPool
    from personaagent.optimizers.user_pool import Attempt

_DONE = "aligned"
_SEED = 0  # of made-up questions; a cohort's seed must not change a persona


class Alignments:
    """Aligns one user after another, as work of a pool: it can be sent to another process.

    Args:
        task: what is answered.
        run: the key of the run; names the journals.
        alignment: arguments of `PersonaAlignment`.
        cutoffs: by user, from when on nothing may be known.
        queries: ids of the questions; an interaction of such an id is none to learn from.
    """

    def __init__(
        self,
        task: Task,
        run: str,
        alignment: Mapping[str, Any],
        cutoffs: Mapping[str, datetime],
        queries: frozenset[str],
    ) -> None:
        self.task = task
        self.run = run
        self.alignment = dict(alignment)
        self.cutoffs = dict(cutoffs)
        self.queries = queries
        self._made: dict[str, list[Interaction]] | None = None
        self._making = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """What has been made of a memory stays with it."""
        return Alignments, (self.task, self.run, self.alignment, self.cutoffs, self.queries)

    @property
    def journal(self) -> str:
        """The name of a user's journal."""
        return f"evaluation/{self.run}/persona"

    def __call__(
        self, memory: EpisodicMemory, user: str, attempt: Attempt | None = None, /
    ) -> tuple[Persona, Persona, dict[str, Any]]:
        """The first and the aligned persona, and what they cost."""
        del attempt
        journal = memory.store.of(user).journal(self.journal)
        done = journal.get(_DONE)
        if done is None:
            done = journal.put(_DONE, self._align(memory, user))
        return Persona.from_dict(done["first"]), Persona.from_dict(done["persona"]), done["cost"]

    def _align(self, memory: EpisodicMemory, user: str) -> dict[str, Any]:
        trainset = self._trainset(memory, user)
        if not trainset:  # nothing is known of a new user
            nobody = self._unknown(user)
            return _done(nobody, nobody, 0.0, {})
        record = memory.store.of(user).journal(self.journal)
        started = time.perf_counter()
        alignment = PersonaAlignment(record=record, **self.alignment)
        agent = PersonaAgent(self.task, memory)
        log: AlignmentLog = alignment.compile(agent, trainset=trainset).alignment
        accepted = sum(step.accepted is not None for step in log.steps)
        seconds = time.perf_counter() - started
        return _done(log.first, log.last, seconds, log.usage, len(log.steps), accepted)

    def _unknown(self, user: str) -> Persona:
        import dspy

        prior: Prior | None = self.alignment.get("prior")
        if prior is None:
            return Persona(user, self.task.name)
        return prior.persona(user, self.task.name, dspy.settings.lm.fingerprint)

    def _trainset(self, memory: EpisodicMemory, user: str) -> list[Interaction]:
        if isinstance(self.task, Choice):
            made = self.pairs(memory).get(user, [])
            if made:
                return made
        return [one for one in self._past(memory, user) if one.response]

    def _past(self, memory: EpisodicMemory, user: str) -> list[Interaction]:
        past = memory.store.of(user).interactions(self.task.name, before=self.cutoffs.get(user))
        return [one for one in past if one.id not in self.queries]

    def pairs(self, memory: EpisodicMemory) -> dict[str, list[Interaction]]:
        """Questions made of everyone's papers, for histories without answers (LaMP-1); once."""
        with self._making:
            if self._made is None:
                self._made = self._pairs(memory)
            return self._made

    def _pairs(self, memory: EpisodicMemory) -> dict[str, list[Interaction]]:
        users = [one.user for one in memory.store.users(self.task.name)]
        papers = {
            user: [one for one in self._past(memory, user) if not one.response] for user in users
        }
        made: dict[str, list[Interaction]] = {}
        try:
            for one in self_supervised_pairs(papers, _SEED):
                made.setdefault(one.user, []).append(one)
        except DataError:  # all papers are one user's: there are no wrong options
            return {}
        return made


@dataclass
class Aligner:
    """Aligns the personas of one run's users.

    Args:
        work: how, with what, and for which run.
        memory: with the users' histories.
        keep: called with what each persona cost.
        pool: desks with the same memory, that do the work instead of this process.
    """

    work: Alignments
    memory: EpisodicMemory
    keep: Callable[[PersonaRow], None]
    pool: RayPool[EpisodicMemory] | None = None
    failures: dict[str, str] = field(default_factory=dict)
    """Why a user has no persona."""

    def align(self, users: Sequence[str], watch: Callable[[int, int], None]) -> Personas:
        """The personas of these users, but for those in `failures`, side by side on the slots of
        DSPy's LM.

        Args:
            watch: called with how many are done and how many of them failed.

        Raises:
            BudgetError: the budget is used up; what was done is kept.
        """
        import dspy

        found: dict[str, tuple[Persona, Persona]] = {}
        watch(0, 0)
        coming = (
            side_by_side(partial(self.work, self.memory), users, dspy.settings.lm)
            if self.pool is None
            else self.pool.side_by_side(self.work, users)
        )
        with closing(coming) as everyone:
            for done in everyone:
                if isinstance(done.error, PersonaAgentError) and not isinstance(
                    done.error, BudgetError
                ):
                    self.failures[done.user] = str(done.error)
                elif done.error is not None:
                    raise done.error
                else:
                    assert done.result is not None
                    first, aligned, cost = done.result
                    self.keep(PersonaRow(self.work.run, done.user, **cost))
                    found[done.user] = first, aligned
                watch(len(found) + len(self.failures), len(self.failures))
        known = {user: found[user] for user in users if user in found}
        return Personas(
            {user: aligned for user, (_, aligned) in known.items()},
            {user: first for user, (first, _) in known.items()},
        )

    def forget(self, users: Iterable[str]) -> None:
        """Drop the personas of these users and the work that led to them."""
        for user in users:
            self.memory.store.of(user).journal(self.work.journal).clear()


def _done(
    first: Persona,
    persona: Persona,
    seconds: float,
    usage: Mapping[str, float],
    steps: int = 0,
    accepted: int = 0,
) -> dict[str, Any]:
    cost = {
        "hash": persona.hash,
        "steps": steps,
        "accepted": accepted,
        "directives": len(persona.directives),
        "seconds": seconds,
        "calls": int(usage.get("calls", 0)),
        "tokens": int(usage.get("input_tokens", 0) + usage.get("output_tokens", 0)),
        "money": usage.get("money", 0.0),
    }
    return {"first": first.to_dict(), "persona": persona.to_dict(), "cost": cost}
