"""An experiment as it is watched, and its tables at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from personaagent.cli import render
from personaagent.experiments.analysis import Analysis, Line
from personaagent.experiments.cohort import EvaluationData
from personaagent.experiments.curves import curves
from personaagent.experiments.formatting import NONE, interval, p_value, title, verdict
from personaagent.experiments.metrics import metrics_of
from personaagent.experiments.sections import map_lines, swap_test

if TYPE_CHECKING:
    from personaagent.experiments.runner import Progress


class Watch:
    """A bar for every stage, with the time left and the score so far; a line when it is done."""

    def __init__(self, screen: Console, data: EvaluationData) -> None:
        self._screen = screen
        self._metric = metrics_of(data.task)[0].title
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}", markup=False),
        )
        self._bar = render.progress(*columns, on=screen)
        self._row: Any = None
        self._stage = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Say something above the bar."""
        self._screen.print(text, soft_wrap=True)

    def __call__(self, now: Progress) -> None:
        parts = [] if now.score is None else [f"{self._metric} {now.score:.3f}"]
        parts += [f"{now.failed} failed"] if now.failed else []
        said = ", ".join(parts)
        if now.stage != self._stage:
            if self._row is not None:
                self._bar.remove_task(self._row)
            self._stage = now.stage
            self._row = self._bar.add_task(
                now.stage, total=now.total, completed=now.done, said=said
            )
        self._bar.update(self._row, completed=now.done, said=said)
        if now.done == now.total:
            self.note(f"{now.stage}: {now.done} of {now.total}" + (f", {said}" if said else ""))


def show_all(analyses: Sequence[Analysis], screen: Console) -> None:
    """Every experiment's main table, and what it says about PersonaAgent and its personas."""
    for one in analyses:
        screen.print(render.plain(title(one)), soft_wrap=True)
        screen.print(_main_table(one))
        said = [verdict(one), swap_test(one)]
        if one.map:
            said += [f"{line}." for line in map_lines(one.map)]
        for line in filter(None, said):
            screen.print(line, soft_wrap=True)


def show_costs(analyses: Sequence[Analysis], screen: Console) -> None:
    """What an answer of every system costs, beside its quality."""
    for one in analyses:
        metric = one.headline
        numbers = [metric.title, "seconds [95 %]", "median", "calls", "tokens\nin", "cached", "out"]
        paid = any(line.cost.money for line in one.lines)
        numbers += ["$ per\n1,000"] if paid else []
        shown = render.table("system", "n", *numbers, right=numbers)
        for line in one.lines:
            cost = line.cost
            score = line.scores.get(metric.name)
            shown.add_row(
                _name(line),
                _count(line),
                f"{score.value:.3f}" if score else NONE,
                interval(line.seconds),
                f"{cost.median:.3f}",
                f"{cost.calls:.1f}",
                *(
                    f"{tokens:,.0f}"
                    for tokens in (cost.input_tokens, cost.cached_tokens, cost.output_tokens)
                ),
                *([f"{1_000 * cost.money:.2f}"] if paid else []),
            )
        screen.print(render.plain(title(one)), soft_wrap=True)
        screen.print(shown)


def show_curves(analyses: Sequence[Analysis], screen: Console) -> None:
    """A table for every number that was varied; experiments that are on no curve as always."""
    found = list(curves(analyses))
    for curve in found:
        one = curve.first
        columns = [f"{value:g}" for value in curve.values]
        shown = render.table("system", *columns, right=columns)
        for system in curve.systems:
            lines = [at.line(system) for at in curve.points.values()]
            scores = [line.scores[one.headline.name] if line else None for line in lines]
            shown.add_row(system, *map(interval, scores))
        screen.print(
            render.plain(f"{title(one, varied=curve.name)}: {one.headline.title} by {curve.title}"),
            soft_wrap=True,
        )
        screen.print(shown)
    drawn = {one.experiment.id for curve in found for one in curve.points.values()}
    show_all([one for one in analyses if one.experiment.id not in drawn], screen)


def _main_table(analysis: Analysis) -> Table:
    metric = analysis.headline
    score = f"{metric.title} [95 %]"
    numbers = ("p vs\nplain", "p vs\nbest", "p vs\nours", "seconds", "calls", "tokens")
    shown = render.table("system", "n", score, *numbers, right=numbers)
    for line in analysis.lines:
        cost = line.cost
        compared = (line.against_plain, line.against_best, line.against_ours)
        shown.add_row(
            _name(line),
            _count(line),
            interval(line.scores.get(metric.name)),
            *(p_value(one.corrected) if one else NONE for one in compared),
            f"{cost.seconds:.2f}",
            f"{cost.calls:.1f}",
            f"{cost.input_tokens + cost.output_tokens:,.0f}",
        )
    for column, least in zip(shown.columns, (10, 2, 11, 5, 5, 5, 7, 5, 6), strict=True):
        column.overflow, column.min_width = "fold", least
    return shown


def _name(line: Line) -> str:
    return f"{line.system} (floor)" if line.role == "floor" else line.system


def _count(line: Line) -> str:
    return f"{line.n} ({line.failed} failed)" if line.failed else str(line.n)
