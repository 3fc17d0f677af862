"""`approval`, `waiting`, `approve` and `reject`: personas that wait for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaagent.cli.editing import Author
from personaagent.cli.options import Database, Json, TaskName, User, as_user

if TYPE_CHECKING:
    from personaagent.memory import Store
    from personaagent.memory.waiting import Waiting


def approval(
    user: Annotated[
        str | None,
        typer.Option(
            "--user", "-u", help="Only for this user.", show_default=False, callback=as_user
        ),
    ] = None,
    on: Annotated[
        bool | None,
        typer.Option(
            "--on/--off",
            help="Whether personas wait. Without it the command only says what holds.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[
        int, typer.Option("--days", min=1, help="That a persona waits before it expires.")
    ] = 30,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Decide whether new personas wait until a person approves them.

    For everyone in the database, or for one user, which holds before it.

    [bold]Examples[/bold]

    personaagent approval --on
    personaagent approval --user amira --on --days 14
    personaagent approval --user amira
    """
    from personaagent.cli import render, session
    from personaagent.memory.waiting import days_to_approve, require_approval

    with session.open_store(db) as store:
        if on is not None:
            require_approval(store, days if on else 0, user=user)
        holds = days_to_approve(store, user)
    if as_json:
        render.print_json({"user": user, "approval": holds > 0, "days": holds or None})
        return
    whose = "personas" if user is None else f"personas of {render.plain(user)}"
    said = f"wait {render.counted(holds, 'day')} for approval" if holds else "are published at once"
    render.screen(as_json=False).print(f"new {whose} {said}")


def waiting(
    user: Annotated[
        str | None,
        typer.Option(
            "--user", "-u", help="Only this user's.", show_default=False, callback=as_user
        ),
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Show the personas that wait for approval, and what would change.

    [bold]Examples[/bold]

    personaagent waiting
    personaagent waiting --user amira
    """
    from personaagent.cli import render, session
    from personaagent.memory.waiting import users_waiting, waiting_of

    screen = render.screen(as_json=as_json)
    with session.open_store(db) as store:
        users = [user] if user else list(dict.fromkeys(one for one, _ in users_waiting(store)))
        found = [one for name in users for one in waiting_of(store.of(name))]
        data = [_data(store, one) for one in found]
    if as_json:
        render.print_json({"waiting": data})
        return
    for one, said in zip(found, data, strict=True):
        screen.print(render.persona_panel(one.persona))
        screen.print(f"{one.reason}; it expires {one.expires:%Y-%m-%d}", soft_wrap=True)
        if one.stale:
            screen.print("stale: the persona has changed since, so it can only be rejected")
        screen.print(render.difference([(line["sign"], line["text"]) for line in said["lines"]]))
        for answer in said["answers"]:
            was, then = render.short(answer["before"], 30), render.short(answer["after"], 30)
            about = render.short(answer["query"] or answer["id"])
            screen.print(f"{about}: {was} becomes {then}", soft_wrap=True)
    if not found:
        screen.print("nothing waits for approval")


def approve(
    user: User,
    by: Author = None,
    task: TaskName = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Publish the persona that waits for a user.

    [bold]Examples[/bold]

    personaagent approve --user amira
    personaagent approve --user amira --by "Bela from support"
    """
    from personaagent.cli import render, session
    from personaagent.memory import waiting as waits
    from personaagent.memory.tasks import task_of

    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        now = waits.approve(store.of(user), kind.name, by or user)
    if as_json:
        render.print_json(
            {"user": user, "task": kind.name, "version": now.version, "hash": now.hash}
        )
        return
    render.screen(as_json=False).print(f"published {render.name_of(now)}")


def reject(
    user: User,
    by: Author = None,
    task: TaskName = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Drop the persona that waits for a user; it is not proposed again.

    [bold]Examples[/bold]

    personaagent reject --user amira
    """
    from personaagent.cli import render, session
    from personaagent.memory import waiting as waits
    from personaagent.memory.tasks import task_of

    with session.open_store(db) as store:
        kind = task_of(store, user, task)
        gone = waits.reject(store.of(user), kind.name, by or user).persona
    if as_json:
        render.print_json({"user": user, "task": kind.name, "hash": gone.hash})
        return
    render.screen(as_json=False).print(f"rejected {render.name_of(gone)}")


def _data(store: Store, one: Waiting) -> dict[str, Any]:
    from personaagent.cli import render

    memory = store.of(one.persona.user)
    known = {past.id: past for past in memory.get(answer.id for answer in one.answers)}
    champion = memory.persona(one.persona.task)
    return {
        "user": memory.user,
        "task": one.persona.task,
        "hash": one.persona.hash,
        "over": one.over,
        "stale": one.stale,
        "reason": one.reason,
        "created": render.instant(one.created),
        "expires": render.instant(one.expires),
        "persona": one.persona.to_dict(),
        "lines": [
            {"sign": sign, "text": text} for sign, text in render.changes(champion, one.persona)
        ],
        "answers": [
            {"id": answer.id, "before": answer.before, "after": answer.after}
            | {
                "query": known[answer.id].query if answer.id in known else None,
                "truth": known[answer.id].response if answer.id in known else None,
            }
            for answer in one.answers
        ],
    }
