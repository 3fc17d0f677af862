"""What an LM is asked: one signature a role, its docstring is the prompt."""

from typing import TYPE_CHECKING

from personaagent.lazy import lazy

if TYPE_CHECKING:
    from personaagent.signatures.action import ChooseActions
    from personaagent.signatures.alignment import (
        CondenseCritiques,
        CriticizeAnswer,
        CriticizeText,
        Edit,
        EditPersona,
        NameCue,
        NameReason,
        RewritePersona,
    )
    from personaagent.signatures.answer import AnswerQuery
    from personaagent.signatures.judging import WhoWrote
    from personaagent.signatures.membank import DrawPortrait, SummarizeDay
    from personaagent.signatures.notes import NoteDown, RelateNotes
    from personaagent.signatures.profile import MergeProfiles, SummarizeProfile
    from personaagent.signatures.react import TakeStep

__all__ = [
    "AnswerQuery",
    "ChooseActions",
    "CondenseCritiques",
    "CriticizeAnswer",
    "CriticizeText",
    "DrawPortrait",
    "Edit",
    "EditPersona",
    "MergeProfiles",
    "NameCue",
    "NameReason",
    "NoteDown",
    "RelateNotes",
    "RewritePersona",
    "SummarizeDay",
    "SummarizeProfile",
    "TakeStep",
    "WhoWrote",
]

__getattr__, __dir__ = lazy(__name__)
