"""The user's own posterior over the labels, p_user(y | q): episodic memory without an LM.

Neighbours of the query vote with exp(cosine / TEMPERATURE); the user's overall label frequencies
smooth them. For a choice between two options, the one nearer to a memory of the user is likelier.
"""

from __future__ import annotations

import math
from collections import Counter

from personaagent.data import Choice
from personaagent.memory import Memory
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.situation import Situation

NEIGHBOURS = 50
TEMPERATURE = 0.1
VOTES = 8.0  # how many observations the neighbours are worth together
PRIOR = 0.5  # how many the user's label frequencies are worth


def label_posterior(retriever: MemoryRetriever, situation: Situation) -> dict[str, float] | None:
    """p_user over the task's labels, summing to 1; None where the user has no answers."""
    if isinstance(situation.task, Choice):
        return _choice_posterior(retriever, situation, situation.task)
    memories = retriever.memory.recall(
        situation.user,
        situation.query,
        NEIGHBOURS,
        task=situation.task.name,
        before=situation.before,
        exclude=situation.exclude,
    )
    labels = situation.task.labels
    answered = [memory for memory in memories if memory.interaction.response in labels]
    return vote(labels, answered) if answered else None


def vote(labels: tuple[str, ...], memories: list[Memory]) -> dict[str, float]:
    """The neighbours' weighted votes, smoothed by how often each label occurs among them."""
    counts = Counter(memory.interaction.response for memory in memories)
    best = max(memory.score for memory in memories)
    weights = [
        memory.interaction.weight * math.exp((memory.score - best) / TEMPERATURE)
        for memory in memories
    ]
    votes = {
        label: PRIOR * (counts[label] + 0.5) / (len(memories) + 0.5 * len(labels))
        for label in labels
    }
    scale = min(len(memories), VOTES) / sum(weights)
    for memory, weight in zip(memories, weights, strict=True):
        votes[memory.interaction.response] += scale * weight
    total = sum(votes.values())
    return {label: value / total for label, value in votes.items()}


def _choice_posterior(
    retriever: MemoryRetriever, situation: Situation, task: Choice
) -> dict[str, float] | None:
    nearest = []
    for option in task.options(situation.query):
        memories = retriever(situation, text=option, k=1).memories
        if not memories:
            return None
        nearest.append(memories[0].score)
    first = 1 / (1 + math.exp((nearest[1] - nearest[0]) / TEMPERATURE))
    return {"[1]": first, "[2]": 1 - first}
