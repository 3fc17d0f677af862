"""From files to the store: reading users' own data and LaMP's, behind progress bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personaagent.errors import DataError

if TYPE_CHECKING:
    from personaagent.data import Account, Interaction, LampQuestion, Task
    from personaagent.memory import Added, Store


def interactions(files: Sequence[Path], tasks: Mapping[str, Task]) -> list[Interaction]:
    """The interactions of JSONL files.

    Raises:
        DataError: a line breaks the format; it names the file, the line and the field.
    """
    from personaagent.cli import render
    from personaagent.data import read_interactions

    found: list[Interaction] = []
    with render.progress() as bar:
        for path in files:
            row = bar.add_task(f"reading {path.name}", total=None)
            try:
                for one in read_interactions(path, tasks):
                    bar.advance(row)
                    found.append(one)
            except DataError as error:
                if "field 'task'" not in str(error):
                    raise
                raise DataError(f"{error}; --tasks tasks.json makes your own tasks known") from None
    return found


def exported(
    kind: str, files: Sequence[Path], user: str | None, task: Task
) -> tuple[list[Interaction], Account]:
    """The interactions in another program's export, and what was taken and left.

    Args:
        kind: `chatgpt` or `mem0`.
        user: whose data it is; `mem0` files may say it themselves.

    Raises:
        DataError: a file breaks the format, or the user or task does not go with it.
    """
    from personaagent.cli import render
    from personaagent.data import Account, read_chatgpt, read_mem0

    account = Account()
    if kind == "chatgpt":
        if user is None:
            raise DataError("--from chatgpt goes with --user: the file does not say whose it is")
        if task.labels:
            raise DataError(f"task '{task.name}' is not one of free text, but messages are")
        readers = [read_chatgpt(path, user, task=task.name, account=account) for path in files]
    else:
        readers = [read_mem0(path, task.name, user=user, account=account) for path in files]
    found: list[Interaction] = []
    with render.progress() as bar:
        for path, reader in zip(files, readers, strict=True):
            row = bar.add_task(f"reading {path.name}", total=None)
            for one in reader:
                bar.advance(row)
                found.append(one)
    return found, account


def lamp_task(name: str) -> Task:
    """The LaMP task of this name.

    Raises:
        DataError: LaMP has none of this name.
    """
    from personaagent.data import LAMP_TASKS
    from personaagent.data.rows import suggestion

    if name not in LAMP_TASKS:
        raise DataError(
            f"'{name}' is no task of LaMP{suggestion(name, LAMP_TASKS)}; a file of your own names "
            "the task on every line and needs no --task"
        )
    return LAMP_TASKS[name]


def lamp_questions(
    task: Task, path: Path, outputs: Path | None, user: str | None = None
) -> Iterator[LampQuestion]:
    """The questions of a LaMP file (of one user), in its order."""
    from personaagent.cli import render
    from personaagent.data import iter_lamp

    with render.progress() as bar:
        row = bar.add_task(f"reading {path.name}", total=None)
        for question in iter_lamp(task, path, outputs, users=user):
            bar.advance(row)
            yield question


def lamp_histories(
    task: Task, files: Sequence[Path], outputs: Path | None
) -> tuple[list[Interaction], int]:
    """The histories in LaMP files, each interaction once, and the number of questions."""
    found: dict[tuple[str, str], Interaction] = {}
    questions = 0
    for path in files:
        for question in lamp_questions(task, path, outputs):
            questions += 1
            for one in question.history:
                found.setdefault((one.user, one.id), one)
    return list(found.values()), questions


def store(store: Store, given: Sequence[Interaction]) -> Added:
    """Store interactions, all of them or none."""
    from personaagent.cli import render

    with render.progress() as bar:
        row = bar.add_task("storing", total=len(given))
        return store.add(given, progress=lambda done: bar.advance(row, done))
