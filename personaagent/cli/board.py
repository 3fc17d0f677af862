"""Many users' alignments as they are watched: a bar for all, a line for each that is under way."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from personaagent.cli import render

if TYPE_CHECKING:
    from personaagent.optimizers import Step, Watched
    from personaagent.service import Compiled


class Board:
    """Shows who is worked on while it is open; a line for everyone who is done stays above."""

    def __init__(self, screen: Console, users: int, iterations: int) -> None:
        self._screen = screen
        self._iterations = iterations
        self._lock = threading.Lock()
        self._bar = render.progress(
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

    def begin(self, user: str) -> Row:
        """A user's work begins, and is told to the row."""
        with self._lock:
            self._rows[user] = self._bar.add_task(render.short(user, 30), total=self._iterations)
        return Row(self, user)

    def step(self, user: str, step: Step) -> None:
        """A step of a user has ended."""
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
class Row:
    """One user on the board, as a `Trainer` tells of it."""

    board: Board
    user: str

    def note(self, text: str) -> None:
        """Say it under the user's name."""
        self.board.note(f"{self.user}: {text}")

    def rolled_back(self, watched: Watched) -> None:
        """Say that the champion's parent is back."""
        self.note(f"{render.name_of(watched.champion)} is {watched.reason}")

    def step(self, step: Step) -> None:
        """A step of the user has ended."""
        self.board.step(self.user, step)


def verdict(done: Compiled) -> str:
    """What became of a user's persona, and why."""
    if not done.changed:
        return f"{render.name_of(done.persona)} stays: nothing better was found; {done.stopped}"
    return f"{render.name_of(done.persona)}, {done.reason}"
