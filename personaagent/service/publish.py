"""The chain of a user's personas, read and continued at its end; and what a training did for a
user, so that nothing is done twice and what is new can be told. Both are written in one
transaction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from personaagent.errors import DataError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from personaagent.data import Interaction, Persona, Task
    from personaagent.memory import Journal, Published, Store
    from personaagent.optimizers import AlignmentLog, Prior, Setting


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


def publish(
    store: Store,
    persona: Persona,
    over: Persona | None,
    reason: str,
    then: Callable[[sa.Connection], None] | None = None,
) -> Persona:
    """Make the champion say what a persona says; the persona that is the champion then.

    It continues the chain: where the persona does not follow the champion already, it becomes the
    champion's next version. One that says the same as the champion changes nothing.

    Args:
        over: the champion that the caller read, None if there was none.
        then: called in the transaction that publishes.

    Raises:
        ConflictError: there is another champion now.
    """
    memory = store.of(persona.user)
    successor = over if over is not None and same(over, persona) else following(over, persona)
    expected = over.hash if over else None
    memory.publish(successor, expected=expected, reason=reason, then=then)
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


@dataclass(frozen=True, slots=True)
class Compiled:
    """One finished alignment.

    Attributes:
        persona: the champion that it made, or left.
        over: the hash of the champion that it started from, None if there was none.
        reason: why the persona is published, as its history keeps it.
        stopped: why the alignment ended.
        changed: whether the persona is a new one.
        first_loss, last_loss: before and after, on the interactions that judged.
        first_score, last_score: the task's metric before and after, from 0 to 1.
        judged: the number of interactions that judged.
        accepted: the number of steps that were accepted.
        usage: calls, tokens, seconds and money by name.
        seconds: wall clock.
        held: why the persona is not the champion: it is "waiting" for approval, or a person has
            "rejected" it before; empty where nothing holds it.
    """

    persona: Persona
    over: str | None
    reason: str
    stopped: str
    changed: bool
    first_loss: float
    last_loss: float
    first_score: float
    last_score: float
    judged: int
    accepted: int
    usage: dict[str, float]
    seconds: float
    held: str = ""

    @classmethod
    def of(
        cls, log: AlignmentLog, champion: Persona | None, reason: str, seconds: float
    ) -> Compiled:
        """What an alignment came to, for the user whose champion it started from."""
        changed = champion is None or not same(champion, log.last)
        persona = following(champion, log.last) if changed or not champion else champion
        return cls(
            persona,
            champion.hash if champion else None,
            reason,
            log.stopped,
            changed,
            log.first_loss,
            log.last_loss,
            log.first_score,
            log.last_score,
            len(log.judged),
            sum(step.accepted is not None for step in log.steps),
            dict(log.usage),
            seconds,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` reads it."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self), default=datetime.isoformat))
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Compiled:
        """Read what `to_dict` wrote."""
        from personaagent.data import Persona

        return cls(**{**data, "persona": Persona.from_dict(data["persona"])})


@dataclass(frozen=True, slots=True)
class Memo:
    """What is known of one user's compilations for a task.

    Args:
        journal: where it is kept.
        setting: how to align.
        names: the LMs (`trainer.names_of`).
        prior: where a new persona starts.
    """

    journal: Journal
    setting: Setting
    names: str
    prior: Prior | None = None

    def known(self, trainset: Sequence[Interaction]) -> Compiled | None:
        """What the same setting and LMs made of the same interactions."""
        entry = self.journal.get(self._key(trainset))
        return None if entry is None else Compiled.from_dict(entry)

    def fresh(self, trainset: Sequence[Interaction]) -> bool:
        """Whether there are interactions that no compilation has seen, whatever its setting."""
        return self.journal.get(_digest(trainset)) is None

    def keep(
        self, connection: sa.Connection, trainset: Sequence[Interaction], done: Compiled
    ) -> None:
        """Write down what is done, in the transaction that publishes it."""
        self.journal.write(connection, self._key(trainset), done.to_dict())
        self.journal.write(connection, _digest(trainset), True)

    def forget(self) -> None:
        """As if nothing had been compiled."""
        self.journal.clear()

    def _key(self, trainset: Sequence[Interaction]) -> str:
        prior = self.prior.digest if self.prior else None
        said = json.dumps([self.setting.to_dict(), self.names, prior], sort_keys=True)
        return f"{_digest(trainset)}/{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _digest(trainset: Sequence[Interaction]) -> str:
    said = json.dumps([(one.id, one.digest) for one in trainset])
    return hashlib.sha256(said.encode()).hexdigest()[:24]
