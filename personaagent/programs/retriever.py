"""Memory retrieval: top-K of episodic memory (paper, section 3.1) as a DSPy module."""

from __future__ import annotations

import dspy

from personaagent.data import validation
from personaagent.memory import EpisodicMemory
from personaagent.policies import RETRIEVERS
from personaagent.programs.scope import QueryScope


class MemoryRetriever(dspy.Module):
    """The k memories of a user that fit a text best; `retriever` is a name of `RETRIEVERS`."""

    def __init__(self, memory: EpisodicMemory, *, k: int = 4, retriever: str = "dense") -> None:
        super().__init__()
        validation.instance(
            "memory", memory, EpisodicMemory, "give EpisodicMemory(store, SentenceEmbedder())"
        )
        validation.whole("k", k, 1)
        RETRIEVERS.known(retriever)
        self.memory = memory
        self.k = k
        self.retriever = retriever

    def forward(
        self,
        situation: QueryScope,
        text: str = "",
        k: int | None = None,
        retriever: str | None = None,
    ) -> dspy.Prediction:
        """`memories`, best first; `text` defaults to the query, the rest to the module's own."""
        memories = self.memory.recall(
            situation.user,
            text or situation.query,
            k or self.k,
            retriever=retriever or self.retriever,
            task=situation.task.name,
            before=situation.before,
            exclude=situation.exclude,
        )
        return dspy.Prediction(memories=memories)

    def __deepcopy__(self, memo: dict[int, object]) -> MemoryRetriever:
        """A copy of the program shares the database and its index."""
        return MemoryRetriever(self.memory, k=self.k, retriever=self.retriever)
