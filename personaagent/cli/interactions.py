"""`interactions`: what is remembered of a user, with the ids that other commands take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from personaagent.cli.options import Database, Json, TaskName, User
from personaagent.table import Table

if TYPE_CHECKING:
    from personaagent.data import Interaction

_PAGE = 20  # interactions


def interactions(
    user: User,
    task: TaskName = None,
    search: Annotated[
        str | None,
        typer.Option("--search", "-s", help="Only those that hold this text.", show_default=False),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Only those of this source.", show_default=False)
    ] = None,
    page: Annotated[
        int, typer.Option("--page", min=1, help=f"Which {_PAGE} of them; 1 has the latest.")
    ] = 1,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """List what is remembered of a user, the latest first, with its ids.

    The ids are those that `forget --id` takes. Expired interactions are listed
    too; what was put aside is not, `quarantine` lists it.

    [bold]Examples[/bold]

    personaagent interactions --user amira
    personaagent interactions --user amira --search "car"
    personaagent interactions --user amira --search "car" --page 2 --json
    """
    from personaagent.cli import render, session
    from personaagent.memory.tasks import task_named

    with session.open_store(db) as store:
        kind = task_named(store, task).name if task is not None else None
        everything = store.of(user).interactions(kind, include_expired=True)
    found = [one for one in reversed(everything) if _fits(one, search, source)]
    pages = max(1, -(-len(found) // _PAGE))
    if page > pages:
        raise typer.BadParameter(f"--page {page}: there are {render.counted(pages, 'page')}")
    shown = found[(page - 1) * _PAGE : page * _PAGE]
    if as_json:
        render.print_json(
            {
                "user": user,
                "found": len(found),
                "page": page,
                "pages": pages,
                "interactions": [
                    {
                        "id": one.id,
                        "task": one.task,
                        "time": render.instant(one.time),
                        "source": one.source,
                        "query": one.query,
                        "response": one.response,
                        "expires": render.instant(one.expires),
                    }
                    for one in shown
                ],
            }
        )
        return
    screen = render.screen(as_json=False)
    if not found:
        such = "such " if everything else ""
        screen.print(f"there are no {such}interactions of {render.plain(user)}", soft_wrap=True)
        return
    rows = [
        [
            one.id,
            render.day(one.time),
            one.task,
            render.short(one.response, 20) or "(no answer)",
            render.short(one.query, 300),
        ]
        for one in shown
    ]
    columns = ["id", "when", "task", "response", "query"]
    screen.print(Table(columns=columns, rows=rows, cut=True).rich())
    more = f"; --page {page + 1} has more" if page < pages else ""
    screen.print(f"page {page} of {pages}, {render.counted(len(found), 'interaction')}{more}")


def _fits(one: Interaction, search: str | None, source: str | None) -> bool:
    """Whether an interaction holds the text in any case, and is of the source."""
    wanted = (search or "").casefold()
    texts = (one.id, one.query, one.response, *one.metadata.values())
    return any(wanted in text.casefold() for text in texts) and source in (None, one.source)
