"""Semantic memory: the profile P^u = f_s(S_t, D^u) (paper, section 3.1) as a DSPy module."""

from __future__ import annotations

from collections.abc import Sequence

import dspy

from personaagent.data import Interaction, Task, validation
from personaagent.lm import truncation_expected
from personaagent.lm.model import ContextError
from personaagent.programs.adapter import PersonaAdapter
from personaagent.programs.tools import quote
from personaagent.signatures import MergeProfiles
from personaagent.signatures.profile import summarize_in

WORDS = 30  # of a profile
TOKENS_A_WORD = 2  # at most


class ProfileSummarizer(dspy.Module):
    """Summarizes interactions in so many `words`; more than `chunk` of them hierarchically, chunk
    by chunk."""

    def __init__(self, *, chunk: int = 40, words: int = WORDS) -> None:
        super().__init__()
        validation.whole("chunk", chunk, 1)
        validation.whole("words", words, 1)
        self.chunk = max(chunk, 2)  # of one each, merging would never end
        tokens = TOKENS_A_WORD * words
        self.summarize = dspy.Predict(summarize_in(words), max_tokens=tokens)
        self.merge = dspy.Predict(MergeProfiles, max_tokens=tokens)

    def forward(self, task: Task, interactions: Sequence[Interaction]) -> dspy.Prediction:
        """`profile`: at most two sentences; empty without interactions."""
        lines = [task.example(quote(one.query), one.response) for one in interactions]
        with dspy.context(adapter=PersonaAdapter()), truncation_expected():
            parts = [self._summary(some) for some in self._chunks(lines)]
            while len(parts) > 1:
                parts = [
                    self.merge(profiles="\n".join(some)).profile if len(some) > 1 else some[0]
                    for some in self._chunks(parts)
                ]
        return dspy.Prediction(profile=quote(parts[0]) if parts else "")

    def _summary(self, lines: Sequence[str]) -> str:
        """Of one chunk; of its halves where it is too long for the LM."""
        try:
            return str(self.summarize(interactions="\n".join(lines)).profile)
        except ContextError:
            if len(lines) < 2:
                raise
            middle = len(lines) // 2
            halves = [self._summary(lines[:middle]), self._summary(lines[middle:])]
            return str(self.merge(profiles="\n".join(halves)).profile)

    def _chunks(self, lines: Sequence[str]) -> list[Sequence[str]]:
        return [lines[at : at + self.chunk] for at in range(0, len(lines), self.chunk)]
