"""A progress bar for work that takes long enough to wonder about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_WORTH_A_BAR = 256  # texts: about half a second of embedding


@contextmanager
def track(what: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Give a function that is called with the number of items just done; the bar is on stderr."""
    if not shown or total < _WORTH_A_BAR:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)
