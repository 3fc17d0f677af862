"""`compile --questions`: a user's history in a file of LaMP, and the questions with answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from personaagent.cli import importing
from personaagent.errors import DataError, LMError

if TYPE_CHECKING:
    from personaagent.cli.progress import Display
    from personaagent.data import ImportSummary, Persona, Query
    from personaagent.memory import Store
    from personaagent.optimizers import AlignmentLog
    from personaagent.programs import PersonaAgent


def import_lamp(
    store: Store,
    user: str,
    task: str | None,
    questions: Path | None,
    outputs: Path | None,
    account: ImportSummary,
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
    lamp = importing.lamp_task(task)
    with importing.reading(account):
        found = list(importing.lamp_questions(lamp, questions, outputs, user, account=account))
        known = found
        if any(not one.response for question in found for one in question.history):
            known = list(importing.lamp_questions(lamp, questions, None, account=account))
    importing.store(store, [one for question in known for one in question.history])
    return [question.query for question in found if question.query.gold is not None]


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
