"""`quarantine`: what was put aside, and letting some of it into memory."""

from __future__ import annotations

from typing import Annotated

import typer

from personaagent.cli.options import Database, Json, User


def quarantine(
    user: User,
    release: Annotated[
        list[str] | None,
        typer.Option(
            "--release",
            metavar="ID",
            help="Let this interaction into memory after all; may be given several times.",
            show_default=False,
        ),
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Show what looked like an instruction and not like something the user did.

    It is kept, but never recalled, learned from or obeyed.

    [bold]Examples[/bold]

    personaagent quarantine --user amira
    personaagent quarantine --user amira --release mail-17
    """
    from personaagent.cli import render, session
    from personaagent.memory import quarantine as aside

    with session.open_store(db) as store:
        memory = store.of(user)
        released = [aside.release(memory, id) for id in release or ()]
        left = aside.quarantined(memory)
    if as_json:
        render.print_json(
            {
                "user": user,
                "released": [one.id for one in released],
                "quarantined": [
                    {
                        "id": one.interaction.id,
                        "task": one.interaction.task,
                        "source": one.interaction.source,
                        "query": one.interaction.query,
                        "response": one.interaction.response,
                        "time": render.instant(one.interaction.time),
                        "reason": one.reason,
                        "quarantined": render.instant(one.created),
                    }
                    for one in left
                ],
            }
        )
        return
    screen = render.screen(as_json=False)
    for interaction in released:
        screen.print(f"released into memory: {render.plain(interaction.id)}")
    if not left:
        screen.print(f"nothing of {render.plain(user)} is in quarantine")
    for one in left:
        screen.print(f"{render.plain(one.interaction.id)}: {render.plain(one.reason)}")
        screen.print(render.past(one.interaction, "  "))
