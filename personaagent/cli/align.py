"""The work of `compile`: what it learns from, the alignment, and what becomes of the result."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from personaagent.cli import intake, session
from personaagent.errors import BudgetError, ConflictError, DataError, LMError

if TYPE_CHECKING:
    from personaagent.cli.steps import Display
    from personaagent.data import Account, Interaction, Persona, Query, Task
    from personaagent.lm import PersonaLM
    from personaagent.memory import Store
    from personaagent.optimizers import AlignmentLog, Prior, Setting, Step, Watched
    from personaagent.optimizers.acceptance import Acceptance
    from personaagent.programs import PersonaAgent


def import_lamp(
    store: Store,
    user: str,
    task: str | None,
    questions: Path | None,
    outputs: Path | None,
    account: Account,
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
    with intake.reading(account):
        found = list(intake.lamp_questions(lamp, questions, outputs, user, account=account))
        known = found
        if any(not one.response for question in found for one in question.history):
            known = list(intake.lamp_questions(lamp, questions, None, account=account))
    intake.store(store, [one for question in known for one in question.history])
    return [question.query for question in found if question.query.gold is not None]


def trainset(store: Store, user: str, task: Task, seed: int) -> list[Interaction]:
    """What the user really answered, oldest first; for LaMP-1's papers, questions made of them.

    Raises:
        DataError: there is nothing to learn from.
    """
    mine = store.of(user).interactions(task.name)
    answered = [task.checked(one) for one in mine if one.response]
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


def sources(interactions: Sequence[Interaction]) -> set[str]:
    """The ids of stored interactions: for derived ones, of those that they were made from."""
    from personaagent.programs.situation import derived_from

    return {id for one in interactions for id in derived_from(one) or (one.id,)}


def align(
    agent: PersonaAgent,
    interactions: Sequence[Interaction],
    setting: Setting,
    gradient_lm: PersonaLM | None,
    report: Callable[[Step], None],
    *,
    prior: Prior | None = None,
    restart: bool = False,
) -> tuple[AlignmentLog, str]:
    """Align the agent to the interactions of one user; the log, and the key of the run.

    Finished work is kept in the store's journal, so that an interrupted run goes on.

    Raises:
        LMError: the LM failed, or its budget is used up.
    """
    import dspy

    user = interactions[0].user
    acceptance = _on_evidence(agent, user) if setting.accept == "evidence" else None
    alignment = setting.alignment(
        acceptance=acceptance, gradient_lm=gradient_lm, prior=prior, report=report
    )
    key = alignment.key(agent, interactions, names_of(dspy.settings.lm, gradient_lm))
    memory = agent.memory.store.of(user)
    journal = memory.journal(key)
    # Only now would an erasure stop the journal.
    wanted = sources(interactions)
    if len(memory.seqs(wanted)) < len(wanted):
        raise ConflictError(
            f"interactions of user '{user}' were erased meanwhile: the same command starts again, "
            "without them"
        )
    if restart:
        journal.clear()
    alignment.record = journal
    try:
        aligned = alignment.compile(agent, trainset=interactions)
    except LMError as error:
        kind = BudgetError if isinstance(error, BudgetError) else LMError
        raise kind(
            f"{error}; what was done so far is kept: the same command goes on from there"
        ) from error
    log: AlignmentLog = aligned.alignment
    return log, key


def names_of(lm: PersonaLM, gradient_lm: PersonaLM | None) -> str:
    """The LMs that write a persona, for the key of a run."""
    return " ".join(one.fingerprint for one in (lm, gradient_lm) if one is not None)


def _on_evidence(agent: PersonaAgent, user: str) -> Acceptance:
    """With the evidence of the user, and bets informed by what others' edits did."""
    from personaagent.optimizers import AcceptOnEvidence, Contests, pooled

    store, task = agent.memory.store, agent.task.name
    others = (store.of(one.user) for one in store.users(task) if one.user != user)
    bets = pooled(share for other in others for share in Contests.of(other, task).shares())
    return AcceptOnEvidence(Contests.of(store.of(user), task), bets=bets)


def watch(agent: PersonaAgent, user: str, interactions: Sequence[Interaction]) -> Watched | None:
    """Roll the champion back where what the user did since speaks for its parent.

    Args:
        interactions: all of the user's, oldest first.
    """
    from personaagent.optimizers import Contests, watch_champion

    store, task = agent.memory.store, agent.task
    chain = store.of(user).history(task.name)
    if len(chain) < 2:
        return None
    champion = chain[-1]
    runs = session.origins(store, user, task).entries(champion.hash)
    seen = {run["until"] for run in runs.values() if run["version"] == champion.version}
    ids = [one.id for one in interactions]
    if known := seen.intersection(ids):
        newer = interactions[min(map(ids.index, known)) + 1 :]
    else:  # rolled back or restored
        newer = [one for one in interactions if one.time and one.time > champion.created]
    return watch_champion(
        agent,
        user,
        newer,
        contests=Contests.of(store.of(user), task.name),
        record=store.of(user).journal(f"watch/{champion.hash}"),
    )


def origin(log: AlignmentLog, run: str, persona: Persona, until: Interaction) -> dict[str, Any]:
    """What led to a persona, see `session.origins`."""
    return {"run": run, "version": persona.version, "until": until.id, "steps": log.origins()}


def reason(log: AlignmentLog) -> str:
    """Why the persona is published, as its history keeps it."""
    from personaagent.optimizers.log import BARE, WITHOUT

    if not log.judged:
        return "aligned, with nothing to judge by"
    without = [step for step in log.steps if step.iteration in (BARE, WITHOUT)]
    if without and not (log.last.profile or log.last.directives):
        step = without[-1]
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
    agent: PersonaAgent, log: AlignmentLog, lm: PersonaLM, run: str, note: Callable[[str], None]
) -> str | None:
    """The id of the MLflow run that the alignment was written to, None where there is none.

    The same alignment of another database is a run of its own.
    """
    from personaagent import artifacts, tracking, untracking

    artifact = artifacts.Artifact.of(
        log.last, log=log, lm=lm, embedder=agent.memory.embedder, task=agent.task
    )
    key = f"{run}-{agent.memory.store.database.identity()[:12]}"
    with TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", tracking.TrackingWarning)
        path, _ = artifacts.export(Path(folder), artifact)
        tracked = tracking.track(log, artifact=path, run=key)
    for warning in caught:
        if issubclass(warning.category, tracking.TrackingWarning):
            note(str(warning.message))
    if not len(agent.memory.store.of(log.user).journal(run)):
        # An erasure has emptied the journal, and may have been done before this run was written.
        untracking.forget(log.user)
        note("not tracked: interactions were erased meanwhile")
        return None
    return tracked
