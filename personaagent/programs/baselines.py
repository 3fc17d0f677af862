"""Systems to compare with: the same LM, the same reading of its answer, the same memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import dspy

from personaagent.data import Task
from personaagent.memory import EpisodicMemory
from personaagent.programs.answer import Answerer
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.situation import Situation
from personaagent.programs.tools import personal_tools


class NonPersonalized(dspy.Module):
    """The LM and the query; nothing of the user."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.answer = Answerer(task)

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        said = self.answer(query=query)
        return dspy.Prediction(
            answer=said.answer, distribution=said.distribution, actions=[], memories=[]
        )


class RAG(dspy.Module):
    """The top-K memories before the query, in LaMP's snippet wording (Salemi et al., 2023)."""

    def __init__(
        self, task: Task, memory: EpisodicMemory, *, k: int = 4, retriever: str = "dense"
    ) -> None:
        super().__init__()
        self.task = task
        self.retrieve = MemoryRetriever(memory, k=k, retriever=retriever)
        self.answer = Answerer(task)

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        situation = Situation(user, self.task, query, before, tuple(exclude))
        (recall, *_) = personal_tools(self.retrieve, situation, profile="")
        evidence, memories = recall()
        said = self.answer(query=query, evidence=evidence)
        return dspy.Prediction(
            answer=said.answer,
            distribution=said.distribution,
            actions=["recall"],
            memories=list(memories),
        )
