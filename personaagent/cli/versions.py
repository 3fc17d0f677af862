"""`history`, `diff` and `rollback`: the versions of a persona."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaagent.cli.options import Database, Json, TaskName, User
from personaagent.table import Table

if TYPE_CHECKING:
    from personaagent.memory import Published


def history(user: User, task: TaskName = None, db: Database = None, as_json: Json = False) -> None:
    """List the versions of a user's persona.

    [bold]Examples[/bold]

    personaagent history --user amira
    personaagent history --user amira --json
    """
    from personaagent.cli import render, session
    from personaagent.memory.tasks import task_of
    from personaagent.service import publish

    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        chain = publish.published(store, user, kind)
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
    for title, entries in (("", chain), ("merged from another device", branches)):
        if not entries:
            continue
        rows = [
            [
                str(one.version),
                one.hash[:8],
                f"{one.created:%Y-%m-%d %H:%M}",
                str(len(one.persona.items)) if one.persona else "-",
                str(len(one.persona.directives)) if one.persona else "-",
                one.reason,
            ]
            for one in entries
        ]
        columns = ["version", "hash", "when", "items", "directives", "reason"]
        numbers = ["version", "items", "directives"]
        screen.print(Table(columns=columns, rows=rows, right=numbers, title=title).rich())


def diff(
    user: User,
    old: Annotated[
        int | None,
        typer.Option("--from", help="The earlier version; by default the one before the other."),
    ] = None,
    new: Annotated[
        int | None, typer.Option("--to", help="The later version; by default the latest.")
    ] = None,
    task: TaskName = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Show what changed from one version of a persona to another.

    [bold]Examples[/bold]

    personaagent diff --user amira
    personaagent diff --user amira --from 0 --to 2
    """
    from personaagent.cli import render, session
    from personaagent.memory.tasks import task_of
    from personaagent.service import lineage, publish

    screen = render.screen(as_json=as_json)
    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        chain = publish.published(store, user, kind)
    after = publish.said(chain[-1] if new is None else publish.version_of(chain, new))
    earlier = after.version - 1 if old is None else old
    before = publish.said(publish.version_of(chain, earlier)) if earlier >= 0 else None
    lines, edits = render.changes(before, after), lineage.edits(before, after)
    items = lineage.item_edits(before, after)
    if as_json:
        render.print_json(
            {
                "user": user,
                "task": kind.name,
                "from": before and before.version,
                "to": after.version,
                "edits": edits,
                "items": items,
                "lines": [{"sign": sign, "text": text} for sign, text in lines],
            }
        )
        return
    first = render.name_of(before) if before else "no persona"
    screen.print(f"from {first} to {render.name_of(after)}")
    screen.print(render.difference(lines))
    for edit in [*items, *edits]:
        if edit["edit"] == "revise":
            screen.print(render.short(_revision(edit), 200), style="yellow", soft_wrap=True)


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
    from personaagent.memory.tasks import task_of
    from personaagent.service import publish

    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        chain = publish.published(store, user, kind)
        champion = publish.champion(store, user, kind)
        wanted = publish.said(publish.version_of(chain, to))
        now = publish.publish(store, wanted, champion, f"rolled back to version {to}")
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


def _entry(one: Published) -> dict[str, Any]:
    from personaagent.cli import render

    return {
        "version": one.version,
        "hash": one.hash,
        "parent": one.parent,
        "created": render.instant(one.created),
        "reason": one.reason,
        "erased": one.persona is None,
        "items": len(one.persona.items) if one.persona else None,
        "directives": len(one.persona.directives) if one.persona else None,
    }


def _revision(edit: dict[str, Any]) -> str:
    old, new = edit["from"], edit["to"]
    moved = ", ".join(
        f"{name} {_value(old[name])} to {_value(new[name])}"
        for name in old
        if old[name] != new[name]
    )
    return f"~ {edit['text']} {moved or 'other interactions speak for or against it'}"


def _value(value: float | str) -> str:
    return value or "none" if isinstance(value, str) else f"{value:.3g}"
