"""What a command works with: the store, the task that is meant, the agent, the next persona."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from personaagent.cli.options import LMChoice
from personaagent.errors import DataError, StoreError

if TYPE_CHECKING:
    import dspy

    from personaagent.data import Persona, Task
    from personaagent.lm import PersonaLM
    from personaagent.memory import Journal, Published, Store
    from personaagent.programs import PersonaAgent


def open_store(where: str | None, *, create: bool = False) -> Store:
    """The memory database, by default the one of `Store`; only what brings first data makes one.

    Raises:
        StoreError: there is none, or it cannot be opened.
    """
    from personaagent import memory

    return memory.Store(where, create=create)


def note_work(users: Iterable[str], path: Path) -> None:
    """Tell the default memory database of a place of work on files, if it knows some of the users,
    so that erasing one of them cleans the place.

    A command that works on files goes on without such a database; `forget --results` names the
    place then.
    """
    from personaagent.memory import exports

    with suppress(StoreError), open_store(None) as store:
        if known := store.everyone().intersection(users):
            exports.begin_work(store, known, path)


def note_work_gone(path: Path) -> None:
    """Tell the default memory database, where there is one, that what `note_work` named is gone."""
    from personaagent.memory import exports

    with suppress(StoreError), open_store(None) as store:
        exports.end_work(store, path)


def note_unrecorded(store: Store) -> None:
    """Say on stderr where an export could not be written down."""
    if store.database.readonly:
        typer.echo(
            f"note: {store.name} is read-only, so it does not know of what was written here, and "
            "'personaagent forget' will not delete it",
            err=True,
        )


def task_named(store: Store, name: str) -> Task:
    """A task that the store knows.

    Raises:
        DataError: there is no such task.
    """
    from personaagent.data.rows import suggestion
    from personaagent.memory.tasks import load_tasks

    tasks = load_tasks(store)
    if name not in tasks:
        raise DataError(
            f"there is no task '{name}'{suggestion(name, tasks)}: "
            "'personaagent import FILE --tasks tasks.json' makes your own tasks known"
        )
    return tasks[name]


def task_of(store: Store, user: str, name: str | None) -> Task:
    """The task of this name, or without one the only task that the user has.

    Raises:
        DataError: there is no such task, or none or several to choose from.
    """
    from personaagent.memory.tasks import tasks_of

    if name is not None:
        return task_named(store, name)
    names = tasks_of(store, user)
    if len(names) == 1:
        return task_named(store, names[0])
    if names:
        raise DataError(
            f"user '{user}' has several tasks: name one with --task ({', '.join(names)})"
        )
    close = get_close_matches(user, [one.user for one in store.users()], n=1)
    raise DataError(
        f"user '{user}' has no interactions in {store.name}"
        + (f": did you mean '{close[0]}'?" if close else "")
        + ": add some with 'personaagent import' or 'personaagent observe', or name the task "
        "with --task"
    )


def connect(choice: LMChoice, *, like: PersonaLM | None = None) -> PersonaLM:
    """The LM of a choice; `like` another one it counts into the same meter and budget."""
    from personaagent import lm

    budget, meter = (like.budget, like.meter) if like else (choice.budget, None)
    return lm.connect(
        choice.lm,
        api_base=choice.api_base,
        slots=choice.slots,
        budget=budget,
        meter=meter,
        likelihoods=choice.likelihoods,
        reasoning=choice.reasoning,
        max_output=choice.max_output,
        fallback=choice.fallback_lm,
        fallback_api_base=choice.fallback_api_base,
    )


def connect_gradient(
    name: str | None, api_base: str | None, choice: LMChoice, like: PersonaLM
) -> PersonaLM | None:
    """The LM that writes gradients and updates, None without a name of one.

    What the options say of --lm is not said of it. A model without a provider's name is asked where
    --lm is, unless it has an address of its own.
    """
    if name is None:
        return None
    elsewhere = "/" in name or name == "embedded" or name.lower().endswith(".gguf")
    where = api_base or (None if elsewhere else choice.api_base)
    own = replace(
        choice, lm=name, api_base=where, likelihoods=None, reasoning=None, max_output=None
    )
    return connect(own, like=like)


@contextmanager
def agent_of(store: Store, task: Task, lm: PersonaLM) -> Iterator[PersonaAgent]:
    """The agent for a task, with the LM configured for DSPy inside the block."""
    import dspy

    from personaagent import memory
    from personaagent.programs import PersonaAgent

    with dspy.context(lm=lm):
        yield PersonaAgent(task, memory.EpisodicMemory(store, memory.SentenceEmbedder()))


@contextmanager
def tracking_noted() -> Iterator[None]:
    """What MLflow could not do inside the block, as lines on stderr and not as warnings."""
    from personaagent.tracking import TrackingWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrackingWarning)
        yield
    for one in caught:
        if issubclass(one.category, TrackingWarning):
            typer.echo(f"note: {one.message}", err=True)
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


def wikipedia() -> dspy.Tool:
    """The general tool that the paper gives its agent."""
    import dspy

    from personaagent.programs.tools import wikipedia

    return dspy.Tool(wikipedia)


def published(store: Store, user: str, task: Task) -> list[Published]:
    """The chain of the user's personas, which has one at least.

    Raises:
        DataError: there is none yet.
    """
    chain = store.of(user).history(task.name)
    if not chain:
        raise DataError(
            f"user '{user}' has no persona for task '{task.name}' yet: "
            f"'personaagent compile --user {user} --task {task.name}' learns one"
        )
    return chain


def champion(store: Store, user: str, task: Task) -> Persona:
    """The user's persona.

    Raises:
        DataError: there is none yet.
    """
    return said(published(store, user, task)[-1])


def version_of(chain: list[Published], number: int) -> Published:
    """The entry of this version.

    Raises:
        DataError: there is none.
    """
    for one in chain:
        if one.version == number:
            return one
    first, last = chain[0].version, chain[-1].version
    raise DataError(f"there is no version {number}: there are {first} to {last}")


def said(entry: Published) -> Persona:
    """The persona of an entry.

    Raises:
        DataError: it was erased.
    """
    if entry.persona is None:  # never the champion: an erasure puts a successor in its place
        raise DataError(
            f"version {entry.version} was erased with an interaction that it rested on: its text "
            "is gone"
        )
    return entry.persona


def origins(store: Store, user: str, task: Task) -> Journal:
    """What led to each persona, by its hash and the run; `blame` and the watch read it.

    Values are {run, version, until, steps}: `until` the id of the latest interaction that the run
    saw, `steps` as of `AlignmentLog.origins`.
    """
    return store.of(user).journal(f"origins/{task.name}")


def publish(store: Store, persona: Persona, over: Persona | None, reason: str) -> Persona:
    """Make the champion say what a persona says; the persona that is the champion then.

    It continues the chain: where the persona does not follow the champion already, it becomes the
    champion's next version. One that says the same as the champion changes nothing.

    Args:
        over: the champion that the caller read, None if there was none.

    Raises:
        ConflictError: there is another champion now.
    """
    memory = store.of(persona.user)
    successor = over if over is not None and same(over, persona) else following(over, persona)
    expected = over.hash if over else None
    memory.publish(successor, expected=expected, reason=reason)
    return successor


def following(champion: Persona | None, persona: Persona) -> Persona:
    """A persona of the same content at the end of the champion's chain."""
    if champion is None:
        return replace(persona, version=0, parent=None)
    if (persona.parent, persona.version) == (champion.hash, champion.version + 1):
        return persona
    return replace(persona, version=champion.version + 1, parent=champion.hash)


def same(one: Persona, other: Persona) -> bool:
    """Whether two personas say the same, whatever their place in the chain."""
    return replace(one, version=0, parent=None) == replace(other, version=0, parent=None)
