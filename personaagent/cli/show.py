"""`show`, `history` and `rollback`: the personas that a user has and had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaagent.cli.options import Database, Json, TaskName, User
from personaagent.errors import DataError

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
    diff: Annotated[
        tuple[int, int] | None,
        typer.Option("--diff", metavar="A B", help="What changed from version A to version B."),
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Show the interactions behind each directive.")
    ] = False,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Show a user's persona, what changed in it, and what speaks for it.

    [bold]Examples[/bold]

    personaagent show --user amira
    personaagent show --user amira --evidence
    personaagent show --user amira --diff 0 2
    """
    from personaagent.cli import render, session

    screen = render.screen(as_json=as_json)
    with session.open_store(db) as store:
        kind = session.task_of(store, user, task)
        chain = session.published(store, user, kind)
        memory = store.of(user)
        if diff is not None:
            old, new = (_version(chain, number) for number in diff)
            lines = render.changes(old, new)
            if as_json:
                render.print_json(
                    {"user": user, "task": kind.name, "from": old.version, "to": new.version}
                    | {"lines": [{"sign": sign, "text": text} for sign, text in lines]}
                )
            else:
                screen.print(render.difference(lines))
            return
        number = chain[-1].version if version is None else version
        persona = _version(chain, number)
        entry = chain[number]
        behind = [_evidence(memory, one) for one in persona.directives] if evidence else []
    if as_json:
        render.print_json(_data(entry, persona, behind))
        return
    screen.print(render.persona_panel(persona, when=entry.created, reason=entry.reason))
    for place, found in enumerate(behind, 1):
        screen.print(_tree(place, persona.directives[place - 1], found))


def history(user: User, task: TaskName = None, db: Database = None, as_json: Json = False) -> None:
    """List the versions of a user's persona.

    [bold]Examples[/bold]

    personaagent history --user amira
    personaagent history --user amira --json
    """
    from personaagent.cli import render, session

    with session.open_store(db) as store:
        kind = session.task_of(store, user, task)
        chain = session.published(store, user, kind)
        branches = store.of(user).branches(kind.name)
    if as_json:
        render.print_json(
            {
                "user": user,
                "task": kind.name,
                "versions": [_entry(one) for one in chain],
                "branches": [_entry(one) for one in branches],
            }
        )
        return
    screen = render.screen(as_json=False)
    for title, entries in ((None, chain), ("merged from another device", branches)):
        if not entries:
            continue
        numbers = ("version", "directives")
        shown = render.table(
            "version", "hash", "when", "directives", "reason", right=numbers, title=title
        )
        for one in entries:
            shown.add_row(
                str(one.version),
                one.hash[:8],
                f"{one.created:%Y-%m-%d %H:%M}",
                str(len(one.persona.directives)) if one.persona else "-",
                render.plain(one.reason),
            )
        screen.print(shown)


def rollback(
    user: User,
    to: Annotated[int, typer.Option("--to", help="The version to return to.", show_default=False)],
    task: TaskName = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Return to an earlier version of a persona, as a new version: nothing is lost.

    [bold]Examples[/bold]

    personaagent history --user amira
    personaagent rollback --user amira --to 0
    """
    from personaagent.cli import render, session

    with session.open_store(db) as store:
        kind = session.task_of(store, user, task)
        chain = session.published(store, user, kind)
        champion, wanted = session.champion(store, user, kind), _version(chain, to)
        now = session.publish(store, wanted, champion, f"rolled back to version {to}")
    if as_json:
        render.print_json(
            {"user": user, "task": kind.name, "version": now.version, "hash": now.hash}
            | {"changed": now != champion}
        )
        return
    screen = render.screen(as_json=False)
    if now == champion:
        screen.print(f"{render.name_of(now)} says the same already: nothing changed")
        return
    screen.print(f"{render.name_of(now)} says again what version {to} said")
    screen.print(render.difference(render.changes(champion, now)))


def _version(chain: list[Published], number: int) -> Persona:
    for one in chain:
        if one.version == number:
            if one.persona is None:
                raise DataError(
                    f"version {number} was erased with an interaction that it rested on: its text "
                    "is gone"
                )
            return one.persona
    first, last = chain[0].version, chain[-1].version
    raise DataError(f"there is no version {number}: there are {first} to {last}")


def _entry(one: Published) -> dict[str, Any]:
    from personaagent.cli import render

    return {
        "version": one.version,
        "hash": one.hash,
        "parent": one.parent,
        "created": render.instant(one.created),
        "reason": one.reason,
        "erased": one.persona is None,
        "directives": len(one.persona.directives) if one.persona else None,
    }


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
                tree.add(render.past(one, f"{sign} ", style))
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
