"""`lamp download`: the official files of the LaMP benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from personaagent.cli.options import Json

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""The files of the LaMP benchmark.

    [bold]Examples[/bold]

    personaagent lamp download --task lamp-2n --split dev
    """,
)


@app.callback()
def lamp() -> None:
    """Keep `download` a command of its own, though it is the only one."""


@app.command()
def download(
    task: Annotated[
        str, typer.Option("--task", "-t", help="lamp-1, lamp-2m, lamp-2n, lamp-3, -4, -5 or -7.")
    ],
    split: Annotated[
        Literal["train", "dev", "test"],
        typer.Option(help="The gold answers of test are not public."),
    ] = "dev",
    by_time: Annotated[
        bool, typer.Option("--time", help="Split by time instead of by user.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The folder that gets a folder of the task.")] = Path(
        "lamp"
    ),
    base: Annotated[
        str | None, typer.Option("--from", help="Another address with the same layout.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Download a split of a task, and check that it is what it should be.

    A download that was stopped goes on where it was; files that are there
    already stay. The data is CC BY-NC-SA 4.0.

    [bold]Examples[/bold]

    personaagent lamp download --task lamp-2n --split dev
    personaagent lamp download --task lamp-3 --split dev --time --out data
    """
    from rich.progress import TaskID

    from personaagent.cli import importing, render
    from personaagent.experiments.lamp_download import OFFICIAL, fetch, lamp_urls
    from personaagent.progress import byte_bars

    screen = render.screen(as_json=as_json)
    folder = out / f"{task}{'-time' if by_time else ''}"
    urls = lamp_urls(importing.lamp_task(task), split, by_time=by_time, base=base or OFFICIAL)
    paths = [folder / url.rpartition("/")[2] for url in urls]
    with byte_bars() as bars:
        for url, path in zip(urls, paths, strict=True):
            row = bars.add_task(path.name, total=None)

            def moved(done: int, total: int | None, row: TaskID = row) -> None:
                bars.update(row, completed=done, total=total)

            fresh = fetch(url, path, moved)
            bars.remove_task(row)
            size = f"{path.stat().st_size / 1e6:,.1f} MB"
            screen.print(f"{path}: {size if fresh else f'{size}, there already'}", soft_wrap=True)
    if as_json:
        render.print_json({"files": [str(path) for path in paths]})
