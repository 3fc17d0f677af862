"""`export-all` and `sync`: a user's data in one file, and on several devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personaagent.cli.options import Database, Json, User, as_user
from personaagent.errors import DataError
from personaagent.table import Table

if TYPE_CHECKING:
    from personaagent.data import Task
    from personaagent.memory import Store
    from personaagent.memory.sync import Replica, Synced

_SHOWN = 10  # ids; the JSON document has all
_SQLITE = b"SQLite format 3\0"


def export_all(
    user: User,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file.", show_default=False)],
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Write all data of a user to one file: JSON Lines, which `sync` reads.

    Interactions, every version of the personas, tombstones and work in
    progress. `forget` deletes the file if it still stands there.

    [bold]Examples[/bold]

    personaagent export-all --user amira --out amira.jsonl
    """
    from personaagent import archive
    from personaagent.cli import render, session

    with session.open_store(db) as store:
        entries = archive.export_all(store, user, out)
        session.note_unrecorded(store)
    if as_json:
        render.print_json({"user": user, "file": str(out), "entries": entries})
        return
    said = f"{out}: all data of user '{render.plain(user)}', {render.counted(entries, 'line')}"
    render.screen(as_json=False).print(said, soft_wrap=True)


def sync(
    other: Annotated[
        str,
        typer.Argument(
            help="Another memory database, or a file of export-all.", show_default=False
        ),
    ],
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", help="Only this user; by default all.", callback=as_user),
    ] = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Take in what another device knows, personas included.

    The order of syncs does not matter, and twice is once. What was erased on
    one device is erased on the other. Personas that were learned side by side
    are merged into a new version; both stay in the history. What OTHER has in
    memory is taken as it is, and told where screening would put it aside; its
    quarantine joins the one here. OTHER is only read: sync there too, and both
    know the same.

    [bold]Examples[/bold]

    personaagent sync /media/laptop/memory.db
    personaagent sync amira.jsonl --db phone.db
    """
    from personaagent.cli import render, session
    from personaagent.memory import sync as syncing
    from personaagent.privacy.forgetting import finish, unfinished_users

    with session.open_store(db, create=True) as store:
        done = [syncing.sync(store, one) for one in _replicas(store, other, user)]
        left = {name: finish(store, name).left for name in unfinished_users(store)}
    changed = [one for one in done if one.changed]
    if as_json:
        render.print_json({"users": [asdict(one) for one in changed]})
    screen = render.screen(as_json=as_json)
    if changed and not as_json:
        columns = ("interactions", "erased", "personas", "champions", "quarantined")
        rows = [[one.user, *(str(getattr(one, name)) for name in columns)] for one in changed]
        screen.print(Table(columns=["user", *columns], rows=rows, right=columns).rich())
    elif not as_json:
        screen.print("nothing new")
    for one in changed:
        if one.suspicious:
            screen.print(_suspicion(one), style="yellow", soft_wrap=True)
    for name, problems in left.items():
        for place, problem in problems.items():
            said = f"user '{name}': left in {place}: {problem}"
            screen.print(render.plain(said), style="yellow", soft_wrap=True)


def _suspicion(one: Synced) -> str:
    from personaagent.cli import render

    count = len(one.suspicious)
    shown = ", ".join((*one.suspicious[:_SHOWN], *(["…"] if count > _SHOWN else ())))
    return render.plain(
        f"user '{one.user}': {render.counted(count, 'interaction')} came in that screening takes "
        f"for instructions: {shown}. They were in memory there: released, or never screened. "
        f"'personaagent interactions --user {one.user}' shows them, 'personaagent forget --user "
        f"{one.user} --id ID' erases one"
    )


def _replicas(store: Store, other: str, user: str | None) -> Iterator[Replica]:
    """What the other side knows, a user at a time; its tasks are made known first."""
    from personaagent.archive import read_archive
    from personaagent.memory import Store, sync
    from personaagent.memory.tasks import load_tasks

    if "://" not in other and not _is_sqlite(Path(other)):
        found, tasks = read_archive(other)
        _learn_tasks(store, {one.name: one for one in tasks})
        if user in (None, found.user):
            yield found
        return
    with Store(other, create=False) as theirs:
        if theirs.name == store.name:
            raise DataError(f"{other}: this is the database itself: name the other one")
        _learn_tasks(store, load_tasks(theirs))
        names = {user} if user else {*theirs.everyone(), *store.everyone()}
        for name in sorted(names):
            with theirs.database.read() as connection:
                found = sync.read(theirs, connection, name)
            yield found


def _learn_tasks(store: Store, tasks: dict[str, Task]) -> None:
    """Save the tasks that are not known here; the wording of known ones stays."""
    from personaagent.memory.tasks import check_tasks, load_tasks, save_tasks

    check_tasks(store, tasks.values())
    known = load_tasks(store)
    save_tasks(store, [task for name, task in tasks.items() if name not in known])


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}): name the memory database of the other "
            "device, or a file of 'personaagent export-all'"
        ) from error
