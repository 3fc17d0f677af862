"""Baselines: the same LM, the same reading of its answer, the same memory; no persona, no choice.

They differ in what they show the LM: nothing, the latest interactions, the most similar ones, or
these and a profile.

Floors say what the user's own history tells without any LM.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import dspy

from personaagent.data import Action, Choice, Rating, Task
from personaagent.data.task import given
from personaagent.memory import EpisodicMemory, Memory
from personaagent.programs.answer import Answerer
from personaagent.programs.history import HistoryProfile, visible
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.scope import QueryScope
from personaagent.programs.tools import Observation, personal_tools, within_context
from personaagent.programs.user_label_prior import named, user_label_prior


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
        situation = QueryScope.of(query, user, self.task, before, exclude)
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
        situation = QueryScope.of(query, user, self.task, before, exclude)
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

    def recall(self, situation: QueryScope) -> tuple[str, tuple[Memory, ...]]:
        """The memories as PersonaAgent's `recall` words them, and the memories themselves."""
        recall = personal_tools(self.retrieve, situation, profile="")[0]
        text, memories = recall()
        return text, memories

    def profile(self, situation: QueryScope) -> str:
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
        self.profile(QueryScope(user, self.task, "", before, tuple(exclude)))

    def profile(self, situation: QueryScope) -> str:
        """The profile of what the query may see; empty without a history."""
        return str(self.summarize(self.retrieve.memory, situation).profile)


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
        situation = QueryScope.of(query, user, task, before, exclude)
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
        situation = QueryScope.of(query, user, self.task, before, exclude)
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
        situation = QueryScope.of(query, user, task, before, exclude)
        texts = task.options(query) if isinstance(task, Choice) else (query,)
        nearest = [
            memory for text in texts for memory in self.retrieve(situation, text=text).memories
        ]
        distribution = None
        if task.labels:
            equal = dict.fromkeys(task.labels, 1 / len(task.labels))
            distribution = user_label_prior(self.retrieve, situation) or equal
            answer = task.decide(distribution)
        else:
            answer = nearest[0].interaction.response if nearest else ""
        return dspy.Prediction(
            answer=answer, distribution=distribution, actions=[], memories=nearest
        )
