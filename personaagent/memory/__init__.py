"""Episodic memory: the store, the index per user, the embedder and the retrievers."""

from typing import TYPE_CHECKING

from personaagent.lazy import lazy

if TYPE_CHECKING:
    from personaagent.memory.chain import Published
    from personaagent.memory.embedder import Embedder, SentenceEmbedder, named_embedder
    from personaagent.memory.endpoint import EndpointEmbedder
    from personaagent.memory.episodic import EpisodicMemory, Memory
    from personaagent.memory.journal import Journal
    from personaagent.memory.quarantine import Quarantined, quarantined, release
    from personaagent.memory.retrieval import Retriever
    from personaagent.memory.store import Added, Store, UserSummary
    from personaagent.memory.user import UserMemory
    from personaagent.memory.vectors import VectorIndex

__all__ = [
    "Added",
    "Embedder",
    "EndpointEmbedder",
    "EpisodicMemory",
    "Journal",
    "Memory",
    "Published",
    "Quarantined",
    "Retriever",
    "SentenceEmbedder",
    "Store",
    "UserMemory",
    "UserSummary",
    "VectorIndex",
    "named_embedder",
    "quarantined",
    "release",
]

__getattr__, __dir__ = lazy(__name__)
