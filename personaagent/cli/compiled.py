"""What `compile` did for a user, so that nothing is done twice and what is new can be told.

It is written down before the persona is published: a run that is killed in between publishes on
the next occasion what it had found, and asks the LM nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from personaagent.cli import session

if TYPE_CHECKING:
    from personaagent.data import Interaction, Persona
    from personaagent.memory import Store
    from personaagent.optimizers import AlignmentLog, Setting


@dataclass(frozen=True, slots=True)
class Compiled:
    """One finished alignment; `over` is the hash of the champion that it started from, `seconds`
    its wall clock."""

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

    @classmethod
    def of(
        cls, log: AlignmentLog, champion: Persona | None, reason: str, seconds: float
    ) -> Compiled:
        """What an alignment came to, for the user whose champion it started from."""
        changed = champion is None or not session.same(champion, log.last)
        persona = session.following(champion, log.last) if changed or not champion else champion
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
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
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
        names: the LMs (`align.names_of`).
    """

    store: Store
    user: str
    task: str
    setting: Setting
    names: str

    def known(self, trainset: Sequence[Interaction]) -> Compiled | None:
        """What the same setting and LMs made of the same interactions."""
        entry = self._journal.get(self._key(trainset))
        return None if entry is None else Compiled.from_dict(entry)

    def fresh(self, trainset: Sequence[Interaction]) -> bool:
        """Whether there are interactions that no compilation has seen, whatever its setting."""
        return self._journal.get(_digest(trainset)) is None

    def once(self, trainset: Sequence[Interaction], work: Callable[[], Compiled]) -> Compiled:
        """What is known, or is made now; published."""
        done = self.known(trainset)
        if done is None:
            done = Compiled.from_dict(self._journal.put(self._key(trainset), work().to_dict()))
        self.published(done)
        self._journal.put(_digest(trainset), True)
        return done

    def keep(self, trainset: Sequence[Interaction], done: Compiled) -> None:
        """Write down what is published already."""
        self._journal.put(self._key(trainset), done.to_dict())
        self._journal.put(_digest(trainset), True)

    def published(self, done: Compiled) -> Compiled:
        """See that it is published, unless somebody else has published since."""
        memory = self.store.of(self.user)
        champion = memory.persona(self.task)
        if done.changed and (champion.hash if champion else None) == done.over:
            memory.publish(done.persona, expected=done.over, reason=done.reason)
        return done

    def forget(self) -> None:
        """As if nothing had been compiled."""
        self._journal.clear()

    @property
    def _journal(self) -> Any:
        return self.store.of(self.user).journal(f"compiled/{self.task}")

    def _key(self, trainset: Sequence[Interaction]) -> str:
        said = json.dumps([self.setting.to_dict(), self.names], sort_keys=True)
        return f"{_digest(trainset)}/{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _digest(trainset: Sequence[Interaction]) -> str:
    said = json.dumps([(one.id, one.digest) for one in trainset])
    return hashlib.sha256(said.encode()).hexdigest()[:24]
