"""A user's history as far as a query may see it, and what is made of it once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import dspy

from personaagent.data import Interaction
from personaagent.memory import EpisodicMemory
from personaagent.programs.profile import ProfileSummarizer
from personaagent.programs.scope import QueryScope

REACH = 40  # the latest interactions that a profile is made of, as in alignment


def visible(memory: EpisodicMemory, situation: QueryScope) -> list[Interaction]:
    """The interactions that exist for a query, oldest first."""
    past = memory.store.of(situation.user).interactions(
        situation.task.name, before=situation.before
    )
    return [one for one in past if one.id not in situation.exclude]


def made_once(
    memory: EpisodicMemory, user: str, run: str, made_of: Sequence[Any], work: Callable[[], str]
) -> str:
    """The text that this LM made of the same once; the work is done where there is none yet.

    It is kept in the user's journal `run`.

    Args:
        memory: whose store has the journal.
        user: whose text.
        run: the name of the journal.
        made_of: everything that the text depends on besides the LM, as JSON values.
        work: makes the text.
    """
    lm = dspy.settings.lm
    content = json.dumps([getattr(lm, "fingerprint", getattr(lm, "model", "")), *made_of])
    key = hashlib.sha256(content.encode()).hexdigest()
    journal = memory.store.of(user).journal(run)
    kept = journal.get(key)
    text: str = journal.put(key, work()) if kept is None else kept
    return text


class HistoryProfile(dspy.Module):
    """The profile of what a query may see: made once for each history and LM, and kept.

    As PersonaAgent's first one it is made of the latest interactions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.summarize = ProfileSummarizer()

    def forward(self, memory: EpisodicMemory, situation: QueryScope) -> dspy.Prediction:
        """`profile`, empty without a history."""
        past = visible(memory, situation)[-REACH:]
        if not past:
            return dspy.Prediction(profile="")
        task = situation.task
        prompts = [one.signature.instructions for one in self.summarize.predictors()]
        text = made_once(
            memory,
            situation.user,
            "profiles",
            [prompts, task.name, [one.digest for one in past]],
            lambda: str(self.summarize(task, past).profile),
        )
        return dspy.Prediction(profile=text)
