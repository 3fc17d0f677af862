"""The DSPy modules: memory retrieval, profile, action choice, rewriting, the agent, notes."""

from typing import TYPE_CHECKING

from personaagent.lazy import lazy

if TYPE_CHECKING:
    from personaagent.programs.action import ActionChooser
    from personaagent.programs.agent import PersonaAgent
    from personaagent.programs.answer import Answerer
    from personaagent.programs.notes import NoteRelater, NoteTaker
    from personaagent.programs.personal import Personal
    from personaagent.programs.profile import ProfileSummarizer
    from personaagent.programs.retriever import MemoryRetriever
    from personaagent.programs.rewriter import GradientWriter, PersonaRewriter
    from personaagent.programs.scope import QueryScope

__all__ = [
    "ActionChooser",
    "Answerer",
    "GradientWriter",
    "MemoryRetriever",
    "NoteRelater",
    "NoteTaker",
    "PersonaAgent",
    "PersonaRewriter",
    "Personal",
    "ProfileSummarizer",
    "QueryScope",
]

__getattr__, __dir__ = lazy(__name__)
