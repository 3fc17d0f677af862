"""`export` and `restore`: a persona as a file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personaagent.cli.options import Database, Json, TaskName, User


def export(
    user: User,
    task: TaskName = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A folder, or a file that ends in .json.")
    ] = Path(),
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Write a user's persona to a JSON file that can be verified, and to Markdown beside it.

    The Markdown works as the system prompt of any chat. Neither holds a text
    of an interaction.

    [bold]Examples[/bold]

    personaagent export --user amira
    personaagent export --user amira --out personas/
    """
    from personaagent import artifacts
    from personaagent.cli import render, session
    from personaagent.memory import exports

    with session.open_store(db) as store:
        kind = session.task_of(store, user, task)
        persona = session.champion(store, user, kind)
        written, prompt = artifacts.export(out, artifacts.Artifact.of(persona))
        exports.record(store, user, (written, prompt), persona.hash)
    if as_json:
        render.print_json(
            {"user": user, "task": kind.name, "version": persona.version, "hash": persona.hash}
            | {"json": str(written), "markdown": str(prompt)}
        )
        return
    screen = render.screen(as_json=False)
    screen.print(f"{render.plain(user)} · {kind.name} · {render.name_of(persona)}")
    for path in (written, prompt):
        screen.print(f"  {path}", soft_wrap=True)


def restore(
    file: Annotated[Path, typer.Argument(help="The exported JSON file.", show_default=False)],
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", help="For this user; by default the one that it names."),
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Publish an exported persona, after verifying it, as the user's next version.

    [bold]Examples[/bold]

    personaagent restore amira-inbox-v2.json
    personaagent restore amira-inbox-v2.json --user amira-at-work
    """
    from personaagent import artifacts
    from personaagent.cli import render, session
    from personaagent.memory.tasks import load_tasks

    artifact = artifacts.load(file)
    with session.open_store(db) as store:
        memory = store.of(user or artifact.persona.user)
        before = memory.persona(artifact.persona.task)
        now = artifacts.restore(memory, artifact, source=file)
        known = now.task in load_tasks(store)
    if as_json:
        render.print_json(
            {"user": now.user, "task": now.task, "version": now.version, "hash": now.hash}
            | {"changed": now != before}
        )
        return
    screen = render.screen(as_json=False)
    if now == before:
        screen.print(f"{render.name_of(now)} says the same already: nothing changed")
        return
    screen.print(render.persona_panel(now))
    if not known:
        screen.print(
            f"task '{render.plain(now.task)}' is not known here yet: "
            "'personaagent import --tasks tasks.json' makes it known"
        )
