"""PersonaAgent without a part (paper, ablation): the same program under another persona.

A part is taken away by what the persona says: its profile, directives, actions and trust. So each
ablation is a function of personas, and nothing of the agent is written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import dspy

from personaagent.data import FusionWeights, Persona
from personaagent.errors import DataError
from personaagent.programs.agent import PersonaAgent

PERSONAL_TOOLS = ("recall", "habits", "read_profile")


@dataclass(frozen=True, slots=True)
class Personas:
    """The personas of the users of one task: `aligned`, and `first`, as they were before; `paper`,
    as the paper's own alignment makes them.

    `strangers` says for a user whose persona the swap test takes instead.
    """

    aligned: Mapping[str, Persona] = field(default_factory=dict)
    first: Mapping[str, Persona] = field(default_factory=dict)
    strangers: Mapping[str, str] = field(default_factory=dict)
    paper: Mapping[str, Persona] = field(default_factory=dict)


Part = Callable[[Personas, str], Persona]
"""The persona that a user is answered under."""


class UnderPersona(dspy.Module):
    """PersonaAgent under the personas that `part` gives it, whatever is published.

    Source: Zhang et al., 2025 (PersonaAgent), its method and its ablations. Adapted: see `part`.
    """

    def __init__(self, agent: PersonaAgent, personas: Personas, part: Part) -> None:
        super().__init__()
        self.agent = agent
        self.personas = personas
        self.part = part

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        """As every system, with all that PersonaAgent gives back.

        Raises:
            DataError: the user has no such persona; for a user without a history it is
                `Persona(user, task)`.
        """
        persona = self.part(self.personas, user)
        return self.agent(query=query, user=user, before=before, exclude=exclude, persona=persona)


class WithoutMemory(UnderPersona):
    """The same where no interaction of the user exists: nothing is recalled, nothing votes.

    Source: "w/o memory" in the paper's ablation. Adapted: see `without_memory`.
    """

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        mine = self.agent.memory.store.of(user).interactions(self.agent.task.name)
        return super().forward(query, user, before=before, exclude=[one.id for one in mine])


def full(personas: Personas, user: str) -> Persona:
    """The aligned persona as it is."""
    return _of(personas.aligned, user, "aligned")


def in_the_paper(personas: Personas, user: str) -> Persona:
    """The persona that the paper's own alignment makes (`optimizers.paper`); the LM chooses."""
    return _of(personas.paper, user, "paper's")


def without_alignment(personas: Personas, user: str) -> Persona:
    """The paper's "w/o alignment": the first persona, from which nothing was learned of the user.

    Where a cohort's prior began it, it stays as it is; else it is the profile alone, and the LM
    chooses the actions.
    """
    first = _of(personas.first, user, "first")
    if first.trust != FusionWeights():
        return first
    return Persona(user, first.task, profile=first.profile)


def without_persona(personas: Personas, user: str) -> Persona:
    """The paper's "w/o persona": the empty persona; the LM chooses actions on the user's memory.

    Trust and standing actions go as well, for they are learned with the persona and carried by it.
    """
    return Persona(user, _of(personas.aligned, user, "aligned").task)


def without_memory(personas: Personas, user: str) -> Persona:
    """The paper's "w/o memory": the aligned directives and trust; no profile, items or recall.

    Of the standing actions those of general tools stay; where the LM would choose, none do, for it
    would choose among the tools of memory. The posterior knows the labels' meanings alone (see
    `WithoutMemory`), so that what is left is PersonaAgent without anything of this user's answers.
    """
    aligned = _of(personas.aligned, user, "aligned")
    actions = tuple(one for one in aligned.actions or () if one.tool not in PERSONAL_TOOLS)
    return replace(aligned, profile="", items=(), actions=actions)


def without_action(personas: Personas, user: str) -> Persona:
    """The paper's "w/o action": the aligned persona in the prompt, and nothing else.

    The user's label posterior is an action on memory that needs no LM, so it goes too.
    """
    aligned = _of(personas.aligned, user, "aligned")
    return replace(aligned, actions=(), trust=_alone(aligned.trust))


def without_habit(personas: Personas, user: str) -> Persona:
    """Ours: the aligned persona and its actions, but the user's label posterior has no say."""
    aligned = _of(personas.aligned, user, "aligned")
    return replace(aligned, trust=_alone(aligned.trust))


def without_lean(personas: Personas, user: str) -> Persona:
    """Ours: the aligned persona, but the LM's preference for some labels is not corrected."""
    aligned = _of(personas.aligned, user, "aligned")
    return replace(aligned, trust=replace(aligned.trust, lean={}))


def without_meanings(personas: Personas, user: str) -> Persona:
    """Ours: the aligned persona, but labels mean what they are called, and not what they mean to
    the cohort."""
    aligned = _of(personas.aligned, user, "aligned")
    return replace(aligned, trust=replace(aligned.trust, meanings=None))


def _alone(trust: FusionWeights) -> FusionWeights:
    """The LM without habit, as far as it is trusted."""
    return replace(trust, habit=0.0)


def swapped(personas: Personas, user: str) -> Persona:
    """Ours, the swap test: everything that another user's persona says, on the user's own memory.

    A persona that fits its own user no better than this has learned the task and not the user.
    """
    if user not in personas.strangers:
        raise DataError(f"user '{user}' has nobody to swap personas with")
    return replace(_of(personas.aligned, personas.strangers[user], "aligned"), user=user)


def _of(personas: Mapping[str, Persona], user: str, which: str) -> Persona:
    if user not in personas:
        raise DataError(f"user '{user}' has no {which} persona: align it before it is evaluated")
    return personas[user]
