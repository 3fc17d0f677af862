"""LMs side by side: the same samples, data and setup under another LM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from personaagent.evaluation.analysis import Analysis
from personaagent.evaluation.answers import Answers
from personaagent.evaluation.comparison import Comparison, compare
from personaagent.evaluation.document import Block, Heading, Paragraph, Table
from personaagent.evaluation.results import Row
from personaagent.evaluation.statistics import holm
from personaagent.evaluation.wording import NONE, interval, lm_name, p_value, signed


def lm_comparisons(analyses: Sequence[Analysis], answers: Answers) -> Iterator[Block]:
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


def _pair(one: Analysis, other: Analysis, answers: Answers) -> Iterator[Block]:
    common = [line.system for line in one.lines if line.role != "floor" and other.line(line.system)]
    found = {
        system: gap for system in common if (gap := _gap(one, other, system, answers)) is not None
    }
    if not found:
        return
    corrected = holm([gap.p for gap in found.values()])
    metric = one.headline
    names = [lm_name(each.experiment.protocol, one.task) for each in (one, other)]
    rows = []
    for (system, gap), p in zip(found.items(), corrected, strict=True):
        lines = [each.line(system) for each in (one, other)]
        rows.append(
            [
                system,
                *(interval(line.scores[metric.name]) if line else NONE for line in lines),
                str(gap.n),
                f"{signed(gap.difference.value)} "
                f"[{signed(gap.difference.low)}, {signed(gap.difference.high)}]",
                p_value(p),
                *(f"{line.cost.seconds:.2f}" if line else NONE for line in lines),
            ]
        )
    yield Heading(f"{one.task.name}: {names[0]} and {names[1]}")
    yield Paragraph(
        f"{metric.title} of the same systems on the same samples; the difference is the second "
        "minus the first, p is that of a paired test, corrected (Holm) over this table."
    )
    columns = ["System", *names, "n", "difference [95 %]", "p (Holm)"]
    yield Table([*columns, *(f"seconds, {name}" for name in names)], rows)


def _gap(one: Analysis, other: Analysis, system: str, answers: Answers) -> Comparison | None:
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


def _rows(analysis: Analysis, system: str, answers: Answers) -> dict[str, Row]:
    experiment = analysis.experiment
    rows = answers.rows(experiment.run, experiment.protocol["samples"])
    return {row.sample: row for row in rows if row.system == system and row.answer is not None}
