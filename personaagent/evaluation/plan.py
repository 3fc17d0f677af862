"""Plans: the experiments that answer one question, each a setup and who is asked in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from personaagent.evaluation.lineup import Entrant
from personaagent.evaluation.protocol import Setup


@dataclass(frozen=True, slots=True)
class Trial:
    """One experiment of a plan."""

    setup: Setup
    systems: tuple[Entrant, ...]


Axes = Mapping[str, Sequence[int]]
"""Values by name: "interactions", "k", "batch", "iterations"."""


def scaling(base: Setup, systems: Sequence[Entrant], axes: Axes) -> list[Trial]:
    """The base, then its variants, one axis at a time.

    What alignment is told changes only who answers under aligned personas: the others are not asked
    again for it. A value that the base has already is the base.
    """
    return list(_once([Trial(base, tuple(systems)), *_varied(base, systems, axes)]))


def cold_starts(base: Setup, systems: Sequence[Entrant], counts: Sequence[int]) -> list[Trial]:
    """Users of whom only the latest so many interactions are known."""
    return list(_once(_varied(base, systems, {"interactions": counts})))


def _varied(base: Setup, systems: Sequence[Entrant], axes: Axes) -> Iterator[Trial]:
    for name, values in axes.items():
        for value in values:
            setup = base.varied(name, value)
            changed = setup.alignment != base.alignment
            asked = tuple(one for one in systems if one.needs_personas or not changed)
            if asked:
                yield Trial(setup, asked)


def _once(trials: Sequence[Trial] | Iterator[Trial]) -> Iterator[Trial]:
    seen: list[Setup] = []
    for trial in trials:
        if trial.setup not in seen:
            seen.append(trial.setup)
            yield trial
