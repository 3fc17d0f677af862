"""Interactions, queries, personas and tasks as plain values, and the loaders that read them."""

from typing import TYPE_CHECKING

from personaagent.lazy import lazy

if TYPE_CHECKING:
    from personaagent.data.import_summary import ImportSummary
    from personaagent.data.importers.chat import CHAT
    from personaagent.data.importers.chatgpt import read_chatgpt
    from personaagent.data.importers.claude import read_claude
    from personaagent.data.importers.gemini import read_gemini
    from personaagent.data.importers.mem0 import read_mem0
    from personaagent.data.importers.roles import read_roles
    from personaagent.data.interaction import Interaction, Query
    from personaagent.data.items import Item
    from personaagent.data.jsonl import read_interactions, read_queries, read_tasks
    from personaagent.data.lamp_tasks import LAMP_TASKS, self_supervised_pairs
    from personaagent.data.meanings import Meanings
    from personaagent.data.persona import (
        Action,
        Directive,
        FusionWeights,
        Persona,
        contradict,
        merge,
        net,
        resolve,
    )
    from personaagent.data.tables import to_dataset
    from personaagent.data.task import Chat, Choice, Classification, Rating, Task, Text

__all__ = [
    "CHAT",
    "LAMP_TASKS",
    "Action",
    "Chat",
    "Choice",
    "Classification",
    "Directive",
    "FusionWeights",
    "ImportSummary",
    "Interaction",
    "Item",
    "Meanings",
    "Persona",
    "Query",
    "Rating",
    "Task",
    "Text",
    "contradict",
    "merge",
    "net",
    "read_chatgpt",
    "read_claude",
    "read_gemini",
    "read_interactions",
    "read_mem0",
    "read_queries",
    "read_roles",
    "read_tasks",
    "resolve",
    "self_supervised_pairs",
    "to_dataset",
]

__getattr__, __dir__ = lazy(__name__)
