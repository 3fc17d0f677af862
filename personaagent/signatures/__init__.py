"""What an LM is asked: one signature a role, its docstring is the prompt."""

from personaagent.signatures.action import ChooseActions
from personaagent.signatures.alignment import (
    CriticizeText,
    NameCue,
    NameReason,
    RewritePersona,
)
from personaagent.signatures.answer import AnswerQuery
from personaagent.signatures.profile import MergeProfiles, SummarizeProfile

__all__ = [
    "AnswerQuery",
    "ChooseActions",
    "CriticizeText",
    "MergeProfiles",
    "NameCue",
    "NameReason",
    "RewritePersona",
    "SummarizeProfile",
]
