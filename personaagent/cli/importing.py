"""From files to the store, and on to vectors: users' own data, exports and LaMP's, behind bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from personaagent.data.importers import IMPORTERS
from personaagent.errors import DataError, EmbeddingError, WeightsError
from personaagent.progress import bars

_SHOWN = 5  # of the records that were left

if TYPE_CHECKING:
    from personaagent.data import ImportSummary, Interaction, Task
    from personaagent.experiments.lamp_files import LampQuestion
    from personaagent.memory import Added, Store


@contextmanager
def reading(account: ImportSummary) -> Iterator[None]:
    """Where one record ends the reading of a file inside the block, say how to leave such ones."""
    try:
        yield
    except DataError as error:
        if error is not account.refused:
            raise
        raise DataError(f"{error}; --skip-malformed leaves such records") from None


def interactions(
    files: Sequence[Path], tasks: Mapping[str, Task], account: ImportSummary
) -> list[Interaction]:
    """The interactions of JSONL files.

    Raises:
        DataError: a line breaks the format; it names the file, the line and the field.
    """
    from personaagent.data import read_interactions

    readers = [read_interactions(path, tasks, account=account) for path in files]
    try:
        return _all_of(files, readers)
    except DataError as error:
        if "field 'task'" not in str(error):
            raise
        raise DataError(f"{error}; --tasks tasks.json makes your own tasks known") from None


def exported(
    kind: str, files: Sequence[Path], user: str | None, task: Task, account: ImportSummary
) -> list[Interaction]:
    """The interactions in another program's export.

    Args:
        kind: a name in `IMPORTERS`.
        user: whose data it is; some exports say it themselves.
        account: says what was taken and left.

    Raises:
        DataError: a file breaks the format, or the user or task does not go with it.
    """
    importer = IMPORTERS[kind]
    if user is None and not importer.named:
        raise DataError(f"--from {kind} goes with --user: the file does not say whose it is")
    if importer.messages and task.labels:
        raise DataError(f"task '{task.name}' is not one of free text, but messages are")
    about: dict[str, Any] = {"user": user, "task": task.name, "account": account}
    return _all_of(files, [importer.read(path, **about) for path in files])


def _all_of(files: Sequence[Path], readers: Sequence[Iterable[Interaction]]) -> list[Interaction]:
    """What the readers of files give, behind a bar each."""

    found: list[Interaction] = []
    with bars() as bar:
        for path, reader in zip(files, readers, strict=True):
            row = bar.add_task(f"reading {path.name}", total=None)
            for one in reader:
                bar.advance(row)
                found.append(one)
    return found


def lamp_task(name: str) -> Task:
    """The LaMP task of this name.

    Raises:
        DataError: LaMP has none of this name.
    """
    from personaagent.data import LAMP_TASKS
    from personaagent.data.validation import suggestion

    if name not in LAMP_TASKS:
        raise DataError(
            f"'{name}' is no task of LaMP{suggestion(name, LAMP_TASKS)}; a file of your own names "
            "the task on every line and needs no --task"
        )
    return LAMP_TASKS[name]


def lamp_questions(
    task: Task,
    path: Path,
    outputs: Path | None,
    user: str | None = None,
    *,
    account: ImportSummary,
) -> Iterator[LampQuestion]:
    """The questions of a LaMP file (of one user), in its order."""
    from personaagent.experiments.lamp_files import iter_lamp

    with bars() as bar:
        row = bar.add_task(f"reading {path.name}", total=None)
        for question in iter_lamp(task, path, outputs, users=user, account=account):
            bar.advance(row)
            yield question


def lamp_histories(
    task: Task, files: Sequence[Path], outputs: Path | None, account: ImportSummary
) -> tuple[list[Interaction], int]:
    """The histories in LaMP files, each interaction once, and the number of questions."""
    found: dict[tuple[str, str], Interaction] = {}
    questions = 0
    for path in files:
        for question in lamp_questions(task, path, outputs, account=account):
            questions += 1
            for one in question.history:
                found.setdefault((one.user, one.id), one)
    return list(found.values()), questions


def store(
    store: Store,
    given: Sequence[Interaction],
    tasks: Mapping[str, Task] | None = None,
    *,
    even_erased: bool = False,
    keep_first: bool = False,
) -> Added:
    """Store interactions, all of them or none; `tasks` are those that come with them, for the rest
    see `Store.add`."""

    with bars() as bar:
        row = bar.add_task("storing", total=len(given))
        return store.add(
            given,
            tasks=tasks,
            progress=lambda done: bar.advance(row, done),
            even_erased=even_erased,
            keep_first=keep_first,
        )


def embed(store: Store, users: Collection[str]) -> int | None:
    """Make the vectors that these users' interactions lack; how many, None where it cannot be.

    What is stored can then be searched at once. Without an embedding model it waits, which is
    said.

    Raises:
        KeyboardInterrupt: somebody stopped it, which is said too; what was made is kept.
    """
    from personaagent import memory

    episodic = memory.EpisodicMemory(store, memory.named_embedder())
    try:
        return episodic.ready(*users, progress=True)
    except (WeightsError, EmbeddingError, ImportError) as error:
        typer.echo(
            f"note: everything is stored, but it cannot be searched yet: {error}; the first "
            "command that searches it, or the same import again, does the rest",
            err=True,
        )
        return None
    except KeyboardInterrupt:
        typer.echo(
            "stopped: everything is stored; what has no vector yet gets one when it is first "
            "searched, or by the same import again",
            err=True,
        )
        raise


def report(account: ImportSummary) -> None:
    """Say on stderr what a reader noticed that its user should know."""
    from personaagent.cli import render

    for user, forms in account.joined.items():
        written = " and ".join(ascii(form) for form in forms)
        typer.echo(f"note: user '{render.plain(user)}' is written {written}: one user", err=True)
    if account.missing:
        typer.echo(f"warning: this is {account.missing}", err=True)
    if account.malformed:
        left = render.counted(len(account.malformed), "malformed record")
        typer.echo(f"left {left}:", err=True)
        for message in account.malformed[:_SHOWN]:
            typer.echo(f"  {render.plain(message)}", err=True)
        if len(account.malformed) > _SHOWN:
            typer.echo(f"  … and {len(account.malformed) - _SHOWN:,} others", err=True)


def put_aside(store: Store, given: Sequence[Interaction]) -> Counter[str]:
    """How many of these interactions are in quarantine, by user."""
    from personaagent.memory.quarantine import quarantined

    ids = {(one.user, one.id) for one in given}
    return Counter(
        user
        for user in sorted({one.user for one in given})
        for aside in quarantined(store.of(user))
        if (user, aside.interaction.id) in ids
    )
