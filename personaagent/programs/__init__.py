"""The DSPy modules: memory retrieval, profile, action choice, rewriting, the agent, baselines."""

from personaagent.programs.ablations import Personas
from personaagent.programs.action import ActionChooser
from personaagent.programs.agent import PersonaAgent
from personaagent.programs.answer import Answerer
from personaagent.programs.baselines import ICL, PAG, RAG, NonPersonalized
from personaagent.programs.floors import Majority, NearestNeighbour, ZeroShot
from personaagent.programs.lora import Lora
from personaagent.programs.membank import MemBank
from personaagent.programs.personal import Personal
from personaagent.programs.profile import ProfileSummarizer
from personaagent.programs.react import ReAct
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.rewriter import GradientWriter, PersonaRewriter
from personaagent.programs.situation import Situation
from personaagent.programs.systems import SYSTEMS, System

__all__ = [
    "ICL",
    "PAG",
    "RAG",
    "SYSTEMS",
    "ActionChooser",
    "Answerer",
    "GradientWriter",
    "Lora",
    "Majority",
    "MemBank",
    "MemoryRetriever",
    "NearestNeighbour",
    "NonPersonalized",
    "PersonaAgent",
    "PersonaRewriter",
    "Personal",
    "Personas",
    "ProfileSummarizer",
    "ReAct",
    "Situation",
    "System",
    "ZeroShot",
]
