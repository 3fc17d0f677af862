"""`forget`: erase interactions, and all that was derived from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personaagent.cli.options import Database, Json, User

if TYPE_CHECKING:
    from rich.console import Console

    from personaagent.privacy.forgetting import Receipt

_PLACES = {
    "exports": ("exported file", "exported files"),
    "workfiles": (
        "row or file of experiments and unfinished searches",
        "rows and files of experiments and unfinished searches",
    ),
    "mlflow": ("entry in MLflow", "entries in MLflow"),
    "responses": ("cached LM response", "cached LM responses"),
}


def forget(
    user: User,
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="An interaction; may be given several times.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="All interactions of this source.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything that is known of the user.")
    ] = False,
    results: Annotated[
        list[Path] | None,
        typer.Option(
            help="Also what experiments left: a results database, a folder of --predictions or of "
            "'tune'; may be given several times.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Erase interactions of a user, and all that was derived from them.

    Deletes the rows (in quarantine too), vectors and journals, exported files
    that hold some of it, the user's part of experiments ('evaluate' and the
    like; their work folders go whole) and of unfinished searches ('tune'), the
    user's runs, traces, prompts and models in MLflow, and DSPy's response
    cache (its entries cannot be told apart). The database knows of experiments
    on users that it knows; --results names others.
    Persona versions that rested on it keep their hash and lose their text; a
    new version says what still stands, and the next `compile` derives the rest
    again. What was erased does not come back by an import or a sync. The JSON
    document is a receipt without texts.

    [bold]Examples[/bold]

    personaagent forget --user amira --id mail-17
    personaagent forget --user amira --source newsletter --yes
    personaagent forget --user amira --all --json > receipt.json
    personaagent forget --user amira --all --results results.db
    """
    from personaagent.cli import render, session
    from personaagent.privacy import forgetting

    if [bool(ids), source is not None, everything].count(True) != 1:
        raise typer.BadParameter("name what to forget: --id, --source, or --all")
    what = (
        render.counted(len(set(ids)), "interaction")
        if ids
        else "everything"
        if everything
        else f"all from source '{source}'"
    )
    # Experiments need no memory database, but what is left to do must be written down somewhere. A
    # --db that is not there is a mistake: what the user meant would not be erased.
    usual = db in (None, os.environ.get("PERSONAAGENT_DB"))
    with session.open_store(db, create=bool(results) and usual) as store:
        if not yes:
            typer.confirm(f"Erase {what} of user '{user}' for good?", abort=True, err=True)
        receipt = forgetting.forget(
            store,
            user,
            ids=ids or (),
            source=source,
            everything=everything,
            results=results or (),
        )
    if as_json:
        render.print_json(receipt.to_dict())
    _tell(receipt, render.screen(as_json=as_json))
    if not receipt.complete:
        raise typer.Exit(1)


def _tell(receipt: Receipt, screen: Console) -> None:
    from personaagent.cli import render

    erased = receipt.erased
    screen.print(
        f"erased {render.counted(len(erased.interactions), 'interaction')} and "
        f"{render.counted(erased.vectors, 'vector')}"
    )
    if erased.personas:
        versions = render.counted(len(erased.personas), "persona version")
        screen.print(f"emptied {versions}; {len(erased.published)} published anew")
    for name, count in erased.derived.items():
        screen.print(f"dropped {render.counted(count, 'row')} of the table '{name}'")
    for place, (one, several) in _PLACES.items():
        if deleted := receipt.outside.get(place):
            screen.print(f"deleted {deleted:,} {one if deleted == 1 else several}")
    for place, problem in receipt.left.items():
        screen.print(f"left in {place}: {render.plain(problem)}", style="yellow", soft_wrap=True)
    for place, limit in receipt.beyond.items():
        screen.print(f"out of reach, {place}: {limit}", style="yellow", soft_wrap=True)
    for path in receipt.moved:
        screen.print(render.plain(f"  {path}"), style="yellow", soft_wrap=True)
    if receipt.left.keys() - {"exports"}:
        screen.print("the same command goes on with what is left", style="yellow")
