"""Who can be evaluated: the systems of `systems.py` by name, and the part that each plays in a
report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from personaagent.data.validation import suggestion
from personaagent.errors import DataError

if TYPE_CHECKING:
    from personaagent.experiments.systems import Maker

Role = Literal["floor", "baseline", "personaagent", "ablation"]

NON_PERSONALIZED = "non-personalized"
OURS = "personaagent"
SWAPPED = "personaagent-swapped"
PAPER = "personaagent-paper"
LORA = "lora"
FLOORS = ("majority", "zero-shot", "knn")


@dataclass(frozen=True, slots=True)
class SystemSpec:
    """A system under its name, and how to make it."""

    name: str
    make: Maker

    @property
    def role(self) -> Role:
        """A floor needs no LM, an ablation is PersonaAgent without a part, and the paper's own way
        is what ours is compared with."""
        if self.name == PAPER:
            return "baseline"
        if self.name == OURS:
            return "personaagent"
        if self.name.startswith(OURS):
            return "ablation"
        return "floor" if self.name in FLOORS else "baseline"

    @property
    def needs_personas(self) -> bool:
        """Whether it answers under aligned personas."""
        return self.name.startswith(OURS)


def entrants(names: Sequence[str] = ()) -> list[SystemSpec]:
    """The systems of these names, each once; where none is named all, but for the swap test, which
    takes a second user's persona for every user, the paper's own way, which takes a second
    alignment, and fine-tuning, which needs an extra and minutes a user.

    Raises:
        DataError: there is none of a name.
    """
    from personaagent.experiments.systems import SYSTEMS

    for name in names:
        if name not in SYSTEMS:
            raise DataError(f"there is no system '{name}'{suggestion(name, SYSTEMS)}")
    chosen = names or [name for name in SYSTEMS if name not in (SWAPPED, PAPER, LORA)]
    return [SystemSpec(name, SYSTEMS[name]) for name in dict.fromkeys(chosen)]
