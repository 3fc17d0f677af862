"""PersonaAgent: LLM agents whose per-user persona is learned from the user's own history.

import dspy
from personaagent import EpisodicMemory, PersonaAgent, PersonaAlignment, connect

dspy.configure(lm=connect("embedded"))
agent = PersonaAgent(task, EpisodicMemory(store, SentenceEmbedder()))
alice = PersonaAlignment().compile(agent, trainset=interactions_of_alice)
alice(query="The car needs new tyres.", user="alice").answer
"""

from typing import TYPE_CHECKING

from personaagent.lazy import lazy

if TYPE_CHECKING:
    from personaagent.artifacts import Artifact
    from personaagent.client import AsyncClient, Client
    from personaagent.data import Choice, Classification, Interaction, Persona, Rating, Text
    from personaagent.errors import PersonaAgentError
    from personaagent.lm import connect
    from personaagent.memory import EpisodicMemory, SentenceEmbedder, Store
    from personaagent.optimizers import PersonaAlignment
    from personaagent.programs import PersonaAgent, Personal
    from personaagent.service import Trainer, train

__all__ = [
    "Artifact",
    "AsyncClient",
    "Choice",
    "Classification",
    "Client",
    "EpisodicMemory",
    "Interaction",
    "Persona",
    "PersonaAgent",
    "PersonaAgentError",
    "PersonaAlignment",
    "Personal",
    "Rating",
    "SentenceEmbedder",
    "Store",
    "Text",
    "Trainer",
    "connect",
    "train",
]

__getattr__, __dir__ = lazy(__name__)
