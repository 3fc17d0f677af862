"""What PersonaAlignment needs of a program."""

from __future__ import annotations

from typing import Protocol, Self

import dspy

from personaagent.data import Interaction, Persona, Task
from personaagent.memory import EpisodicMemory
from personaagent.programs.persona import PersonaParameter
from personaagent.programs.retriever import MemoryRetriever


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
