"""Where the personas of a task start: from the published one, from a first one, or from what a
cohort of users taught, which is a value and a file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from personaagent.data import Action, Choice, FusionWeights, Interaction, Item, Persona
from personaagent.data.facts import facts_of, quoted
from personaagent.data.sensitive import Policy
from personaagent.data.style import EXAMPLE, restyled
from personaagent.errors import DataError
from personaagent.optimizers.replay import Student
from personaagent.optimizers.worklog import Record
from personaagent.optimizers.writers import Writers
from personaagent.programs.fusion import fits
from personaagent.programs.profile import words_for
from personaagent.programs.scope import derived_from

MANY = 16  # memories that a standing recall may show of a long history
_MEASURED = ("loss", "error", "score", "seconds")


@dataclass(frozen=True, slots=True)
class Start:
    """How a persona begins: whether a profile opens it, its standing actions, and its trust."""

    profile: bool = True
    actions: tuple[Action, ...] = ()
    trust: FusionWeights = field(default_factory=FusionWeights)


RECALL_MANY = (Action("recall", {"k": MANY}),)

# What `pool` can try, by name; a profile costs a long call a sample.
STARTS = {
    "query": Start(profile=False),
    "memories": Start(profile=False, actions=(Action("recall"),)),
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


def fresh(persona: Persona) -> bool:
    """Whether a first profile is to be written: there is no persona yet, or an erasure took it."""
    return not (persona.profile or persona.directives or persona.profile_pinned)


def styled(
    agent: Student, user: str, known: Sequence[Interaction], policy: Policy
) -> tuple[Item, ...]:
    """The items of the user's persona, where the task is to write texts with the user's habits of
    writing counted anew.

    They are as they were where only the counts in them would change, so that not every new text
    makes another persona.

    Args:
        agent: its task and memory.
        user: whose persona.
        known: what may write a persona, oldest first.
        policy: for what is sensitive.
    """
    persona = agent.persona_of(user)
    if agent.task.labels:
        return persona.items
    items = restyled(persona.items, known, policy)
    return persona.items if _gist(items) == _gist(persona.items) else items


def _gist(items: Sequence[Item]) -> set[tuple[str, str]]:
    """What the items say but for counts, examples, favourite words, and small changes of length."""

    def gist(one: Item) -> str:
        if one.topic == "length":  # "writes 6 words, the middle half ...": about how many, doubled
            return re.sub(r"\d+", lambda n: str(int(n[0]).bit_length()), one.text.split(",")[0])
        return re.sub(r"\d+|\([^()]*\)", "", one.text)

    return {(one.topic, gist(one)) for one in items if one.topic not in (EXAMPLE, "words")}


def bare_of(agent: Student, user: str, start: Start, items: tuple[Item, ...]) -> list[Persona]:
    """What `start_of` gives, without its profile; empty where that is not all that it says."""
    persona = agent.persona_of(user)
    if persona.directives or persona.profile_pinned:
        return []
    if persona.profile:
        return [replace(persona, profile="")]
    return [replace(persona, profile="", items=items, actions=start.actions)]


def longer_of(
    agent: Student,
    user: str,
    known: Sequence[Interaction],
    short: int,
    longest: int,
    writers: Writers,
    record: Record,
    *,
    history: int,
) -> list[str]:
    """Longer first profiles, where there is no persona yet and the history is long enough for one
    that may be at least twice as long as the short one.

    The first is what code has counted, as it stands, which costs no call and which a small LM
    follows better than a description of its own (of texts that stands in items already, see
    `styled`); the other an LM has written from that and the latest interactions.

    Args:
        agent: its task and memory.
        user: whose persona.
        known: what may write a persona, also what is too old to write directives.
        short: words of the short one.
        longest: words that it may have at most.
        writers: write it.
        record: keeps it.
        history: how much there is in all that may write, also what tests the persona first.
    """
    persona, task = agent.persona_of(user), agent.task
    words = words_for(task, history, longest)
    if not fresh(persona) or words < 2 * short:
        return []
    counted = quoted(facts_of(task, known, writers.policy), words) if task.labels else ""
    written = writers.longer_profile(task, known, words, record)
    return [one for one in (counted, written) if one]


def start_of(
    agent: Student,
    user: str,
    writing: Sequence[Interaction],
    judging: Sequence[Interaction],
    start: Start,
    items: tuple[Item, ...],
    writers: Writers,
    record: Record,
) -> Persona:
    """The published persona, or a first one as the cohort starts: by default a profile.

    Args:
        agent: its task and memory.
        user: whose persona.
        writing: what may write a persona.
        judging: what judges it, and must not write it.
        start: how a first one begins.
        items: of a first one.
        writers: write the profile.
        record: keeps it.
    """
    persona = agent.persona_of(user)
    if not fresh(persona):  # its weights are fitted anew where another model is asked
        return persona if fits(persona.trust) else persona.succeed(trust=start.trust)
    persona = replace(persona, items=items, actions=start.actions, trust=start.trust)
    if not start.profile:
        return persona
    # Derived interactions say little of the user; what they were made from says more.
    sources = {id for one in writing for id in derived_from(one)}
    hidden = {id for one in judging for id in derived_from(one)}
    mine = agent.memory.store.of(user)
    papers = mine.get(sorted(sources - hidden))
    # What is known of the user without an answer (a Choice's papers judge, too).
    last = max((one.time for one in (*writing, *judging) if one.time), default=None)
    told = (
        []
        if isinstance(agent.task, Choice)
        else mine.interactions(agent.task.name, before=last, unanswered=True)
    )
    profile = writers.profile(agent.task, papers or [*told, *writing], record)
    return replace(persona, profile=profile)
