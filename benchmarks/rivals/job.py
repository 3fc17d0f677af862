"""What an arm of the comparison is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.rivals.program import Prompt
from personaagent.data import Interaction, Persona, Task
from personaagent.lm import PersonaLM
from personaagent.memory import EpisodicMemory

Product = Prompt | Persona | None
"""What answers: a prompt of DSPy's student, a persona of PersonaAgent, or the bare question."""


@dataclass(frozen=True)
class Lesson:
    """One user's material, the same for every arm.

    `past` is all of it, oldest first; an optimizer that wants two sets learns from `writing` and
    decides by `judging`. `calls` is what is left of the budget, `lm` counts them. `trail` takes
    what would be served if the arm were stopped: (calls, product).
    """

    task: Task
    user: str
    past: Sequence[Interaction]
    judging: Sequence[Interaction]
    start: Persona
    memory: EpisodicMemory
    lm: PersonaLM
    calls: int
    seed: int
    trail: list[tuple[int, Product]] = field(default_factory=list)

    @property
    def writing(self) -> list[Interaction]:
        """What does not judge."""
        judges = {one.id for one in self.judging}
        return [one for one in self.past if one.id not in judges]


@dataclass(frozen=True, slots=True)
class Arm:
    """An optimizer under its name; `about` says how it is set.

    `learn` raises what stops it. `profile`: it starts from the profile, and pays for it. Not all
    arms optimize: some only say where the others start.
    """

    name: str
    about: str
    learn: Callable[[Lesson], Product]
    ours: bool = False
    profile: bool = True
    optimizes: bool = True
