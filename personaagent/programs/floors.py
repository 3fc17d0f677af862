"""Floors: what the user's own history says without any LM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import dspy

from personaagent.data import Choice, Rating, Task
from personaagent.data.task import given
from personaagent.memory import EpisodicMemory
from personaagent.programs.habits import label_posterior, named
from personaagent.programs.history import visible
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.situation import Situation


class Majority(dspy.Module):
    """The user's most frequent answer before the query, the latest of several; of ratings the
    median.

    Source: the usual floor of LaMP. Adapted: where nothing counts (no answers yet, or a choice,
    whose options mean something else in every query) all labels are equally likely.
    """

    def __init__(self, task: Task, memory: EpisodicMemory) -> None:
        super().__init__()
        self.task = given(task)
        self.retrieve = MemoryRetriever(memory)

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        task = self.task
        situation = Situation.of(query, user, task, before, exclude)
        past = visible(self.retrieve.memory, situation)
        given = [one.response for one in reversed(past)]
        if task.labels:
            given = [answer for answer in given if answer in task.labels]
        if isinstance(task, Choice) or not given:
            given = list(task.labels)
        counts = Counter(given)
        distribution = {label: counts[label] / len(given) for label in task.labels}
        if isinstance(task, Rating):
            answer = task.decide(distribution)
        else:
            answer = counts.most_common(1)[0][0] if counts else ""
        return dspy.Prediction(
            answer=answer, distribution=distribution or None, actions=[], memories=[]
        )


class ZeroShot(dspy.Module):
    """The label whose name is nearest to the query: the embedder alone, nothing of the user.

    Source: zero-shot classification by embeddings. Adapted: where labels are no words, all are
    equally likely; a text has no answer.
    """

    def __init__(self, task: Task, memory: EpisodicMemory) -> None:
        super().__init__()
        self.task = given(task)
        self.memory = memory

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        situation = Situation.of(query, user, self.task, before, exclude)
        labels = self.task.labels
        equal = dict.fromkeys(labels, 1 / max(len(labels), 1))
        distribution = named(self.memory, self.task, situation.query) or equal
        answer = self.task.decide(distribution) if distribution else ""
        return dspy.Prediction(
            answer=answer, distribution=distribution or None, actions=[], memories=[]
        )


class NearestNeighbour(dspy.Module):
    """The user's own posterior over the labels: the neighbours of the query vote; for a text, the
    response to the nearest query.

    Source: kNN over the history; it is the habit that PersonaAgent fuses with its LM, alone.
    Adapted: votes weigh exp(cosine / temperature), smoothed by the user's label counts and by what
    the labels' names mean.
    """

    def __init__(self, task: Task, memory: EpisodicMemory) -> None:
        super().__init__()
        self.task = given(task)
        self.retrieve = MemoryRetriever(memory, k=2)

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        task = self.task
        situation = Situation.of(query, user, task, before, exclude)
        texts = task.options(query) if isinstance(task, Choice) else (query,)
        nearest = [
            memory for text in texts for memory in self.retrieve(situation, text=text).memories
        ]
        distribution = None
        if task.labels:
            equal = dict.fromkeys(task.labels, 1 / len(task.labels))
            distribution = label_posterior(self.retrieve, situation) or equal
            answer = task.decide(distribution)
        else:
            answer = nearest[0].interaction.response if nearest else ""
        return dspy.Prediction(
            answer=answer, distribution=distribution, actions=[], memories=nearest
        )
