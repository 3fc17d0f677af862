"""Interactions, queries, personas and tasks as plain values, and the loaders that read them."""

from personaagent.data.account import Account
from personaagent.data.chat import CHAT
from personaagent.data.chatgpt import read_chatgpt
from personaagent.data.claude import read_claude
from personaagent.data.directives import contradict, merge, net, resolve
from personaagent.data.gemini import read_gemini
from personaagent.data.hf import from_dataset, to_dataset
from personaagent.data.interaction import Interaction, Query
from personaagent.data.jsonl import (
    read_interactions,
    read_queries,
    read_tasks,
    write_interactions,
)
from personaagent.data.lamp import (
    LampData,
    iter_lamp,
    lamp_dataset,
    read_golds,
    read_lamp,
    write_predictions,
)
from personaagent.data.lamp_pairs import self_supervised_pairs
from personaagent.data.lamp_record import LampQuestion
from personaagent.data.lamp_tasks import LAMP_TASKS
from personaagent.data.meanings import Meanings
from personaagent.data.mem0 import read_mem0
from personaagent.data.oppu import OppuUser, iter_oppu
from personaagent.data.persona import Action, Directive, Persona, Trust
from personaagent.data.task import Choice, Classification, Rating, Task, Text

__all__ = [
    "CHAT",
    "LAMP_TASKS",
    "Account",
    "Action",
    "Choice",
    "Classification",
    "Directive",
    "Interaction",
    "LampData",
    "LampQuestion",
    "Meanings",
    "OppuUser",
    "Persona",
    "Query",
    "Rating",
    "Task",
    "Text",
    "Trust",
    "contradict",
    "from_dataset",
    "iter_lamp",
    "iter_oppu",
    "lamp_dataset",
    "merge",
    "net",
    "read_chatgpt",
    "read_claude",
    "read_gemini",
    "read_golds",
    "read_interactions",
    "read_lamp",
    "read_mem0",
    "read_queries",
    "read_tasks",
    "resolve",
    "self_supervised_pairs",
    "to_dataset",
    "write_interactions",
    "write_predictions",
]
