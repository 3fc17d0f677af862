"""Alignments as they are watched: one with what it does now and every step as it ends, many as a
bar for all and a line for each that is under way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from personaagent.cli import render
from personaagent.optimizers.log import BARE, EARLIER, LONGER, MEMORIES, REACH, STYLE, WITHOUT
from personaagent.progress import bars
from personaagent.table import Table

if TYPE_CHECKING:
    from personaagent.data import Persona
    from personaagent.lm import Meter
    from personaagent.optimizers import AlignmentLog, Candidate, Gradient, Step, Watched
    from personaagent.service import Compiled


_NEW = 3  # new directives of a candidate that are shown


class Display:
    """Shows one line of progress while it is open, and the steps above it."""

    def __init__(
        self, screen: Console, meter: Meter, iterations: int, champion: Persona | None
    ) -> None:
        self.screen = screen
        self._iterations = iterations
        self._reaches = _reaches(champion)
        columns = SpinnerColumn(), TextColumn("{task.description}"), _Spent(meter)
        self._bar = bars(*columns, TimeElapsedColumn(), on=screen)
        self._row = self._bar.add_task("embedding what is new", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def doing(self, what: str) -> None:
        """Say what is done now."""
        self._bar.update(self._row, description=what)

    def note(self, text: str) -> None:
        """Say what did not work."""
        self.screen.print(Text(render.plain(text), style="yellow"), soft_wrap=True)

    def rolled_back(self, watched: Watched) -> None:
        """Say that the champion's parent is back, and show steps against it."""
        self.note(f"{render.name_of(watched.champion)} is {watched.reason}")
        self._reaches = _reaches(watched.champion)

    def step(self, step: Step) -> None:
        """Show a step that has ended."""
        if not step.candidates:
            verdict = "no candidate" if step.batch else "nothing to learn from"
        else:
            verdict = "kept" if step.accepted is None else "accepted"
        named = {
            BARE: "starts without a profile",
            EARLIER: "undecided before",
            LONGER: "a longer profile",
            MEMORIES: "memories",
            REACH: "rules that reached too far",
            STYLE: "how the user writes",
            WITHOUT: "answers without a persona",
        }
        name = named.get(step.iteration, f"iteration {step.iteration} of {self._iterations}")
        head = f"{name}: {verdict}"
        self.screen.print(
            Text.assemble((head, "bold"), f", loss {step.loss:.3f}, score {step.score:.0%}")
        )
        for gradient in step.gradients:
            self.screen.print(_gradient(gradient))
        for at, candidate in enumerate(step.candidates):
            self.screen.print(self._candidate(candidate, accepted=at == step.accepted))
        for note in step.notes:
            self.screen.print(Text(f"  left out: {render.short(note)}", "dim"))
        if step.accepted is not None:
            self._reaches = _reaches(step.candidates[step.accepted].persona)
        if 0 <= step.iteration < self._iterations:
            self.iteration(step.iteration + 1)

    def iteration(self, number: int) -> None:
        """Say that this iteration is under way."""
        self.doing(f"iteration {number} of {self._iterations}: replaying and criticizing")

    def _candidate(self, candidate: Candidate, *, accepted: bool) -> Text:
        judged = f"loss {candidate.loss:.3f}, score {candidate.score:.0%}"
        style = "green" if accepted else "dim"
        reason = render.short(candidate.reason, 100)
        lines = [
            Text.assemble(
                ("  ✓ " if accepted else "  · ", style), f"candidate: {judged}", f"; {reason}"
            )
        ]
        after, before = _reaches(candidate.persona), self._reaches
        new = [text for text in after if text not in before]
        gone = [text for text in before if text not in after]
        for sign, texts in (("+", new), ("-", gone)):
            for text in texts[:_NEW]:
                lines.append(Text(f"      {sign} {render.short(text, 90)}", render.SIGNS[sign]))
            if len(texts) > _NEW:
                lines.append(Text(f"      {sign} {len(texts) - _NEW} more", render.SIGNS[sign]))
        for text in after:
            if text in before and after[text] != before[text]:
                moved = f"reach {before[text]:.3g} to {after[text]:.3g}"
                lines.append(Text(f"      ~ {render.short(text, 90)} {moved}", "yellow"))
        return Text("\n").join(lines)


class _Spent(ProgressColumn):
    """What the LM has cost so far."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def render(self, task: Task) -> Text:  # noqa: ARG002
        used = self._meter.snapshot()
        return Text(
            f"{render.counted(used.calls, 'LM call')}, {render.counted(used.tokens, 'token')}",
            style="dim",
        )


def scores(log: AlignmentLog, held_out: dict[str, float] | None) -> Table:
    """Loss and score before and after."""
    judged = f"on {render.counted(len(log.judged), 'replayed interaction')}"
    rows = [
        [f"loss {judged}", f"{log.first_loss:.3f}", f"{log.last_loss:.3f}"],
        [f"score {judged}", f"{log.first_score:.0%}", f"{log.last_score:.0%}"],
    ]
    if held_out:
        asked = render.counted(round(held_out["questions"]), "held-out question")
        rows.append([f"score on {asked}", f"{held_out['first']:.0%}", f"{held_out['last']:.0%}"])
    return Table(columns=["", "before", "after"], rows=rows, right=["before", "after"])


def _gradient(gradient: Gradient) -> Text:
    said = render.short(gradient.response, 30)
    truth = render.short(gradient.truth, 30)
    return Text.assemble(
        (f"  {render.plain(gradient.interaction)} ", "cyan"),
        f"said {said}, the user {truth}: ",
        (render.short(gradient.text), "italic"),
    )


def _reaches(persona: Persona | None) -> dict[str, float]:
    """By the text of a directive how near a query must be to its cue."""
    return {one.text: one.reach for one in persona.directives} if persona else {}


class Board:
    """Shows who is worked on while it is open; a line for everyone who is done stays above."""

    def __init__(self, screen: Console, users: int, iterations: int) -> None:
        self._screen = screen
        self._iterations = iterations
        self._lock = threading.Lock()
        self._bar = bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            on=screen,
        )
        self._all = self._bar.add_task("users", total=users)
        self._rows: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, user: str) -> Line:
        """A user's work begins, and is told to the line."""
        with self._lock:
            self._rows[user] = self._bar.add_task(render.short(user, 30), total=self._iterations)
        return Line(self._screen, render.plain(user), partial(self._step, user))

    def _step(self, user: str, step: Step) -> None:
        with self._lock:
            said = f"{render.short(user, 30)}, loss {step.loss:.3f}"
            self._bar.update(self._rows[user], completed=step.iteration, description=said)

    def end(self, user: str, outcome: Compiled | str) -> None:
        """A user is done, or has failed for this reason."""
        with self._lock:
            if user in self._rows:
                self._bar.remove_task(self._rows.pop(user))
            self._bar.advance(self._all)
        if isinstance(outcome, str):
            sign, style, said = "✗", "red", outcome
        else:
            sign, style, said = "✓", "green", verdict(outcome)
        line = Text.assemble((f"{sign} {render.plain(user)}", style), f": {render.plain(said)}")
        self._screen.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """Say what did not work."""
        self._screen.print(Text(render.plain(text), style="yellow"), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Line:
    """One of many who are worked on, as a `Trainer` tells of them: what should be known stands
    above the bars under its name; steps go to `watch`."""

    screen: Console
    who: str
    watch: Callable[[Step], None] | None = None

    def note(self, text: str) -> None:
        """Say it."""
        said = f"{self.who}: {render.plain(text)}"
        self.screen.print(said, style="yellow", soft_wrap=True)

    def rolled_back(self, watched: Watched) -> None:
        """Say that the champion's parent is back."""
        self.note(f"{render.name_of(watched.champion)} is {watched.reason}")

    def step(self, step: Step) -> None:
        """A step has ended."""
        if self.watch:
            self.watch(step)


def verdict(done: Compiled) -> str:
    """What became of a user's persona, and why."""
    if not done.changed:
        return f"{render.name_of(done.persona)} stays: nothing better was found; {done.stopped}"
    return f"{render.name_of(done.persona)}, {done.reason}"
