"""`show` and `blame`: a persona, what speaks for it, and where it comes from."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaagent.cli.options import Database, Json, TaskName, User

if TYPE_CHECKING:
    from rich.tree import Tree

    from personaagent.data import Directive, Interaction, Item, Persona
    from personaagent.memory import Published, UserMemory


def show(
    user: User,
    task: TaskName = None,
    version: Annotated[
        int | None, typer.Option("--version", help="This version; by default the latest.")
    ] = None,
    evidence: Annotated[
        bool,
        typer.Option("--evidence", help="Show the interactions behind each item and directive."),
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
    from personaagent.data.items import by_use
    from personaagent.memory.tasks import task_of
    from personaagent.service import publish

    screen = render.screen(as_json=as_json)
    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        chain = publish.published(store, user, kind)
        memory = store.of(user)
        entry = chain[-1] if version is None else publish.version_of(chain, version)
        persona = publish.said(entry)
        behind = _behind(memory, persona) if evidence else {}
    if as_json:
        render.print_json(_data(entry, persona, behind))
        return
    screen.print(render.persona_panel(persona, when=entry.created, reason=entry.reason))
    if not evidence:
        return
    for one in replace(persona, items=tuple(by_use(persona.items))).statements:
        screen.print(_tree(persona, one, behind[one]))


def blame(
    user: User,
    task: TaskName = None,
    version: Annotated[
        int | None, typer.Option("--version", help="This version; by default the latest.")
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Show where each item and directive comes from: version, interactions, gradients.

    Gradients are those of the steps that proposed a directive; those that
    named its cue are marked.

    [bold]Examples[/bold]

    personaagent blame --user amira
    personaagent blame --user amira --version 1 --json
    """
    from personaagent.cli import origins, render, session
    from personaagent.data.items import by_use
    from personaagent.memory.tasks import task_of
    from personaagent.service import lineage, publish

    screen = render.screen(as_json=as_json)
    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        chain = publish.published(store, user, kind)
        entry = chain[-1] if version is None else publish.version_of(chain, version)
        memory, runs = store.of(user), publish.origins(store, user, kind).entries()
        persona = publish.said(entry)
        behind = _behind(memory, persona)
        since = {one: lineage.since(chain, persona, one) for one in behind}
        critiques = {one: lineage.critiques(runs.values(), one) for one in persona.directives}
    if as_json:
        data = _data(entry, persona, behind)

        def brought(one: Item | Directive) -> dict[str, Any]:
            first = since[one]
            created = render.instant(first.created)
            said = {"version": first.version, "hash": first.hash, "created": created}
            return {"since": said | {"reason": first.reason}}

        items = [
            said | brought(one) for said, one in zip(data["items"], persona.items, strict=True)
        ]
        directives = [
            said | brought(one) | {"gradients": [asdict(critique) for critique in critiques[one]]}
            for said, one in zip(data["directives"], persona.directives, strict=True)
        ]
        place = {"user": user, "task": kind.name, "version": entry.version, "hash": entry.hash}
        render.print_json(place | {"items": items, "directives": directives})
        return
    if not behind:
        screen.print(f"{render.name_of(persona)} has no items and no directives")
    for item in by_use(persona.items):
        tree = _tree(persona, item, behind[item])
        tree.add(origins.first(since[item]))
        screen.print(tree)
    for directive in persona.directives:
        tree = _tree(persona, directive, behind[directive])
        for line in origins.lines(since[directive], critiques[directive]):
            tree.add(line)
        screen.print(tree)


_Evidence = tuple[list[tuple[str, "Interaction | None"]], list[tuple[str, "Interaction | None"]]]


def _behind(memory: UserMemory, persona: Persona) -> dict[Item | Directive, _Evidence]:
    """The interactions for and against each item and directive, with None for those that are not
    stored."""
    known = {one.id: one for one in memory.get(sorted(persona.cited))}
    return {
        one: (
            [(id, known.get(id)) for id in one.support],
            [(id, known.get(id)) for id in one.oppose],
        )
        for one in persona.statements
    }


def _tree(persona: Persona, said: Item | Directive, evidence: _Evidence) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    from personaagent.cli import render
    from personaagent.data import Item

    if isinstance(said, Item):
        line = render.item_line(persona.items.index(said) + 1, said)
    else:
        line = render.directive_line(persona.directives.index(said) + 1, said)
    tree = Tree(line, guide_style="dim")
    for sign, style, found in zip("+-", ("green", "red"), evidence, strict=True):
        for id, one in found:
            if one:
                tree.add(render.past(one, f"{sign} {render.plain(id)} ", style))
            else:
                tree.add(Text(f"{sign} {render.plain(id)} is not stored here", style=style))
    return tree


def _data(
    entry: Published, persona: Persona, behind: dict[Item | Directive, _Evidence]
) -> dict[str, Any]:
    from personaagent.cli import render

    data: dict[str, Any] = {
        **persona.to_dict(),
        "items": [one.to_dict() for one in persona.items],
        "hash": entry.hash,
        "created": render.instant(entry.created),
        "reason": entry.reason,
        "system": persona.render(),
    }
    saying = zip([*data["items"], *data["directives"]], persona.statements, strict=True)
    for said, one in saying if behind else ():
        for side, found in zip(("support", "oppose"), behind[one], strict=True):
            said[side] = [
                {
                    "id": id,
                    "time": render.instant(past.time) if past else None,
                    "response": past and past.response,
                    "query": past and past.query,
                }
                for id, past in found
            ]
    return data
