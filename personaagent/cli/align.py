"""The work of `compile`: what it learns from, the alignment, and what becomes of the result."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from personaagent.cli import intake, session
from personaagent.errors import DataError, LMError

if TYPE_CHECKING:
    from personaagent.cli.steps import Display
    from personaagent.data import Interaction, Persona, Query, Task
    from personaagent.lm import PersonaLM
    from personaagent.memory import Store
    from personaagent.optimizers import AlignmentLog, Step, Watched
    from personaagent.optimizers.acceptance import Acceptance
    from personaagent.programs import PersonaAgent


@dataclass(frozen=True, slots=True)
class Settings:
    """How to align: options of the command, by their names."""

    iterations: int
    batch: int
    replay: int
    sampler: str
    update: str
    accept: str
    seed: int
    restart: bool


def import_lamp(
    store: Store, user: str, task: str | None, questions: Path | None, outputs: Path | None
) -> list[Query]:
    """Import a user's history from a questions file; the user's questions that have gold answers.

    Where wrong options must be made up, of all users: the papers of others are the wrong ones.

    Raises:
        DataError: the options do not go together, or a file breaks the format.
    """
    if questions is None:
        if outputs is not None:
            raise DataError("--outputs goes with --questions: name the questions file too")
        return []
    if task is None:
        raise DataError("--questions goes with --task: name the task of LaMP, such as lamp-2m")
    lamp = intake.lamp_task(task)
    found = list(intake.lamp_questions(lamp, questions, outputs, user))
    known = found
    if any(not one.response for question in found for one in question.history):
        known = list(intake.lamp_questions(lamp, questions, None, None))
    intake.store(store, [one for question in known for one in question.history])
    return [question.query for question in found if question.query.gold is not None]


def trainset(store: Store, user: str, task: Task, seed: int) -> list[Interaction]:
    """What the user really answered, oldest first; for LaMP-1's papers, questions made of them.

    Raises:
        DataError: there is nothing to learn from.
    """
    mine = store.of(user).interactions(task.name)
    answered = [one for one in mine if one.response]
    if mine and not answered:
        return _pairs(store, user, task, seed)
    if not answered:
        raise DataError(
            f"user '{user}' has no interactions of task '{task.name}' to learn from: "
            "'personaagent import FILE --tasks tasks.json' adds some, or for LaMP "
            "--questions FILE"
        )
    return answered


def _pairs(store: Store, user: str, task: Task, seed: int) -> list[Interaction]:
    from personaagent.data import self_supervised_pairs

    everyone = [one.user for one in store.users(task.name)]
    if everyone == [user]:
        raise DataError(
            f"user '{user}' is the only one with papers, and the questions of task '{task.name}' "
            "need papers of others as wrong options: 'personaagent import QUESTIONS --task "
            f"{task.name}' adds those of a whole file"
        )
    papers = {one: store.of(one).interactions(task.name) for one in everyone}
    pairs = [one for one in self_supervised_pairs(papers, seed) if one.user == user]
    if not pairs:
        raise DataError(f"user '{user}' has one paper in task '{task.name}': two are needed")
    return pairs


def align(
    agent: PersonaAgent,
    interactions: Sequence[Interaction],
    settings: Settings,
    gradient_lm: PersonaLM | None,
    report: Callable[[Step], None],
) -> tuple[AlignmentLog, str]:
    """Align the agent to the interactions of one user; the log, and the key of the run.

    Finished work is kept in the store's journal, so that an interrupted run goes on.

    Raises:
        LMError: the LM failed, or its budget is used up.
    """
    import dspy

    from personaagent import optimizers

    lm = dspy.settings.lm
    updates = {"edits": optimizers.ItemisedEdits, "rewrite": optimizers.FullRewrite}
    options = {
        "iterations": settings.iterations,
        "batch": settings.batch,
        "replay": settings.replay,
        "sampler": {"hard": optimizers.HardBatch, "latest": optimizers.LatestBatch}[
            settings.sampler
        ](),
        "update": updates[settings.update]() if settings.update in updates else None,
        "acceptance": _acceptance(agent, interactions[0].user, settings.accept),
        "gradient_lm": gradient_lm,
        "seed": settings.seed,
    }
    names = lm.fingerprint if gradient_lm is None else f"{lm.fingerprint} {gradient_lm.fingerprint}"
    key = optimizers.PersonaAlignment(**options).key(agent, interactions, names)
    journal = agent.memory.store.of(interactions[0].user).journal(key)
    if settings.restart:
        journal.clear()
    alignment = optimizers.PersonaAlignment(**options, record=journal, report=report)
    try:
        aligned = alignment.compile(agent, trainset=interactions)
    except LMError as error:
        raise LMError(
            f"{error}; what was done so far is kept: the same command goes on from there"
        ) from error
    log: AlignmentLog = aligned.alignment
    return log, key


def _acceptance(agent: PersonaAgent, user: str, name: str) -> Acceptance:
    """The policy of this name; the evidence of the user, and the bets of what others' edits did."""
    from personaagent import optimizers

    if name == "replay":
        return optimizers.AcceptOnReplay()
    if name == "always":
        return optimizers.AlwaysAccept()
    store, task = agent.memory.store, agent.task.name
    others = (store.of(one.user) for one in store.users(task) if one.user != user)
    bets = optimizers.pooled(
        share for other in others for share in optimizers.Ledger.of(other, task).shares()
    )
    return optimizers.AcceptOnEvidence(optimizers.Ledger.of(store.of(user), task), bets=bets)


def watch(agent: PersonaAgent, user: str, interactions: Sequence[Interaction]) -> Watched | None:
    """Roll the champion back where what the user did since speaks for its parent.

    Args:
        interactions: all of the user's, oldest first.
    """
    from personaagent import optimizers

    store, task = agent.memory.store, agent.task
    chain = store.of(user).history(task.name)
    if len(chain) < 2:
        return None
    champion = chain[-1]
    runs = session.origins(store, user, task).entries(champion.persona.hash)
    seen = {run["until"] for run in runs.values() if run["version"] == champion.persona.version}
    ids = [one.id for one in interactions]
    if known := seen.intersection(ids):
        newer = interactions[min(map(ids.index, known)) + 1 :]
    else:  # rolled back or restored
        newer = [one for one in interactions if one.time and one.time > champion.created]
    return optimizers.watch_champion(
        agent,
        user,
        newer,
        ledger=optimizers.Ledger.of(store.of(user), task.name),
        record=store.of(user).journal(f"watch/{champion.persona.hash}"),
    )


def keep_origins(
    store: Store, persona: Persona, task: Task, log: AlignmentLog, run: str, until: Interaction
) -> None:
    """Keep what led to a persona that is about to be published."""
    session.origins(store, persona.user, task).put(
        f"{persona.hash}/{run}",
        {"run": run, "version": persona.version, "until": until.id, "steps": log.origins()},
    )


def reason(log: AlignmentLog) -> str:
    """Why the persona is published, as its history keeps it."""
    from personaagent.optimizers.log import WITHOUT

    if not log.judged:
        return "aligned, with nothing to judge by"
    if log.steps and (step := log.steps[-1]).iteration == WITHOUT:
        return f"answers without a persona: {step.candidates[step.accepted or 0].reason}"
    return (
        f"aligned: loss {log.first_loss:.3f} to {log.last_loss:.3f}, score {log.first_score:.0%} "
        f"to {log.last_score:.0%} on {len(log.judged)} replayed"
    )


def answer_held_out(
    agent: PersonaAgent, queries: Sequence[Query], log: AlignmentLog, display: Display
) -> dict[str, float] | None:
    """The mean score on queries with gold answers, of the first and the last persona."""

    def mean(persona: Persona) -> float:
        return fmean(
            agent.task.score(
                agent(query=one.query, user=one.user, before=one.time, persona=persona).answer,
                one.gold or "",
            )
            for one in queries
        )

    if not queries:
        return None
    display.doing("answering the held-out questions")
    try:
        return {"questions": len(queries), "first": mean(log.first), "last": mean(log.last)}
    except LMError as error:  # the persona is published already
        display.note(f"the held-out questions were not answered: {error}")
        return None


def track(
    agent: PersonaAgent, log: AlignmentLog, lm: PersonaLM, run: str, display: Display
) -> str | None:
    """The id of the MLflow run that the alignment was written to, None where there is none."""
    from personaagent import artifacts, tracking

    artifact = artifacts.Artifact.of(log.last, log=log, lm=lm, embedder=agent.memory.embedder)
    with TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", tracking.TrackingWarning)
        path, _ = artifacts.export(Path(folder), artifact)
        tracked = tracking.track(log, artifact=path, run=run)
    for warning in caught:
        if issubclass(warning.category, tracking.TrackingWarning):
            display.note(str(warning.message))
    return tracked
