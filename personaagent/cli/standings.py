"""An experiment as it is watched, and its main table at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from personaagent.cli import render
from personaagent.evaluation.analysis import Analysis
from personaagent.evaluation.cohort import EvaluationData
from personaagent.evaluation.metrics import metrics_of
from personaagent.evaluation.wording import NONE, interval, p_value, title, verdict

if TYPE_CHECKING:
    from personaagent.evaluation.runner import Progress


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


def show(analysis: Analysis, screen: Console) -> None:
    """The main table, and what it says about PersonaAgent."""
    metric = analysis.headline
    score = f"{metric.title} [95 %]"
    numbers = ("p vs\nplain", "p vs\nbest", "seconds", "calls", "tokens")
    shown = render.table("system", "n", score, *numbers, right=numbers)
    for line in analysis.lines:
        cost = line.cost
        shown.add_row(
            f"{line.system} (floor)" if line.role == "floor" else line.system,
            f"{line.n} ({line.failed} failed)" if line.failed else str(line.n),
            interval(line.scores.get(metric.name)),
            *(
                p_value(one.corrected) if one else NONE
                for one in (line.against_plain, line.against_best)
            ),
            f"{cost.seconds:.2f}",
            f"{cost.calls:.1f}",
            f"{cost.input_tokens + cost.output_tokens:,.0f}",
        )
    for column, least in zip(shown.columns, (10, 2, 11, 5, 5, 7, 5, 6), strict=True):
        column.overflow, column.min_width = "fold", least
    screen.print(render.plain(title(analysis)), soft_wrap=True)
    screen.print(shown)
    if said := verdict(analysis):
        screen.print(said, soft_wrap=True)
