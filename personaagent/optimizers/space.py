"""What a tuner searches: which choices of a setting vary, and between what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from personaagent.data import Choice, Task, Text
from personaagent.data.rows import suggestion
from personaagent.errors import DataError
from personaagent.memory.retrieval import RETRIEVERS
from personaagent.optimizers.setting import Setting
from personaagent.programs.tools import MOST_MEMORIES

NUMBERS = {
    "batch": (1, 16),
    "iterations": (1, 8),
    "k": (1, MOST_MEMORIES),
    "profile": (10, 80),
}
"""Whole numbers, from and to, searched on a logarithmic scale: small ones differ more."""

NAMES = {
    "update": ("auto", "rewrite"),
    "accept": ("replay", "always"),
    "retriever": tuple(RETRIEVERS),
}

ALWAYS = ("batch", "iterations", "k")
ON_REQUEST = ("update", "accept", "retriever", "profile")
PAPER = {"batch": 3, "iterations": 1, "k": 4, "update": "rewrite", "accept": "always"}
"""The paper's defaults (section 4.1: three interactions, one iteration, four memories)."""


class Suggesting(Protocol):
    """The part of an Optuna trial that suggests values."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Space:
    """The choices that vary, by name; the others are those of `base`."""

    base: Setting
    names: tuple[str, ...] = ALWAYS

    @classmethod
    def of(cls, task: Task, base: Setting, beyond: Iterable[str] = ()) -> Self:
        """The space for a task, with choices that vary on request.

        Raises:
            DataError: such a choice is not known, or the task leaves none.
        """
        wanted = list(dict.fromkeys(beyond))
        for name in wanted:
            if name not in ON_REQUEST:
                raise DataError(f"'{name}' cannot be searched{suggestion(name, ON_REQUEST)}")
        if "update" in wanted and isinstance(task, Choice | Text):
            raise DataError(
                f"task '{task.name}': its personas can only be rewritten, so there is no update "
                "to search"
            )
        return cls(base, (*ALWAYS, *wanted))

    def suggest(self, trial: Suggesting) -> Setting:
        """The setting that a trial is to try."""
        chosen: dict[str, Any] = {
            name: trial.suggest_int(name, *NUMBERS[name], log=True)
            if name in NUMBERS
            else trial.suggest_categorical(name, NAMES[name])
            for name in self.names
        }
        return replace(self.base, **chosen)

    def first(self) -> list[dict[str, Any]]:
        """What is tried before anything is searched: the paper's defaults, then the base."""
        base = {name: getattr(self.base, name) for name in self.names}
        paper = {name: PAPER.get(name, base[name]) for name in self.names}
        return [paper, base] if paper != base else [base]
