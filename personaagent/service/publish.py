"""The chain of a user's personas: read, and continued at its end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from personaagent.errors import DataError

if TYPE_CHECKING:
    from personaagent.data import Persona, Task
    from personaagent.memory import Journal, Published, Store


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
