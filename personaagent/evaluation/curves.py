"""Curves: experiments that differ in one number alone, in the order of that number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from personaagent.evaluation.analysis import Analysis, Line

# What `scale`, `coldstart` and `efficiency` vary; another setting (a replay of 4) is no axis.
AXES = {
    "interactions": "known interactions a user",
    "k": "memories read (k)",
    "batch": "interactions a step of the alignment (batch)",
    "iterations": "steps of the alignment (iterations)",
    "parallel": "samples side by side",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """Experiments by the value of the number that was varied, at least two."""

    name: str
    points: dict[float, Analysis]

    @property
    def title(self) -> str:
        """What the number is."""
        return AXES[self.name]

    @property
    def values(self) -> list[float]:
        """The values, the smallest first."""
        return list(self.points)

    @property
    def first(self) -> Analysis:
        """The experiment of the smallest value: task and metric are those of all."""
        return next(iter(self.points.values()))

    @property
    def systems(self) -> list[str]:
        """Who answered in at least two of them."""
        found = dict.fromkeys(line.system for one in self.points.values() for line in one.lines)
        return [system for system in found if len(self.series(system)) > 1]

    def series(self, system: str) -> list[tuple[float, Line]]:
        """A system's lines where it answered."""
        lines = ((value, one.line(system)) for value, one in self.points.items())
        return [(value, line) for value, line in lines if line]


def curves(analyses: Sequence[Analysis]) -> Iterator[Curve]:
    """Every curve that there is: all else is the same in its experiments."""
    groups: dict[tuple[str, str], dict[float, Analysis]] = {}
    for one in analyses:
        said = one.experiment.protocol
        variant = said["variant"]
        settings = {**said.get("settings", {}), **variant}
        for name in AXES:
            if isinstance(value := settings.get(name), int | float):
                rest = {key: other for key, other in variant.items() if key != name}
                groups.setdefault((name, repr(_asked(said, rest))), {})[value] = one
    for (name, _), found in groups.items():
        if len(found) > 1:
            curve = Curve(name, dict(sorted(found.items())))
            if curve.systems:
                yield curve


def _asked(protocol: dict[str, Any], rest: dict[str, Any]) -> list[Any]:
    """What is the same in all experiments of a curve."""
    return [
        protocol["task"]["name"],
        protocol["data"]["digest"],
        protocol["lm"],
        protocol["cohort"],
        sorted(rest.items()),
    ]
