"""A small contest for the tests: an inbox with two habitual users, and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dspy
from rulebook import RuleBook, stand_in
from standins import HashEmbedder
from worlds_of_mail import DAWN, INBOX, book, habitual

from personaagent.data import Interaction, Query
from personaagent.experiments.cohort import EvaluationData, Sample
from personaagent.experiments.lineup import SystemSpec, entrants
from personaagent.experiments.results import ExperimentRow, Results
from personaagent.experiments.runner import Experiment
from personaagent.experiments.trace import workplace
from personaagent.lm.model import PersonaLM
from personaagent.memory import EpisodicMemory, Store

USERS = ("ann", "bob")
NAMES = ("non-personalized", "rag", "personaagent")


def inbox(users: Sequence[str] = USERS, questions: int = 6, history: int = 18) -> EvaluationData:
    """Every user has a history and then questions of the same habits."""
    samples, past = [], []
    for at, user in enumerate(users):
        life = habitual(user, history + questions, seed=at + 3)
        past += life[:history]
        for one in life[history:]:
            query = Query(f"q-{one.id}", user, one.task, one.query, one.response, one.time)
            samples.append(Sample(query, user))

    def histories(owners: Iterable[str] | None) -> Iterator[Interaction]:
        wanted = None if owners is None else set(owners)
        return (one for one in past if wanted is None or one.user in wanted)

    return EvaluationData(INBOX, "inbox", "d" * 64, tuple(samples), histories)


@dataclass
class World:
    """A results database with its workplace and an LM that answers from a rule book."""

    folder: Path
    data: EvaluationData
    book: RuleBook
    lm: PersonaLM
    results: Results
    memory: EpisodicMemory

    def experiment(self, systems: Sequence[SystemSpec] | None = None, **options: Any) -> Experiment:
        chosen = entrants(NAMES) if systems is None else systems
        return Experiment(self.data, chosen, self.lm, self.memory, self.results, **options)

    def run(self, systems: Sequence[SystemSpec] | None = None, **options: Any) -> ExperimentRow:
        id = self.experiment(systems, **options)()
        return next(one for one in self.results.experiments() if one.id == id)

    def asked(self) -> list[str]:
        """What the LM was asked, but for the warm-up."""
        return [one.everything for one in self.book.asked if "Say OK." not in one.text]


@contextmanager
def world(folder: Path, data: EvaluationData | None = None, **options: Any) -> Iterator[World]:
    chosen = data or inbox()
    path = folder / "results.db"
    ruled = book()
    with Store(workplace(path, chosen.digest, None)) as store, Results(path) as results:
        memory = EpisodicMemory(store, HashEmbedder(dimensions=512))
        yield World(folder, chosen, ruled, stand_in(ruled, **options), results, memory)


def failing(name: str = "fragile", on: str = "dog") -> SystemSpec:
    """A system that fails on every query that holds a word, and else says `work`."""

    class Fragile(dspy.Module):
        def forward(self, query: str, user: str, **_: Any) -> dspy.Prediction:
            if on and on in query:
                raise ValueError("it broke")
            return dspy.Prediction(answer="work", distribution=None, actions=[], memories=[])

    return SystemSpec(name, lambda task, memory, personas, /, **options: Fragile())


LATER = DAWN + timedelta(days=400)
