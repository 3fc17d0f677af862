"""The user's own posterior over the labels, p_user(y | q): episodic memory without an LM.

Neighbours of the query vote with exp(cosine / TEMPERATURE), no day and no source beyond its share
where it contradicts older votes; the user's overall label frequencies smooth them. Where labels are
words, each is a memory of itself: what it means, by its name or to a cohort, votes until the user
has shown otherwise. For a choice between two options, the one nearer to a memory is likelier.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from personaagent.data import Choice, Classification, Meanings, Task
from personaagent.data.influence import balanced
from personaagent.memory import EpisodicMemory, Memory
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.scope import QueryScope

NEIGHBOURS = 50
TEMPERATURE = 0.1
VOTES = 8.0  # how many observations the neighbours are worth together
PRIOR = 0.5  # how many the user's label frequencies are worth
MEANING = 4.0  # how many the labels' own names are worth
LEARNED = 8.0  # how many it is worth what a cohort means by them
NAMES_TEMPERATURE = 0.07  # names are short: their cosines differ less than those of texts


def user_label_prior(
    retriever: MemoryRetriever, situation: QueryScope, learned: Meanings | None = None
) -> dict[str, float] | None:
    """p_user over the task's labels, summing to 1; None where neither the user's answers nor the
    labels' meanings say anything.

    Args:
        retriever: with the user's memory.
        situation: the query, and what does not exist for it.
        learned: what a cohort means by the labels; of other vectors or labels it counts for
            nothing, and their names count.
    """
    task = situation.task
    if isinstance(task, Choice):
        return _choice_posterior(retriever, situation, task)
    memories = retriever.memory.recall(
        situation.user,
        situation.query,
        NEIGHBOURS,
        task=task.name,
        before=situation.before,
        exclude=situation.exclude,
    )
    answered = [memory for memory in memories if memory.interaction.response in task.labels]
    space = retriever.memory.embedder.fingerprint
    if learned and (learned.space, tuple(learned.labels)) == (space, task.labels):
        meant = learned.likelihoods(retriever.memory.embed(situation.query))
        return vote(task.labels, answered, meant, LEARNED)
    meant = named(retriever.memory, task, situation.query)
    return vote(task.labels, answered, meant) if answered or meant else None


def named(memory: EpisodicMemory, task: Task, query: str) -> dict[str, float]:
    """How near the labels' names are to a query, summing to 1; empty where they are numbers."""
    if not isinstance(task, Classification):
        return {}
    vector = memory.embed(query)
    nearness = {label: float(memory.embed(label) @ vector) for label in task.labels}
    return _softmax(nearness, NAMES_TEMPERATURE)


def vote(
    labels: tuple[str, ...],
    memories: list[Memory],
    meant: Mapping[str, float] | None = None,
    worth: float = MEANING,
) -> dict[str, float]:
    """The neighbours' weighted votes, smoothed by how often each label occurs among them and by
    what the labels mean, worth so many observations; one of the two must be there."""
    meant = meant or {}
    counts = Counter(memory.interaction.response for memory in memories)
    votes = {
        label: PRIOR * (counts[label] + 0.5) / (len(memories) + 0.5 * len(labels))
        + worth * meant.get(label, 0.0)
        for label in labels
    }
    weights = votes_of(memories)
    for memory, weight in zip(memories, weights, strict=True):
        votes[memory.interaction.response] += min(len(memories), VOTES) * weight / sum(weights)
    total = sum(votes.values())
    return {label: value / total for label, value in votes.items()}


def votes_of(memories: Sequence[Memory]) -> list[float]:
    """The vote of each neighbour of a query: 1 for the nearest, less with distance, by its weight
    and no more than its day's and source's share."""
    best = max((memory.score for memory in memories), default=0.0)
    return balanced(
        [
            memory.interaction.weight * math.exp((memory.score - best) / TEMPERATURE)
            for memory in memories
        ],
        [memory.interaction for memory in memories],
    )


def _choice_posterior(
    retriever: MemoryRetriever, situation: QueryScope, task: Choice
) -> dict[str, float] | None:
    nearest = {}
    for label, option in zip(task.labels, task.options(situation.query), strict=True):
        memories = retriever(situation, text=option, k=1).memories
        if not memories:
            return None
        nearest[label] = memories[0].score
    return _softmax(nearest, TEMPERATURE)


def _softmax(scores: Mapping[str, float], temperature: float) -> dict[str, float]:
    best = max(scores.values())
    weights = {label: math.exp((score - best) / temperature) for label, score in scores.items()}
    return {label: weight / sum(weights.values()) for label, weight in weights.items()}
