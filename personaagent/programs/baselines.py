"""Baselines: the same LM, the same reading of its answer, the same memory; no persona, no choice.

They differ in what they show the LM: nothing, the latest interactions, the most similar ones, or
these and a profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import dspy

from personaagent.data import Action, Task
from personaagent.data.task import given
from personaagent.memory import EpisodicMemory, Memory
from personaagent.programs.answer import Answerer
from personaagent.programs.history import HistoryProfile
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.situation import Situation
from personaagent.programs.tools import Observation, personal_tools, within_context


class NonPersonalized(dspy.Module):
    """The LM and the query; nothing of the user.

    Source: the non-personalized row of LaMP (Salemi et al., 2023). Adapted: the answer is read as
    likelihoods, as everywhere here.
    """

    def __init__(self, task: Task, memory: EpisodicMemory | None = None) -> None:
        super().__init__()  # a memory is taken as by every system, and left alone
        self.task = given(task)
        self.answer = Answerer(task)

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        situation = Situation.of(query, user, self.task, before, exclude)
        said = self.answer(query=situation.query)
        return dspy.Prediction(
            answer=said.answer, distribution=said.distribution, actions=[], memories=[]
        )


class RAG(dspy.Module):
    """The top-K memories of the query, in LaMP's snippet wording.

    Source: retrieval augmentation of LaMP (Salemi et al., 2023). Adapted: the best memory stands
    nearest to the query; the retriever is the one that PersonaAgent has.
    """

    def __init__(
        self, task: Task, memory: EpisodicMemory, *, k: int = 4, retriever: str = "dense"
    ) -> None:
        super().__init__()
        self.task = given(task)
        self.retrieve = MemoryRetriever(memory, k=k, retriever=retriever)
        self.answer = Answerer(task)

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        situation = Situation.of(query, user, self.task, before, exclude)
        recalled = Observation(Action("recall"), *self.recall(situation))
        profile = self.profile(situation)
        about = f"About this user: {profile}" if profile else ""
        said, shown = within_context(
            lambda seen: self.answer(
                query=query, evidence="\n".join(filter(None, (about, *(one.text for one in seen))))
            ),
            [recalled],
        )
        actions = [Action("recall"), *([Action("read_profile")] if profile else [])]
        return dspy.Prediction(
            answer=said.answer,
            distribution=said.distribution,
            actions=actions,
            memories=[memory for one in shown for memory in one.memories],
        )

    def recall(self, situation: Situation) -> tuple[str, tuple[Memory, ...]]:
        """The memories as PersonaAgent's `recall` words them, and the memories themselves."""
        recall = personal_tools(self.retrieve, situation, profile="")[0]
        text, memories = recall()
        return text, memories

    def profile(self, situation: Situation) -> str:
        """What the LM is told of the user besides the memories: nothing."""
        return ""


class ICL(RAG):
    """The user's most recent interactions as examples, whatever the query.

    Source: in-context learning in PersonaAgent's table. Adapted: "most recent" is the order of
    insertion where a history has no dates; the wording is RAG's, so only the choice differs.
    """

    def __init__(self, task: Task, memory: EpisodicMemory, *, k: int = 4) -> None:
        super().__init__(task, memory, k=k, retriever="recency")


class PAG(RAG):
    """RAG with a profile of the user before the memories.

    Source: Richardson et al., 2023, summary-augmented personalization. Adapted: the profile is made
    as PersonaAgent's first one, of the latest interactions before the query; once for each history
    and LM, and kept.
    """

    def __init__(
        self, task: Task, memory: EpisodicMemory, *, k: int = 4, retriever: str = "dense"
    ) -> None:
        super().__init__(task, memory, k=k, retriever=retriever)
        self.summarize = HistoryProfile()

    def prepare(
        self, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> None:
        """Make the profile ahead of the first query, for which it then costs no call."""
        self.profile(Situation(user, self.task, "", before, tuple(exclude)))

    def profile(self, situation: Situation) -> str:
        """The profile of what the query may see; empty without a history."""
        return str(self.summarize(self.retrieve.memory, situation).profile)
