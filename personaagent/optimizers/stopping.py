"""When an alignment ends before its last iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from personaagent.data import validation
from personaagent.optimizers.log import Step


class Stopping(Protocol):
    """Looks at the steps so far."""

    def stops(self, steps: Sequence[Step]) -> str | None:
        """Why to stop, or None to go on."""
        ...


class Patience:
    """Stops after so many steps in a row without a new persona."""

    def __init__(self, steps: int = 2) -> None:
        validation.whole("steps", steps, 1)
        self.steps = steps

    def stops(self, steps: Sequence[Step]) -> str | None:
        latest = steps[-self.steps :]
        if len(latest) == self.steps and all(step.accepted is None for step in latest):
            return f"{self.steps} steps in a row brought nothing better"
        return None
