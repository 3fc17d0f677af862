"""Progress bars: one kind for everything that takes long enough to wonder about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

WORTH_A_BAR = 256  # texts: about half a second of embedding


def bars(*columns: ProgressColumn, on: Console | None = None, kept: bool = False) -> Progress:
    """Bars, by default on stderr: gone when they are done, and nothing where nobody sees them move;
    `kept` ones stay, in a log as well."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    console = on or Console(stderr=True)
    shown = columns or (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    shown_here = kept or console.is_terminal or console.is_jupyter
    return Progress(*shown, console=console, transient=not kept, disable=not shown_here)


def byte_bars(*, kept: bool = False) -> Progress:
    """The same for numbers of bytes."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    named = TextColumn("{task.description}", markup=False)
    rest = DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    return bars(named, BarColumn(), *rest, kept=kept)


@contextmanager
def track(
    what: str, total: int, *, shown: bool, in_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """Give a function that is called with the number of texts (or bytes) just done."""
    if not shown or (total < WORTH_A_BAR and not in_bytes):
        yield lambda _: None
        return
    with byte_bars(kept=True) if in_bytes else bars(kept=True) as made:
        task = made.add_task(what, total=total)
        yield lambda done: made.advance(task, done)
