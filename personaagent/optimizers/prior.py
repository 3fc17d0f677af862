"""What a cohort of users taught of where the personas of a task start: a value and a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from personaagent.data import Action, FusionWeights, Persona
from personaagent.errors import DataError

MANY = 16  # memories that a standing recall may show of a long history
_MEASURED = ("loss", "error", "score", "seconds")


@dataclass(frozen=True, slots=True)
class Start:
    """How a persona begins: whether a profile opens it, its standing actions, and its trust."""

    profile: bool = True
    actions: tuple[Action, ...] = ()
    trust: FusionWeights = field(default_factory=FusionWeights)


RECALL = (Action("recall"),)
RECALL_MANY = (Action("recall", {"k": MANY}),)

# What `pool` can try, by name; a profile costs a long call a sample.
STARTS = {
    "query": Start(profile=False),
    "memories": Start(profile=False, actions=RECALL),
    "many-memories": Start(profile=False, actions=RECALL_MANY),
    "profile": Start(),
}


@dataclass(frozen=True, slots=True)
class Tried:
    """What the cohort says of a start.

    `loss` (nats a query) and `score` (the task's, 1 is best) are of users that the trust was not
    fitted on; `error` is the standard error of the loss; `seconds` are of an answer.
    """

    start: Start
    loss: float
    error: float
    score: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Prior:
    """Where the personas of a task start with an LM.

    Attributes:
        task: its name.
        lm: fingerprint of the LM.
        start: the chosen one; only here trust knows what the cohort means by the labels.
        users: how many it was learned on.
        tried: all starts, the chosen one among them.
        meant: loss of habit alone, nats a query, where labels mean what they are called (`names`)
            and what they mean to the rest of the cohort (`cohort`); empty where neither is words.
    """

    task: str
    lm: str
    start: Start
    users: int
    tried: tuple[Tried, ...] = ()
    meant: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def digest(self) -> str:
        """Names what a persona starts from."""
        content = json.dumps(_plain(self.start), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` reads it back."""
        tried = [asdict(one) | {"start": _plain(one.start)} for one in self.tried]
        content = asdict(self) | {"start": _plain(self.start), "tried": tried}
        data: dict[str, Any] = json.loads(json.dumps(content))
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            DataError: a field is missing or of the wrong form.
        """
        try:
            tried = tuple(
                Tried(_start(one["start"]), *(float(one[name]) for name in _MEASURED))
                for one in data["tried"]
            )
            start, meant = _start(data["start"]), dict(data.get("meant", {}))
            return cls(data["task"], data["lm"], start, data["users"], tried, meant)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"prior: malformed field: {error!r}") from error

    def persona(self, user: str, task: str, lm: str) -> Persona:
        """The persona of a user of whom nothing is known yet.

        Raises:
            DataError: it was learned for another task or LM.
        """
        self.check(task, lm)
        return Persona(user, self.task, actions=self.start.actions, trust=self.start.trust)

    def check(self, task: str, lm: str) -> None:
        """See that it was learned for this task and LM.

        Raises:
            DataError: it was not.
        """
        if self.task != task:
            raise DataError(f"the prior is of task '{self.task}', not of '{task}'")
        if self.lm != lm:
            raise DataError(
                f"the prior was learned with another LM ({self.lm[:12]}, not {lm[:12]}), whose "
                "likelihoods are others: 'personaagent pool' learns one for this LM"
            )


def read_prior(path: Path) -> Prior:
    """The prior in a file.

    Raises:
        DataError: there is none, or it breaks the format.
    """
    try:
        return Prior.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: 'personaagent pool' writes one") from error
    except (ValueError, DataError) as error:
        raise DataError(f"{path}: no prior as 'personaagent pool' writes it: {error}") from error


def _plain(start: Start) -> dict[str, Any]:
    """Without meanings where there are none: digests from before there were any stay valid."""
    data = asdict(start)
    if start.trust.meanings is None:
        del data["trust"]["meanings"]
    return data


def _start(data: dict[str, Any]) -> Start:
    """Actions and trust are read as a persona reads them."""
    fields = {"actions": data["actions"], "trust": data["trust"]}
    persona = Persona.from_dict(Persona("", "").to_dict() | fields)
    if not isinstance(data["profile"], bool):
        raise TypeError(f"profile is {data['profile']!r}")
    return Start(data["profile"], persona.actions or (), persona.trust)
