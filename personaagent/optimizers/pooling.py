"""The cohort's prior: what users of a task have in common, where every user's persona starts.

A user's own replay is a dozen interactions, too few to learn from nothing how far this LM can be
trusted on this task, which labels it prefers, and whether showing it memories helps. The users of a
cohort know it together. Only these few numbers go from the cohort to another user, never a text.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Self

import dspy

from personaagent.data import Action, Choice, Persona, Query, Task, Trust
from personaagent.errors import DataError
from personaagent.optimizers.record import once
from personaagent.optimizers.replay import parallel
from personaagent.programs import PersonaAgent, Situation
from personaagent.programs.fusion import Answered, fit_trust, grade
from personaagent.programs.habits import label_posterior
from personaagent.programs.history import HistoryProfile

FOLDS = 5
BOTH = Trust(habit=1.0)  # so that an answer tells of habit too
_MEASURED = ("loss", "error", "score", "seconds")


@dataclass(frozen=True, slots=True)
class Start:
    """How a persona begins: whether a profile opens it, its standing actions, and its trust."""

    profile: bool = True
    actions: tuple[Action, ...] = ()
    trust: Trust = field(default_factory=Trust)


STARTS = (Start(profile=False), Start(profile=False, actions=(Action("recall"),)))


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

    `tried` are all starts, the chosen one among them; `users` is how many it was learned on.
    """

    task: str
    lm: str
    start: Start
    users: int
    tried: tuple[Tried, ...] = ()

    @property
    def digest(self) -> str:
        """Names what a persona starts from."""
        content = json.dumps(asdict(self.start), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; `from_dict` reads it back."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
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
            return cls(data["task"], data["lm"], _start(data["start"]), data["users"], tried)
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


def pool(
    agent: PersonaAgent,
    queries: Sequence[Query],
    *,
    starts: Sequence[Start] = STARTS,
    watch: Callable[[int, int], None] = lambda *_: None,
) -> Prior:
    """Learn the prior of the agent's task from queries of several users with known answers.

    Every start answers every query; trust is fitted on four fifths of the users and judged on the
    last, in turn; where the task's score is then below that of the LM alone, the LM is left alone.
    Of the starts that lose to the best one by no more than one standard error of the
    paired difference, the fastest is taken. Answers are kept in the users' journals, so a stopped
    run goes on.

    Args:
        agent: with the memory of the queries' users; needs DSPy's LM, which reads likelihoods.
        queries: with `gold`.
        starts: what is compared; their trust is what is learned.
        watch: called with how many answers there are, and how many there will be.

    Raises:
        DataError: fewer than two users, or an LM that reads no likelihoods.
        LMError: the LM failed.
    """
    users = {one.user for one in queries}
    if len(users) < 2:
        raise DataError(f"a prior is pooled over users, and there are {len(users)}: name more")
    task, lm = agent.task, dspy.settings.lm
    if not (task.labels and lm.reads_likelihoods):
        raise DataError(f"task '{task.name}' with this LM gives no likelihoods: nothing to pool")
    done, total = itertools.count(1), len(queries) * len(starts)
    summarize = HistoryProfile()

    def answer(asked: tuple[Start, Query]) -> dict[str, Any]:
        start, query = asked
        seen = Situation(query.user, task, query.query, query.time, (query.id,))
        profile = summarize(agent.memory, seen).profile if start.profile else ""
        persona = Persona(query.user, task.name, profile, actions=start.actions, trust=BOTH)
        said = _answered(agent, seen, persona, lm.fingerprint)
        watch(next(done), total)
        return said

    judged = [
        _judged(task, queries, parallel(answer, [(start, one) for one in queries], lm.slots), start)
        for start in starts
    ]
    _, least = min(judged, key=lambda pair: pair[0].loss)
    close = [one for one, losses in judged if _no_worse(losses, least)]
    chosen = min(close, key=lambda one: one.seconds)
    tried = tuple(one for one, _ in judged)
    return Prior(task.name, lm.fingerprint, chosen.start, len(users), tried)


def _answered(agent: PersonaAgent, seen: Situation, persona: Persona, lm: str) -> dict[str, Any]:
    """The two distributions that an answer is fused from, and its seconds; the LM is asked once."""

    def work() -> dict[str, Any]:
        started = time.perf_counter()
        said = agent(
            query=seen.query,
            user=seen.user,
            before=seen.before,
            exclude=seen.exclude,
            persona=persona,
        )
        return {"lm": said.lm, "seconds": time.perf_counter() - started}

    asked = json.dumps([lm, asdict(seen.task), seen.exclude, persona.hash], default=list)
    key = hashlib.sha256(asked.encode()).hexdigest()
    said = once(agent.memory.store.of(seen.user).journal("pool"), key, work)
    return {**said, "habit": label_posterior(agent.retrieve, seen)}


def _judged(
    task: Task, queries: Sequence[Query], said: Sequence[dict[str, Any]], start: Start
) -> tuple[Tried, list[float]]:
    """What the queries say of a start, and its loss on each."""
    lean = not isinstance(task, Choice)  # both orders are read, so neither label is preferred
    answered: list[Answered] = [
        (one["lm"], one["habit"], query.gold or "")
        for one, query in zip(said, queries, strict=True)
    ]
    folds = [_fold(query.user) for query in queries]
    fitted = [
        fit_trust(
            [one for one, of in zip(answered, folds, strict=True) if of != fold],
            Trust(),
            lean=lean,
        )
        for fold in range(FOLDS)
    ]
    trust = fit_trust(answered, Trust(), lean=lean)
    losses, scores = _served(task, answered, [fitted[fold] for fold in folds])
    alone = _served(task, answered, [Trust()] * len(answered))
    if fmean(scores) < fmean(alone[1]):
        trust, (losses, scores) = Trust(), alone
    tried = Tried(
        start=replace(start, trust=trust),
        loss=fmean(losses),
        error=_error(losses),
        score=fmean(scores),
        seconds=fmean(one["seconds"] for one in said),
    )
    return tried, losses


def _served(
    task: Task, answered: Sequence[Answered], trusts: Sequence[Trust]
) -> tuple[list[float], list[float]]:
    """Losses and scores of the answers as they would be served, each under its trust."""
    graded = [grade(task, one, trust) for one, trust in zip(answered, trusts, strict=True)]
    return [loss for _, loss, _ in graded], [score for _, _, score in graded]


def _no_worse(losses: Sequence[float], least: Sequence[float]) -> bool:
    lost = [mine - best for mine, best in zip(losses, least, strict=True)]
    return fmean(lost) <= _error(lost)


def _error(values: Sequence[float]) -> float:
    """The standard error of their mean."""
    return stdev(values) / math.sqrt(len(values))


def _fold(user: str) -> int:
    return int(hashlib.sha256(f"fold {user}".encode()).hexdigest(), 16) % FOLDS


def _start(data: dict[str, Any]) -> Start:
    """Actions and trust are read as a persona reads them."""
    fields = {"actions": data["actions"], "trust": data["trust"]}
    persona = Persona.from_dict(Persona("", "").to_dict() | fields)
    if not isinstance(data["profile"], bool):
        raise TypeError(f"profile is {data['profile']!r}")
    return Start(data["profile"], persona.actions or (), persona.trust)
