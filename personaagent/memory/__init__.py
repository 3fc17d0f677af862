"""Episodic memory: the store, the per-user FAISS index, the embedder and the retrievers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personaagent.memory.chain import Published
    from personaagent.memory.embedder import Embedder, SentenceEmbedder
    from personaagent.memory.journal import Journal
    from personaagent.memory.memory import EpisodicMemory, Memory
    from personaagent.memory.quarantine import Quarantined, quarantined, release
    from personaagent.memory.retrieval import RETRIEVERS, Retriever
    from personaagent.memory.store import Added, Store, UserSummary
    from personaagent.memory.user import UserMemory

__all__ = [
    "RETRIEVERS",
    "Added",
    "Embedder",
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
    "quarantined",
    "release",
]

_HOME = {
    "RETRIEVERS": "retrieval",
    "Added": "store",
    "Embedder": "embedder",
    "EpisodicMemory": "memory",
    "Journal": "journal",
    "Memory": "memory",
    "Published": "chain",
    "Quarantined": "quarantine",
    "Retriever": "retrieval",
    "SentenceEmbedder": "embedder",
    "Store": "store",
    "UserMemory": "user",
    "UserSummary": "store",
    "quarantined": "quarantine",
    "release": "quarantine",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: SQLAlchemy and numpy take half a second."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
