"""`show` and `blame`: a persona, what speaks for it, and where it comes from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaagent.cli.options import Database, Json, TaskName, User

if TYPE_CHECKING:
    from rich.tree import Tree

    from personaagent.data import Directive, Interaction, Persona
    from personaagent.memory import Published, UserMemory


def show(
    user: User,
    task: TaskName = None,
    version: Annotated[
        int | None, typer.Option("--version", help="This version; by default the latest.")
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Show the interactions behind each directive.")
    ] = False,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Show a user's persona, and what speaks for it.

    [bold]Examples[/bold]

    personaagent show --user amira
    personaagent show --user amira --evidence
    personaagent show --user amira --version 0
    """
    from personaagent.cli import render, session
    from personaagent.memory.tasks import task_of
    from personaagent.service import publish

    screen = render.screen(as_json=as_json)
    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        chain = publish.published(store, user, kind)
        memory = store.of(user)
        entry = chain[-1] if version is None else publish.version_of(chain, version)
        persona = publish.said(entry)
        behind = [_evidence(memory, one) for one in persona.directives] if evidence else []
    if as_json:
        render.print_json(_data(entry, persona, behind))
        return
    screen.print(render.persona_panel(persona, when=entry.created, reason=entry.reason))
    for number, found in enumerate(behind, 1):
        screen.print(_tree(number, persona.directives[number - 1], found))


def blame(
    user: User,
    task: TaskName = None,
    version: Annotated[
        int | None, typer.Option("--version", help="This version; by default the latest.")
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Show where each directive comes from: version, interactions, gradients.

    Gradients are those of the steps that proposed the directive; those that
    named its cue are marked.

    [bold]Examples[/bold]

    personaagent blame --user amira
    personaagent blame --user amira --version 1 --json
    """
    from personaagent.cli import origins, render, session
    from personaagent.memory.tasks import task_of
    from personaagent.service import publish

    screen = render.screen(as_json=as_json)
    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        chain = publish.published(store, user, kind)
        entry = chain[-1] if version is None else publish.version_of(chain, version)
        memory, runs = store.of(user), publish.origins(store, user, kind).entries()
        persona = publish.said(entry)
        directives = persona.directives
        behind = [_evidence(memory, one) for one in directives]
        since = [origins.since(chain, persona, one) for one in directives]
        critiques = [origins.critiques(runs.values(), one) for one in directives]
    if as_json:
        render.print_json(
            {
                "user": user,
                "task": kind.name,
                "version": entry.version,
                "hash": entry.hash,
                "directives": [
                    one
                    | {
                        "since": {
                            "version": first.version,
                            "hash": first.hash,
                            "created": render.instant(first.created),
                            "reason": first.reason,
                        },
                        "gradients": [asdict(critique) for critique in found],
                    }
                    for one, first, found in zip(
                        _data(entry, persona, behind)["directives"], since, critiques, strict=True
                    )
                ],
            }
        )
        return
    if not directives:
        screen.print(f"{render.name_of(persona)} has no directives")
    for number, one in enumerate(directives, 1):
        tree = _tree(number, one, behind[number - 1])
        for line in origins.lines(since[number - 1], critiques[number - 1]):
            tree.add(line)
        screen.print(tree)


_Evidence = tuple[list[tuple[str, "Interaction | None"]], list[tuple[str, "Interaction | None"]]]


def _evidence(memory: UserMemory, directive: Directive) -> _Evidence:
    """The interactions for and against a directive, with None for those that are not stored."""
    known = {one.id: one for one in memory.get([*directive.support, *directive.oppose])}
    return (
        [(id, known.get(id)) for id in directive.support],
        [(id, known.get(id)) for id in directive.oppose],
    )


def _tree(number: int, directive: Directive, evidence: _Evidence) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    from personaagent.cli import render

    tree = Tree(render.directive_line(number, directive), guide_style="dim")
    for sign, style, found in zip("+-", ("green", "red"), evidence, strict=True):
        for id, one in found:
            if one:
                tree.add(render.past(one, f"{sign} {render.plain(id)} ", style))
            else:
                tree.add(Text(f"{sign} {render.plain(id)} is not stored here", style=style))
    return tree


def _data(entry: Published, persona: Persona, evidence: list[_Evidence]) -> dict[str, Any]:
    from personaagent.cli import render

    data: dict[str, Any] = {
        **persona.to_dict(),
        "hash": entry.hash,
        "created": render.instant(entry.created),
        "reason": entry.reason,
        "system": persona.render(),
    }
    for directive, sides in zip(data["directives"], evidence, strict=False):
        for side, found in zip(("support", "oppose"), sides, strict=True):
            directive[side] = [
                {
                    "id": id,
                    "time": render.instant(one.time) if one else None,
                    "response": one and one.response,
                    "query": one and one.query,
                }
                for id, one in found
            ]
    return data
