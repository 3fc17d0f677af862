"""The report: one page of HTML that needs nothing else, and its Markdown twin.

It is made of the answers alone, from a results database or from files. Texts of a data set enter it
only with `traces`, from the work folder beside the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from personaagent.errors import DataError
from personaagent.experiments import document, plots
from personaagent.experiments.analysis import Analysis, analyse
from personaagent.experiments.curves import Curve, curves, lm_comparisons
from personaagent.experiments.document import Block, Figure, Heading, Items, Paragraph
from personaagent.experiments.formatting import (
    METHOD,
    NONE,
    gap,
    headline,
    mean_loss,
    p_value,
    protocol_lines,
    smallest,
    titles,
    verdict,
)
from personaagent.experiments.lineup import OURS
from personaagent.experiments.results import Results
from personaagent.experiments.sections import section, swap_test
from personaagent.experiments.tables import curve_table
from personaagent.files import private_file
from personaagent.table import Table

TITLE = "PersonaAgent: evaluation"


def write_report(
    answers: Results, folder: Path, *, traces: bool = False, only: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Write `report.html` and `report.md` with its figures; their paths.

    Args:
        answers: every figure comes from here.
        folder: is made where it is missing.
        traces: some answers in full. They quote the data set: mind its licence.
        only: ids of experiments; by default all of them.

    Raises:
        DataError: there is no experiment.
    """
    analyses = analyses_of(answers, only)
    drawn = list(curves(analyses))
    told = {
        (one.experiment.id, system)
        for curve in drawn
        for one in curve.points.values()
        for system in curve.systems
    }
    # A variant has no section of its own if the curves tell of all that it asked.
    apart = [
        one
        for one in analyses
        if not one.experiment.protocol["variant"]
        or any((one.experiment.id, line.system) not in told for line in one.lines)
    ]
    names = titles(apart)
    blocks = [
        *_introduction(apart, names),
        *(
            block
            for one, name in zip(apart, names, strict=True)
            for block in section(one, name, answers, traces=traces)
        ),
        *(block for curve in drawn for block in _curve(curve)),
        *lm_comparisons(analyses, answers),
        Heading("How this was computed"),
        Items(METHOD),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    page, twin = folder / "report.html", folder / "report.md"
    if traces:  # they quote
        private_file(page)
        private_file(twin)
    page.write_text(document.to_html(TITLE, blocks), encoding="utf-8")
    twin.write_text(document.to_markdown(TITLE, blocks, folder), encoding="utf-8")
    return page, twin


def analyses_of(answers: Results, only: Sequence[str] = ()) -> list[Analysis]:
    """The experiments that there are answers to, computed, by task.

    Raises:
        DataError: there is none.
    """
    wanted = [one for one in answers.experiments() if not only or one.id in only]
    if not wanted:
        raise DataError(f"{answers.path}: there is no experiment in it yet")
    return sorted((analyse(answers, one) for one in wanted), key=lambda one: one.task.name)


def _introduction(analyses: Sequence[Analysis], names: Sequence[str]) -> Iterator[Block]:
    if len(analyses) == 1:
        (one,) = analyses
        if told := [said for said in (verdict(one), swap_test(one)) if said]:
            yield Items(told)
        return
    yield Heading("All experiments")
    rows = [[name, *_result(one)] for one, name in zip(analyses, names, strict=True)]
    yield Table(columns=["Experiment", *_RESULT], rows=rows, right=_RESULT)
    yield Paragraph(
        "PersonaAgent against the best of the baselines on the same samples, and the best of the "
        "floors, which use no LM. Difference, p and the smallest effect are against the baseline."
    )
    if told := [
        f"{name}: {said}"
        for one, name in zip(analyses, names, strict=True)
        if (said := swap_test(one))
    ]:
        yield Items(told)
    yield Heading("All systems", 3)
    systems = dict.fromkeys(line.system for one in analyses for line in one.lines)
    columns = [f"{at}. {one.task.name}" for at, one in enumerate(analyses, 1)]
    values = [[system, *(_value(one, system) for one in analyses)] for system in systems]
    measured = [one.headline.title for one in analyses]
    counts = [str(_n(one)) for one in analyses]
    rows = [["", *measured], ["samples", *counts], *values]
    yield Table(columns=["System", *columns], rows=rows, right=columns)
    yield Paragraph("Intervals are in the section of each experiment.")


_RESULT = [
    "n",
    "PersonaAgent [95 %]",
    "best baseline",
    "best floor",
    "difference [95 %]",
    "p (Holm)",
    "smallest effect",
]


def _result(analysis: Analysis) -> list[str]:
    """What PersonaAgent comes to beside the best of the others."""
    n = str(_n(analysis))
    ours = analysis.line(OURS)
    if ours is None:
        return [n, *[NONE] * 6]
    others = [
        f"{one.other} {_value(analysis, one.other)}" if one else NONE
        for one in (ours.against_best, ours.against_floor)
    ]
    compared = [NONE] * 3
    if one := ours.against_best:
        compared = [gap(one.difference), p_value(one.corrected), smallest(one)]
    return [n, headline(analysis, OURS), *others, *compared]


def _curve(curve: Curve) -> Iterator[Block]:
    """A table and a figure for a number that was varied while all else stayed the same."""
    one = curve.first
    metric = one.headline
    yield Heading(f"{one.task.name}: {metric.title} by {curve.title}")
    yield Items(list(protocol_lines(one, varied=curve.name)))
    made, points = curve_table(curve), list(curve.points.values())
    yield made
    label = f"{one.experiment.id[:8]}-{curve.name}"
    caption = f"{metric.title} by {curve.title}, with 95 % intervals"
    yield Figure(label, plots.curves(curve), caption)
    yield Heading("Loss", 3)
    rows = [[s, *(mean_loss(at.line(s)) for at in points)] for s in curve.systems]
    yield replace(made, rows=rows)
    yield Heading("Seconds a sample", 3)
    rows = [[s, *(_seconds(at, s) for at in points)] for s in curve.systems]
    yield replace(made, rows=rows)
    if any(persona.steps for at in points for persona in at.personas):
        yield Heading("The alignments", 3)
        yield replace(made, columns=["", *made.right], rows=[*_alignments(points)])


def _alignments(points: Sequence[Analysis]) -> Iterator[list[str]]:
    """How many of their steps were accepted, and what they cost a user."""
    counted = ("steps", "accepted", "calls", "tokens")
    sums = [{name: sum(getattr(p, name) for p in at.personas) for name in counted} for at in points]
    users = [max(len(at.personas), 1) for at in points]
    each = list(zip(sums, users, strict=True))
    yield ["steps accepted", *(f"{one['accepted']} of {one['steps']}" for one in sums)]
    yield ["LM calls a user", *(f"{one['calls'] / count:.1f}" for one, count in each)]
    yield ["tokens a user", *(f"{one['tokens'] / count:,.0f}" for one, count in each)]


def _value(analysis: Analysis, system: str) -> str:
    line = analysis.line(system)
    score = line and line.scores[analysis.headline.name]
    return f"{score.value:.3f}" if score else NONE


def _seconds(analysis: Analysis, system: str) -> str:
    line = analysis.line(system)
    return f"{line.cost.seconds:.2f}" if line else NONE


def _n(analysis: Analysis) -> int:
    return len(analysis.experiment.protocol["samples"])
