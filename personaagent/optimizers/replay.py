"""Replay: answering past queries again under a persona, each one once.

The expensive part is the LM's answer, and it depends only on what the LM is shown. So answers are
kept by that view: a candidate costs calls only where it shows the LM something new. With a journal
they outlive the process.

`Student` is what replay, and so PersonaAlignment, needs of a program.
"""

from __future__ import annotations

import contextvars
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import dspy

from personaagent.data import Interaction, Meanings, Persona, Task
from personaagent.data.style import EXAMPLE
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.slots import in_turn
from personaagent.optimizers.worklog import Record, once
from personaagent.programs import QueryScope
from personaagent.programs.directive_matching import match_directives
from personaagent.programs.fusion import grade, trusted
from personaagent.programs.persona import PersonaParameter
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.user_label_prior import user_label_prior


class Student(Protocol):
    """A DSPy program that answers under a persona: `PersonaAgent`, or `Personal` around any other.

    One that also has `act` takes standing actions, which are then settled by replay.
    """

    task: Task
    persona: PersonaParameter
    retrieve: MemoryRetriever

    @property
    def memory(self) -> EpisodicMemory:
        """With the user's interactions and published persona."""
        ...

    def persona_of(self, user: str) -> Persona:
        """The persona that a user's alignment starts from."""
        ...

    def replay(self, past: Interaction, persona: Persona) -> dspy.Prediction:
        """Answer a past query again: `answer`, and `lm`, label to probability or None."""
        ...

    def deepcopy(self) -> Self:
        """A copy with parameters of its own, as of any `dspy.Module`."""
        ...


T = TypeVar("T")
EASY = 0.7  # loss of a text from which it is a lesson
RIGHT = 7 / 8  # of the task's score: a rating of ten that is off by one teaches noise
Asked = tuple[Persona, Interaction]
"""A past query, and the persona that it is to be answered under."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One past query answered again.

    `loss` is the negative log-likelihood of the user's true response: in nats where the answer is a
    distribution, fused as it would be served; in nats a word where the LM can be held to a text;
    else, where `likelihoods` is false, 1 minus the task's score. `score` is the task's, 1 is best.
    `stated` says that the LM told its label only, so that `lm` is what such an answer counts for.
    `found` is what was looked up and shown.
    """

    interaction: Interaction
    answer: str
    lm: dict[str, float] | None
    habit: dict[str, float] | None
    loss: float
    score: float
    likelihoods: bool
    stated: bool = False
    found: str = ""

    @property
    def teaches(self) -> bool:
        """Whether the user answered otherwise: another label, a rating or a text that is far
        off."""
        return self.loss > EASY if self.lm is None else self.score < RIGHT


class Replay:
    """Replays interactions with an agent, side by side on the LM's slots."""

    def __init__(self, agent: Student, record: Record) -> None:
        self.agent = agent
        self.record = record
        self._said: dict[str, dict[str, Any]] = {}
        self._habits: dict[tuple[str, Meanings | None], dict[str, float] | None] = {}
        self._views: dict[tuple[str, str], str] = {}

    def __call__(self, persona: Persona, past: Sequence[Interaction]) -> list[Replayed]:
        """The interactions in their order, answered under the persona."""
        self.ask([(persona, one) for one in past])
        return [self._graded(persona, one) for one in past]

    def ask(self, asked: Iterable[Asked]) -> None:
        """Have these answered, all of them side by side: replays of them then cost no call.

        For whoever knows ahead what several replays will need: one after the other, each would
        leave slots idle until its own last answer is there.
        """
        due = {self.key(*one): one for one in asked}
        due = {key: one for key, one in due.items() if key not in self._said}
        found = parallel(self._say, list(due.items()), getattr(dspy.settings.lm, "slots", 1))
        self._said.update(zip(due, found, strict=True))

    def helps(self, persona: Persona, before: Sequence[Replayed], most: int | None = None) -> bool:
        """Whether a persona does better where another one can be bettered (on the first so many of
        these): where it was wrong, and with any text. Only if it does is it worth the calls to
        replay the rest."""
        wrong = [one for one in before if one.teaches or one.lm is None][:most]
        after = self(persona, [one.interaction for one in wrong])
        return sum(old.loss - new.loss for old, new in zip(wrong, after, strict=True)) > 0

    def sure(
        self, personas: Iterable[Persona], needs: Callable[[Persona], Iterable[Asked]]
    ) -> list[Asked]:
        """What will be needed whichever of the personas it is for, by what the LM is shown."""
        needed = [{self.key(*one): one for one in needs(persona)} for persona in personas]
        return [one for key, one in needed[0].items() if all(key in other for other in needed)]

    def view(self, persona: Persona, past: Interaction) -> str:
        """What the LM would be shown; equal views give equal answers.

        Of the memory that was before the query, so it stays the same for as long as we work.
        """
        of = persona.hash, past.id
        if of not in self._views:
            self._views[of] = self._view(persona, past)
        return self._views[of]

    def _view(self, persona: Persona, past: Interaction) -> str:
        situation, persona = QueryScope.replaying(self.agent.task, past), unquoted(persona, past)
        shown = [
            persona.standing_prompt(),
            # of the directives that fit, the LM is shown the first
            [one.text for one in match_directives(self.agent.memory, persona, situation)[:1]],
            None if persona.actions is None else [[a.tool, a.arguments] for a in persona.actions],
        ]
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]

    def key(self, persona: Persona, past: Interaction) -> str:
        """Names the answer: of what the LM said, which knows nothing of habit and trust."""
        return f"replay/{past.id}/{self.view(persona, past)}"

    def _say(self, due: tuple[str, Asked]) -> dict[str, Any]:
        key, (persona, past) = due
        with once(self.record, key) as entry:
            if entry.missing:
                said = self.agent.replay(past, unquoted(persona, past))
                seen = "\n".join(one.text for one in said.get("observations") or () if one.text)
                entry.value = {
                    "answer": said.answer,
                    "lm": said.lm,
                    "nats": said.get("nats"),
                    "stated": said.get("stated", False),
                    **({"found": seen} if seen else {}),
                }
        return dict(entry.value)

    def _graded(self, persona: Persona, past: Interaction) -> Replayed:
        said = self._said[self.key(persona, past)]
        task, lm, found = self.agent.task, said["lm"], said.get("found", "")
        if lm is None:
            score, nats = task.score(said["answer"], past.response), said.get("nats")
            loss = 1 - score if nats is None else nats
            known = nats is not None
            return Replayed(past, said["answer"], None, None, loss, score, known, found=found)
        trust = trusted(persona.trust)
        habit = self._habit(past, trust.meanings)
        response, loss, score = grade(task, (lm, habit, past.response), trust)
        told = said.get("stated", False)
        return Replayed(past, response, lm, habit, loss, score, True, told, found)

    def _habit(self, past: Interaction, meanings: Meanings | None) -> dict[str, float] | None:
        """Of the memory that was before the query, so it stays the same for as long as we work."""
        known = past.id, meanings
        if known not in self._habits:
            situation = QueryScope.replaying(self.agent.task, past)
            self._habits[known] = user_label_prior(self.agent.retrieve, situation, meanings)
        return self._habits[known]


def unquoted(persona: Persona, past: Interaction) -> Persona:
    """The persona without the user's own answer to this query among its examples of writing: an LM
    would copy it, and the replay tell nothing."""
    items = tuple(
        one for one in persona.items if one.topic != EXAMPLE or past.id not in one.support
    )
    return persona if items == persona.items else replace(persona, items=items)


def together(*works: Callable[[], Any]) -> list[Any]:
    """What these give, all of them side by side where that is of use."""
    if in_turn():
        return [work() for work in works]
    return parallel(lambda work: work(), works, len(works))


def parallel(work: Callable[[Any], T], items: Sequence[Any], threads: int) -> list[T]:
    """Work on items side by side, each in a copy of this context (LM, adapter, meters)."""
    if len(items) == 1:  # a thread would do no more
        return [contextvars.copy_context().run(work, items[0])]
    contexts = [contextvars.copy_context() for _ in items]
    with ThreadPoolExecutor(max(1, min(threads, len(items) or 1))) as pool:
        return list(pool.map(lambda context, item: context.run(work, item), contexts, items))
