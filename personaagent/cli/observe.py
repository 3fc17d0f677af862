"""`observe`: one more thing that a user really answered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from personaagent.cli.options import Database, Json, TaskName, User
from personaagent.errors import DataError


def observe(
    text: Annotated[str, typer.Argument(help="What was asked or received.", show_default=False)],
    response: Annotated[
        str, typer.Argument(help="What the user really answered or chose.", show_default=False)
    ],
    user: User,
    task: TaskName = None,
    id: Annotated[
        str | None, typer.Option("--id", help="A name of your own; by default made of the content.")
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="When, such as 2026-03-12T13:55:45Z; now if not.")
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Remember what a user really answered.

    [bold]Examples[/bold]

    personaagent observe "The car needs new tyres." money --user amira
    personaagent observe "Lena is in town." family --user amira --id mail-17 \\
        --time 2026-03-12T13:55:45Z
    """
    from personaagent.cli import render, session
    from personaagent.data import Interaction, validation
    from personaagent.memory.tasks import task_of

    validation.text("what was asked", text)
    validation.text("the response", response)
    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        moment = _moment(time) if time else None
        if id and moment is None:  # the same again is the same, whenever it is said
            moment = next((one.time for one in store.of(user).get([id])), None)
        moment = moment or datetime.now(UTC)
        given = Interaction(
            id=id or "",
            user=user,
            task=kind.name,
            query=text,
            response=kind.parse(response),
            time=moment,
            expires=kind.expiry(moment),
        )
        one = replace(given, id=id or given.digest[:12])
        added = store.add([one], tasks={kind.name: kind})
        if added.erased:
            raise DataError(
                f"interaction '{one.id}' of user '{user}' was erased with 'forget': give it "
                "another --id, or bring it back with 'personaagent import --even-erased'"
            )
    if as_json:
        render.print_json(
            {"id": one.id, "user": user, "task": one.task, "response": one.response}
            | {"time": render.instant(one.time), "new": bool(added.new)}
            | {"quarantined": bool(added.quarantined)}
        )
        return
    screen = render.screen(as_json=False)
    if added.quarantined:
        screen.print(
            f"quarantined, not remembered: {render.plain(one.id)}; 'personaagent quarantine "
            f"--user {render.plain(user)}' shows why",
            soft_wrap=True,
        )
    else:
        known = "remembered" if added.new else "known already"
        screen.print(f"{known}: {render.plain(one.id)}")
    screen.print(render.past(one))


def _moment(text: str) -> datetime:
    from personaagent.data.files import instant, past

    try:
        return past(instant(text))
    except ValueError as error:
        raise DataError(f"--time: {error}") from error
