"""An experiment as it is watched, and its tables at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from personaagent.cli import render
from personaagent.experiments.analysis import Analysis
from personaagent.experiments.cohort import EvaluationData
from personaagent.experiments.curves import curves
from personaagent.experiments.formatting import protocol_lines, title, verdict
from personaagent.experiments.metrics import metrics_of
from personaagent.experiments.sections import map_lines, swap_test
from personaagent.experiments.tables import cost_table, curve_table, main_table
from personaagent.progress import bars

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
        self._bar = bars(*columns, on=screen)
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
        screen.print(main_table(one).rich())
        said = [verdict(one), swap_test(one)]
        if one.map:
            said += [f"{line}." for line in map_lines(one.map)]
        for line in filter(None, said):
            screen.print(line, soft_wrap=True)


def show_costs(analyses: Sequence[Analysis], screen: Console) -> None:
    """What an answer of every system costs, beside its quality."""
    for one in analyses:
        screen.print(render.plain(title(one)), soft_wrap=True)
        screen.print(next(protocol_lines(one)), soft_wrap=True)
        screen.print(cost_table(one).rich())


def show_curves(analyses: Sequence[Analysis], screen: Console) -> None:
    """A table for every number that was varied; experiments that are on no curve as always."""
    found = list(curves(analyses))
    for curve in found:
        one = curve.first
        head = f"{title(one, varied=curve.name)}: {one.headline.title} by {curve.title}"
        screen.print(render.plain(head), soft_wrap=True)
        screen.print(curve_table(curve).rich())
    drawn = {one.experiment.id for curve in found for one in curve.points.values()}
    show_all([one for one in analyses if one.experiment.id not in drawn], screen)
