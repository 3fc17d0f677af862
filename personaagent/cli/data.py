"""`import` and `users`: what is known of whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaagent.cli.options import Database, Json, SkipMalformed, as_user
from personaagent.data.importers import IMPORTERS
from personaagent.errors import DataError
from personaagent.table import Table

if TYPE_CHECKING:
    from personaagent.data import ImportSummary
    from personaagent.memory import Added, Store

ROWS = 20  # users that the table of an import shows


def _known_program(name: str | None) -> str | None:
    try:
        return None if name is None else IMPORTERS.known(name)
    except DataError as error:
        raise typer.BadParameter(str(error)) from None


Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE...",
        help="JSON Lines with one interaction a line; with --task lamp-… questions files of LaMP; "
        "with --from what another program exported. Plain, gzip, or with --from zip.",
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
        str | None,
        typer.Option(
            "--from",
            metavar="|".join(IMPORTERS.ours),
            callback=_known_program,
            help="FILE is what this program exported: an archive as it was downloaded, its folder "
            "or a file of it.",
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", help="With --from: whose data it is.", callback=as_user),
    ] = None,
    skip_malformed: SkipMalformed = False,
    even_erased: Annotated[
        bool,
        typer.Option("--even-erased", help="Bring back interactions that were erased with forget."),
    ] = False,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Add users' interactions to the memory, all of them or none.

    Importing a file twice changes nothing, and a longer export adds what is new.
    At the end all of it can be searched. Interactions that were erased with
    `forget` stay away, unless you say otherwise.

    [bold]Examples[/bold]

    personaagent import history.jsonl --tasks tasks.json
    personaagent import more.jsonl.gz
    personaagent import dev_questions.json --task lamp-2m
    personaagent import export.zip --from chatgpt --user amira
    personaagent import memories.json --from mem0 --task inbox
    """
    from personaagent.cli import importing, render, session
    from personaagent.data import CHAT, ImportSummary, read_tasks
    from personaagent.memory.tasks import check_tasks, load_tasks, save_tasks, task_named

    if not files and tasks is None:
        raise typer.BadParameter("name a FILE to import, or --tasks")
    if (task is None or origin) and outputs is not None:
        raise typer.BadParameter("--outputs goes with --task lamp-…")
    if user is not None and origin is None:
        raise typer.BadParameter("--user goes with --from: other files name the user on every line")
    account, questions, vectors, stopped = ImportSummary(skip_malformed), None, None, False
    with session.open_store(db, create=True) as store:
        defined = read_tasks(tasks) if tasks else {}
        if origin and task in (None, CHAT.name):
            defined[CHAT.name] = CHAT
        check_tasks(store, defined.values())
        with importing.reading(account):
            if origin:
                kind = defined.get(task or CHAT.name) or task_named(store, str(task))
                given = importing.exported(origin, files or [], user, kind, account)
            elif task:
                lamp = importing.lamp_task(task)
                given, questions = importing.lamp_histories(lamp, files or [], outputs, account)
            else:
                known = load_tasks(store) | defined
                given = importing.interactions(files or [], known, account)
        before = _counts(store)
        added = importing.store(
            store, given, defined, even_erased=even_erased, keep_first=origin is not None
        )
        save_tasks(store, defined.values())
        after = _counts(store)
        found = Counter(one.user for one in given) - importing.put_aside(store, given)
        if found:
            try:
                vectors = importing.embed(store, found.keys())
            except KeyboardInterrupt:  # what was stored is told all the same
                stopped = True
    rows = [(one, after[one] - before[one], found[one]) for one in sorted(found)]
    done = _Done(
        files or [],
        sorted(defined),
        len(given),
        added,
        vectors,
        rows,
        account,
        origin,
        questions,
        outputs is not None,
    )
    if as_json:
        render.print_json(done.to_dict())
    else:
        done.print()
        importing.report(account)
    if stopped:
        raise typer.Exit(130)


def _taken(account: ImportSummary) -> Table:
    """What an import took, and what it left and why."""
    kinds = (("taken", account.taken), ("changed", account.changed), ("left", account.left))
    rows = [
        [head, what, f"{count:,}"]
        for head, counts in kinds
        for what, count in sorted((+counts).items(), key=lambda item: -item[1])
    ]
    return Table(columns=["", "messages or memories", "number"], rows=rows, right=["number"])


@dataclass(frozen=True, slots=True)
class _Done:
    """What an import did.

    `rows` are (user, new ones, all of this import); `origin` is the program whose export it was;
    `questions` is how many of LaMP were read, None for other files, and `held` whether with golds.
    """

    files: Sequence[Path]
    tasks: Sequence[str]
    interactions: int
    added: Added
    vectors: int | None
    rows: Sequence[tuple[str, int, int]]
    account: ImportSummary
    origin: str | None
    questions: int | None
    held: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        added, account = self.added, self.account
        data: dict[str, Any] = {
            "files": [str(file) for file in self.files],
            "tasks": self.tasks,
            "interactions": self.interactions,
            "new": added.new,
            "known": added.known,
            "quarantined": added.quarantined,
            "erased": added.erased,
            "vectors": self.vectors,
            "users": [
                {"user": user, "new": new, "known": total - new} for user, new, total in self.rows
            ],
            "joined": account.joined,
            "malformed": account.malformed,
            "missing": account.missing,
        }
        if self.origin:
            data |= {"kept": added.changed, "taken": account.taken, "left": +account.left}
            data |= {"changed": account.changed}
        if self.questions is not None:
            data |= {"questions": self.questions}
        return data

    def print(self) -> None:
        """The same for people."""
        from personaagent.cli import render

        screen, added = render.screen(as_json=False), self.added
        if self.rows:
            rows = [[user, f"{n:,}", f"{total - n:,}"] for user, n, total in self.rows[:ROWS]]
            numbers = ["new", "known"]
            screen.print(Table(columns=["user", *numbers], rows=rows, right=numbers).rich())
        if len(self.rows) > ROWS:
            screen.print(f"… and {render.counted(len(self.rows) - ROWS, 'other user')}")
        if self.tasks:
            screen.print(f"tasks: {', '.join(self.tasks)}")
        if self.origin:
            screen.print(_taken(self.account).rich())
        if self.questions is not None:
            held = "with held-out gold answers" if self.held else "without gold answers"
            read = render.counted(self.questions, "question")
            screen.print(f"read the histories of {read} {held}")
        if added.erased:
            screen.print(
                f"left out {render.counted(added.erased, 'erased interaction')}: --even-erased "
                "brings them back"
            )
        if added.changed:
            screen.print(
                f"{render.counted(added.changed, 'known interaction')} had other content: the "
                "first one is kept"
            )
        if self.files and not added.new:
            known = render.counted(added.known, "interaction")
            screen.print(f"nothing new: {known} known already")
        elif self.files:
            found = render.counted(added.new, "new interaction")
            of = render.counted(len(self.rows), "user")
            screen.print(f"{found} of {of}, {added.known:,} known already")
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
    from personaagent.memory.tasks import load_tasks, task_named

    with session.open_store(db) as store:
        names = [task_named(store, task).name] if task else sorted(load_tasks(store))
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
    rows = [
        [
            one.user,
            name,
            f"{one.interactions:,}",
            render.day(one.first),
            render.day(one.last),
            render.name_of(persona) if persona else "none yet",
        ]
        for one, name, persona in found
    ]
    columns = ["user", "task", "interactions", "first", "last", "persona"]
    screen.print(Table(columns=columns, rows=rows, right=["interactions"]).rich())
