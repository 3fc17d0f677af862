"""`import` and `users`: what is known of whom."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from personaagent.cli.options import Database, Json

if TYPE_CHECKING:
    from personaagent.memory import Store

ROWS = 20  # users that the table of an import shows

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE...",
        help="JSON Lines with one interaction a line; with --task lamp-… questions files of LaMP; "
        "with --from what ChatGPT or mem0 exported. Plain or gzip.",
        show_default=False,
    ),
]
Tasks = Annotated[
    Path | None,
    typer.Option("--tasks", help="A JSON list of the tasks that FILE names; remembered."),
]
Outputs = Annotated[
    Path | None,
    typer.Option(
        "--outputs",
        help="With LaMP: the gold answers of FILE, checked against its questions. They are held "
        "out: neither the questions nor the answers are stored.",
    ),
]


def import_files(
    files: Files = None,
    tasks: Tasks = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            help="The LaMP task of FILE, such as lamp-2m; with --from the task that it is for.",
        ),
    ] = None,
    outputs: Outputs = None,
    origin: Annotated[
        Literal["chatgpt", "mem0"] | None,
        typer.Option("--from", help="FILE is ChatGPT's conversations.json, or mem0's memories."),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="With --from: whose data it is.")
    ] = None,
    even_erased: Annotated[
        bool,
        typer.Option("--even-erased", help="Bring back interactions that were erased with forget."),
    ] = False,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Add users' interactions to the memory, all of them or none.

    Importing a file twice changes nothing. Interactions that were erased with
    `forget` stay away, unless you say otherwise.

    [bold]Examples[/bold]

    personaagent import history.jsonl --tasks tasks.json
    personaagent import more.jsonl.gz
    personaagent import dev_questions.json --task lamp-2m
    personaagent import conversations.json --from chatgpt --user amira
    personaagent import memories.json --from mem0 --task inbox
    """
    from personaagent.cli import intake, render, session
    from personaagent.data import CHAT, read_tasks
    from personaagent.memory.tasks import check_tasks, load_tasks, save_tasks

    if not files and tasks is None:
        raise typer.BadParameter("name a FILE to import, or --tasks")
    if (task is None or origin) and outputs is not None:
        raise typer.BadParameter("--outputs goes with --task lamp-…")
    if user is not None and origin is None:
        raise typer.BadParameter("--user goes with --from: other files name the user on every line")
    with session.open_store(db, create=True) as store:
        defined = read_tasks(tasks) if tasks else {}
        account = None
        if origin and task in (None, CHAT.name):
            defined[CHAT.name] = CHAT
        check_tasks(store, defined.values())
        if origin:
            kind = defined.get(task or CHAT.name) or session.task_named(store, str(task))
            given, account = intake.exported(origin, files or [], user, kind)
            questions = 0
        elif task:
            given, questions = intake.lamp_histories(intake.lamp_task(task), files or [], outputs)
        else:
            known = load_tasks(store) | defined
            given, questions = intake.interactions(files or [], known), 0
        before = _counts(store)
        added = intake.store(store, given, defined, even_erased=even_erased)
        save_tasks(store, defined.values())
        after = _counts(store)
        found = Counter(one.user for one in given) - intake.put_aside(store, given)
    rows = [(user, after[user] - before[user], found[user]) for user in sorted(found)]
    if as_json:
        render.print_json(
            {
                "files": [str(file) for file in files or []],
                "tasks": sorted(defined),
                "interactions": len(given),
                "new": added.new,
                "known": added.known,
                "quarantined": added.quarantined,
                "erased": added.erased,
                "users": [
                    {"user": user, "new": new, "known": total - new} for user, new, total in rows
                ],
                **({"taken": account.taken, "left": +account.left} if account else {}),
                **({"questions": questions} if task and not account else {}),
            }
        )
        return
    screen = render.screen(as_json=False)
    if rows:
        shown = render.table("user", "new", "known", right=("new", "known"))
        for user, new, total in rows[:ROWS]:
            shown.add_row(render.plain(user), f"{new:,}", f"{total - new:,}")
        screen.print(shown)
    if len(rows) > ROWS:
        screen.print(f"… and {render.counted(len(rows) - ROWS, 'other user')}")
    if defined:
        screen.print(f"tasks: {', '.join(sorted(defined))}")
    if account:
        screen.print(render.account(account))
    elif task:
        held = "with held-out gold answers" if outputs else "without gold answers"
        screen.print(f"read the histories of {render.counted(questions, 'question')} {held}")
    if added.erased:
        screen.print(
            f"left out {render.counted(added.erased, 'erased interaction')}: --even-erased "
            "brings them back"
        )
    if files and not added.new:
        screen.print(f"nothing new: {render.counted(added.known, 'interaction')} known already")
    elif files:
        found_new = render.counted(added.new, "new interaction")
        of = render.counted(len(rows), "user")
        screen.print(f"{found_new} of {of}, {added.known:,} known already")
    if added.quarantined:
        aside = render.counted(added.quarantined, "interaction")
        screen.print(f"{aside} quarantined: 'personaagent quarantine --user USER' shows why")


def _counts(store: Store) -> Counter[str]:
    return Counter({one.user: one.interactions for one in store.users()})


def users(
    task: Annotated[
        str | None, typer.Option("--task", "-t", help="Only the users of this task.")
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """List the users: their interactions and the version of their persona.

    [bold]Examples[/bold]

    personaagent users
    personaagent users --task inbox --json
    """
    from personaagent.cli import render, session
    from personaagent.memory import UserSummary
    from personaagent.memory.tasks import load_tasks

    with session.open_store(db) as store:
        names = [session.task_named(store, task).name] if task else sorted(load_tasks(store))
        found = []
        for name in names:
            known = store.users(name)
            bare = store.with_persona(name) - {one.user for one in known}
            known += [UserSummary(user, 0, None, None) for user in bare]
            found += [(one, name, store.of(one.user).persona(name)) for one in known]
    found.sort(key=lambda row: (row[0].user, row[1]))
    if as_json:
        render.print_json(
            {
                "users": [
                    {
                        "user": one.user,
                        "task": name,
                        "interactions": one.interactions,
                        "first": render.instant(one.first),
                        "last": render.instant(one.last),
                        "persona": persona and {"version": persona.version, "hash": persona.hash},
                    }
                    for one, name, persona in found
                ]
            }
        )
        return
    screen = render.screen(as_json=False)
    if not found:
        screen.print("no users yet: 'personaagent import FILE --tasks tasks.json' adds some")
        return
    shown = render.table(
        "user", "task", "interactions", "first", "last", "persona", right=("interactions",)
    )
    for one, name, persona in found:
        shown.add_row(
            render.plain(one.user),
            name,
            f"{one.interactions:,}",
            render.day(one.first),
            render.day(one.last),
            render.name_of(persona) if persona else "none yet",
        )
    screen.print(shown)
