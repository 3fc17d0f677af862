"""Where answers come from: a results database, or the files that it was written to."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from personaagent.errors import DataError
from personaagent.experiments.results import ExperimentRow, PersonaRow, Results, Row


class Answers(Protocol):
    """What every figure of a report is computed from."""

    @property
    def path(self) -> Path:
        """Where they are kept."""
        ...

    def experiments(self) -> list[ExperimentRow]:
        """Every experiment, the oldest first."""
        ...

    def rows(self, run: str, samples: Collection[str]) -> list[Row]:
        """The rows of some samples of a run, by system and in the order of `samples`."""
        ...

    def personas(self, run: str, users: Collection[str]) -> list[PersonaRow]:
        """What the personas of these users cost."""
        ...

    def map_of(self, experiment: str) -> dict[str, Any] | None:
        """How alike its users are (`PersonaMap`), where that was looked at."""
        ...


def take_over(known: Answers, results: Results) -> None:
    """Write what is known into a database as if it had been asked here; what stands there stays.

    Raises:
        DataError: answers are texts, which predictions do not hold.
    """
    for one in known.experiments():
        if not one.protocol["task"]["labels"]:
            raise DataError(
                f"{known.path}: it holds the scores of texts and not the texts, so these answers "
                "cannot be gone on from"
            )
        samples = one.protocol["samples"]
        results.begin(one.id, one.run, one.protocol)
        for row in known.rows(one.run, samples):
            results.record(row)
        for persona in known.personas(one.run, set(samples.values())):
            results.record_persona(persona)
