"""A questions file of LaMP in memory, as tests look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from personaagent.data import ImportSummary, Interaction, Query, Task
from personaagent.experiments.lamp_files import LampQuestion, iter_lamp


@dataclass(frozen=True)
class LampData:
    """Its questions; `skipped` says what was malformed, one message a record."""

    questions: tuple[LampQuestion, ...]
    skipped: tuple[str, ...]

    @property
    def queries(self) -> tuple[Query, ...]:
        return tuple(question.query for question in self.questions)

    @property
    def interactions(self) -> tuple[Interaction, ...]:
        """The histories of all questions, each interaction once."""
        every = {one.id: one for question in self.questions for one in reversed(question.history)}
        seen = dict.fromkeys(one.id for question in self.questions for one in question.history)
        return tuple(every[id] for id in seen)


def read_lamp(
    task: Task,
    questions: Path,
    outputs: Path | None = None,
    *,
    users: str | Sequence[str] | None = None,
    limit: int | None = None,
    skip_malformed: bool = False,
) -> LampData:
    account = ImportSummary(skip_malformed)
    read = tuple(iter_lamp(task, questions, outputs, users=users, limit=limit, account=account))
    return LampData(read, tuple(account.malformed))
