"""The cohort's prior: what users of a task have in common, where every user's persona starts.

A user's own replay is a dozen interactions, too few to learn from nothing how far this LM can be
trusted on this task, which labels it prefers, what they mean, and whether showing it memories
helps. The users of a cohort know it together. Only numbers go from the cohort to another user,
never a text.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

import dspy

from personaagent.data import Choice, FusionWeights, Persona, Query, Task
from personaagent.errors import DataError
from personaagent.optimizers.cohort_meanings import cohort_habits
from personaagent.optimizers.crossval import FOLDS, fold_of, no_worse, standard_error
from personaagent.optimizers.prior import STARTS, Prior, Start, Tried
from personaagent.optimizers.replay import parallel
from personaagent.optimizers.worklog import once
from personaagent.programs import PersonaAgent, QueryScope
from personaagent.programs.fusion import Answered, fit_trust, grade, model_of
from personaagent.programs.history import HistoryProfile

BOTH = FusionWeights(habit=1.0)  # so that an answer tells of habit too


def pool(
    agent: PersonaAgent,
    queries: Sequence[Query],
    *,
    owners: Mapping[str, str] | None = None,
    starts: Sequence[Start] = (STARTS["query"], STARTS["memories"]),
    watch: Callable[[int, int], None] = lambda *_: None,
) -> Prior:
    """Learn the prior of the agent's task from queries of several users with known answers.

    First, whether habit alone does better by what the labels mean to the cohort than by what they
    are called. Then every start answers every query; trust is fitted on four fifths of the users
    and judged on the last, in turn; where the task's score is then below that of the LM alone by
    more than one standard error of the paired difference, the LM is left alone. Of the starts that
    lose to the best one by no more than such an error, the fastest is taken. Answers are kept in
    the users' journals, so a stopped run goes on.

    Args:
        agent: with the memory of the queries' users. Where DSPy's LM reads no likelihoods an answer
            counts for what it states, see `Task.stated`.
        queries: with `gold`.
        owners: by user of the memory, whose it is; by default everyone is somebody else. What is
            learned of somebody is never judged on the same.
        starts: what is compared; their trust is what is learned.
        watch: called with how many answers there are, and how many there will be.

    Raises:
        DataError: fewer than two users, or a task of texts.
        LMError: the LM failed.
    """
    asked = [(owners or {}).get(one.user, one.user) for one in queries]
    users = set(asked)
    if len(users) < 2:
        raise DataError(f"a prior is pooled over users, and there are {len(users)}: name more")
    task, lm = agent.task, dspy.settings.lm
    if not task.labels:
        raise DataError(f"task '{task.name}' is one of texts: a prior is pooled from labels")
    done, total = itertools.count(1), len(queries) * len(starts)
    summarize = HistoryProfile()

    def answer(one: tuple[Start, Query]) -> dict[str, Any]:
        start, query = one
        seen = QueryScope.asking(task, query)
        profile = summarize(agent.memory, seen).profile if start.profile else ""
        persona = Persona(query.user, task.name, profile, actions=start.actions, trust=BOTH)
        said = _answered(agent, seen, persona, lm.fingerprint)
        watch(next(done), total)
        return said

    habits, meanings, meant = cohort_habits(agent, queries, asked)

    def judge(start: Start) -> tuple[Tried, list[float]]:
        said = parallel(answer, [(start, one) for one in queries], lm.slots)
        answered: list[Answered] = [
            (one["lm"], habit, query.gold or "")
            for one, habit, query in zip(said, habits, queries, strict=True)
        ]
        return _judged(task, asked, answered, start, fmean(one["seconds"] for one in said))

    judged = [judge(start) for start in starts]
    _, least = min(judged, key=lambda pair: pair[0].loss)
    close = [one for one, losses in judged if no_worse(losses, least, asked)]
    start = min(close, key=lambda one: one.seconds).start
    if start.trust.habit:
        start = replace(start, trust=replace(start.trust, meanings=meanings))
    tried = tuple(one for one, _ in judged)
    return Prior(task.name, lm.fingerprint, start, len(users), tried, meant)


def _answered(agent: PersonaAgent, seen: QueryScope, persona: Persona, lm: str) -> dict[str, Any]:
    """What the LM said, and its seconds; it is asked once."""
    asked = json.dumps([lm, asdict(seen.task), seen.exclude, persona.hash], default=list)
    key = hashlib.sha256(asked.encode()).hexdigest()
    with once(agent.memory.store.of(seen.user).journal("pool"), key) as entry:
        if entry.missing:
            started = time.perf_counter()
            said = agent(
                query=seen.query,
                user=seen.user,
                before=seen.before,
                exclude=seen.exclude,
                persona=persona,
            )
            entry.value = {"lm": said.lm, "seconds": time.perf_counter() - started}
    return dict(entry.value)


def _judged(
    task: Task, asked: Sequence[str], answered: Sequence[Answered], start: Start, seconds: float
) -> tuple[Tried, list[float]]:
    """What the answers of those asked say of a start, and its loss on each."""
    lean = not isinstance(task, Choice)  # both orders are read, so neither label is preferred
    folds = [fold_of(user) for user in asked]
    fitted = [
        fit_trust(
            [one for one, of in zip(answered, folds, strict=True) if of != fold],
            FusionWeights(),
            lean=lean,
        )
        for fold in range(FOLDS)
    ]
    trust = fit_trust(answered, FusionWeights(), lean=lean)
    losses, scores = _served(task, answered, [fitted[fold] for fold in folds])
    alone = _served(task, answered, [FusionWeights()] * len(answered))
    if not no_worse([-score for score in scores], [-score for score in alone[1]], asked):
        trust, (losses, scores) = FusionWeights(), alone
    if trust != FusionWeights():
        trust = replace(trust, fitted_with=model_of(dspy.settings.lm))
    tried = Tried(
        start=replace(start, trust=trust),
        loss=fmean(losses),
        error=standard_error(losses, asked),
        score=fmean(scores),
        seconds=seconds,
    )
    return tried, losses


def _served(
    task: Task, answered: Sequence[Answered], trusts: Sequence[FusionWeights]
) -> tuple[list[float], list[float]]:
    """Losses and scores of the answers as they would be served, each under its trust."""
    graded = [grade(task, one, trust) for one, trust in zip(answered, trusts, strict=True)]
    return [loss for _, loss, _ in graded], [score for _, _, score in graded]
