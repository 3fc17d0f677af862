"""Experiments side by side: curves of those that differ in one number alone, and the same samples
under another LM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from personaagent.experiments.analysis import Analysis, Line
from personaagent.experiments.comparison import Comparison, compare
from personaagent.experiments.document import Block, Heading, Paragraph
from personaagent.experiments.formatting import NONE, gap, interval, lm_name, p_value
from personaagent.experiments.results import Results, Row
from personaagent.experiments.statistics import holm
from personaagent.table import Table

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


def lm_comparisons(analyses: Sequence[Analysis], answers: Results) -> Iterator[Block]:
    """For every two experiments that differ in the LM (or in how it is read) alone: each system
    under one and the other, with a paired test."""
    groups: dict[str, list[Analysis]] = {}
    for one in analyses:
        said = one.experiment.protocol
        same = [said["task"], said["data"]["digest"], said["cohort"], said["variant"]]
        groups.setdefault(repr(same), []).append(one)
    for group in groups.values():
        for other in group[1:]:
            yield from _pair(group[0], other, answers)


def _pair(one: Analysis, other: Analysis, answers: Results) -> Iterator[Block]:
    common = [line.system for line in one.lines if line.role != "floor" and other.line(line.system)]
    found = {
        system: compared
        for system in common
        if (compared := _compared(one, other, system, answers)) is not None
    }
    if not found:
        return
    corrected = holm([compared.p for compared in found.values()])
    metric = one.headline
    names = [lm_name(each.experiment.protocol, one.task) for each in (one, other)]
    rows = []
    for (system, compared), p in zip(found.items(), corrected, strict=True):
        lines = [each.line(system) for each in (one, other)]
        rows.append(
            [
                system,
                *(interval(line.scores[metric.name]) if line else NONE for line in lines),
                str(compared.n),
                gap(compared.difference),
                p_value(p),
                *(f"{line.cost.seconds:.2f}" if line else NONE for line in lines),
            ]
        )
    yield Heading(f"{one.task.name}: {names[0]} and {names[1]}")
    yield Paragraph(
        f"{metric.title} of the same systems on the same samples; the difference is the second "
        "minus the first, p is that of a paired test, corrected (Holm) over this table."
    )
    numbers = [*names, "n", "difference [95 %]", "p (Holm)"]
    numbers += [f"seconds, {name}" for name in names]
    yield Table(columns=["System", *numbers], rows=rows, right=numbers)


def _compared(one: Analysis, other: Analysis, system: str, answers: Results) -> Comparison | None:
    """The second LM minus the first on the samples that both answered."""
    first, second = _rows(one, system, answers), _rows(other, system, answers)
    common = [sample for sample in second if sample in first]
    if not common:
        return None
    return compare(
        one.task,
        system,
        [second[sample] for sample in common],
        [first[sample] for sample in common],
    )


def _rows(analysis: Analysis, system: str, answers: Results) -> dict[str, Row]:
    experiment = analysis.experiment
    rows = answers.rows(experiment.run, experiment.protocol["samples"])
    return {row.sample: row for row in rows if row.system == system and row.answer is not None}
