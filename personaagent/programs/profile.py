"""Semantic memory: the profile P^u = f_s(S_t, D^u) (paper, section 3.1) as DSPy modules.

A short one for every history, and a longer one for a long history, written from what code has
counted of it and from its latest interactions. Of texts a profile says how the user writes, of
other answers what decides them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import dspy

from personaagent.data import Choice, Interaction, Task, validation
from personaagent.data.facts import as_lines, facts_of
from personaagent.data.secret import without_secrets
from personaagent.data.sensitive import Policy, prose
from personaagent.data.words import sentences_of
from personaagent.lm import truncation_expected
from personaagent.lm.model import ContextError
from personaagent.programs.adapter import PersonaAdapter
from personaagent.programs.tools import quote
from personaagent.signatures import MergeProfiles, SummarizeProfile
from personaagent.signatures.profile import (
    DescribeUser,
    DescribeWriting,
    MergeDescriptions,
    SummarizeWriting,
    in_words,
    summarize_in,
)

logger = logging.getLogger(__name__)

WORDS = 30  # of a profile
LONGEST = 150  # words of a longer one
FROM = 40  # interactions: of fewer a longer profile has little to say
WORDS_AN_INTERACTION = 2
FROM_TEXTS = 10  # a text tells more of its user than a label
WORDS_A_TEXT = 6
SHOWN = 80  # of the latest interactions, beside facts of all of them
TOKENS_A_WORD = 2  # at most
_END = re.compile(r"[.!?…。！？][\"')”’]*$")


class ProfileSummarizer(dspy.Module):
    """Summarizes interactions in so many `words`; more than `chunk` of them hierarchically, chunk
    by chunk."""

    def __init__(self, *, chunk: int = 40, words: int = WORDS) -> None:
        super().__init__()
        validation.whole("chunk", chunk, 1)
        validation.whole("words", words, 1)
        self.chunk = max(chunk, 2)  # of one each, merging would never end
        tokens = TOKENS_A_WORD * words
        self.summarize = dspy.Predict(summarize_in(SummarizeProfile, words), max_tokens=tokens)
        self.summarize_writing = dspy.Predict(
            summarize_in(SummarizeWriting, words), max_tokens=tokens
        )
        self.merge = dspy.Predict(MergeProfiles, max_tokens=tokens)

    def forward(self, task: Task, interactions: Sequence[Interaction]) -> dspy.Prediction:
        """`profile`: at most two sentences; empty without interactions."""
        lines = _lines(task, interactions)
        with dspy.context(adapter=PersonaAdapter()), truncation_expected():
            summarize = self.summarize_writing if _writes(task) else self.summarize
            parts = [self._summary(summarize, some) for some in self._chunks(lines)]
            while len(parts) > 1:
                parts = [
                    self.merge(profiles="\n".join(some)).profile if len(some) > 1 else some[0]
                    for some in self._chunks(parts)
                ]
        return dspy.Prediction(profile=quote(parts[0]) if parts else "")

    def _summary(self, summarize: dspy.Predict, lines: Sequence[str]) -> str:
        """Of one chunk; of its halves where it is too long for the LM."""
        try:
            return str(summarize(interactions="\n".join(lines)).profile)
        except ContextError:
            if len(lines) < 2:
                raise
            middle = len(lines) // 2
            halves = [self._summary(summarize, one) for one in (lines[:middle], lines[middle:])]
            return str(self.merge(profiles="\n".join(halves)).profile)

    def _chunks(self, lines: Sequence[str]) -> list[Sequence[str]]:
        return [lines[at : at + self.chunk] for at in range(0, len(lines), self.chunk)]


def words_for(task: Task, interactions: int, most: int = LONGEST) -> int:
    """The words that a longer profile may have: they grow with the history. 0 where it is short,
    and where there is nothing to describe: options have no name, chats have items."""
    if isinstance(task, Choice) or task.conversational:
        return 0
    each, start = (WORDS_A_TEXT, FROM_TEXTS) if _writes(task) else (WORDS_AN_INTERACTION, FROM)
    return min(most, each * interactions) if interactions >= start else 0


def _writes(task: Task) -> bool:
    """Whether the answers are texts that the user wrote."""
    return not (task.labels or task.conversational)


class UserDescriber(dspy.Module):
    """The longer profile: facts of all interactions and the latest of them, in one call
    where the LM's context holds them, else in parts that are merged."""

    def __init__(self, *, words: int, policy: Policy = "keep") -> None:
        super().__init__()
        validation.whole("words", words, 1)
        self.words = words
        self.policy = policy
        # Room to end a sentence: an LM counts its words badly.
        tokens = TOKENS_A_WORD * words * 3 // 2
        self.describe = dspy.Predict(in_words(DescribeUser, words), max_tokens=tokens)
        self.describe_writing = dspy.Predict(in_words(DescribeWriting, words), max_tokens=tokens)
        self.merge = dspy.Predict(in_words(MergeDescriptions, words), max_tokens=tokens)

    def forward(self, task: Task, interactions: Sequence[Interaction]) -> dspy.Prediction:
        """`profile`: on one line, whole sentences; empty without interactions."""
        if not interactions:
            return dspy.Prediction(profile="")
        facts = as_lines(facts_of(task, interactions, self.policy))
        lines = _lines(task, interactions[-SHOWN:])
        with dspy.context(adapter=PersonaAdapter()), truncation_expected():
            describe = self.describe_writing if _writes(task) else self.describe
            said = self._described(describe, facts, lines)
        return dspy.Prediction(profile=prose(self._whole(said), self.policy))

    def _described(self, describe: dspy.Predict, facts: str, lines: Sequence[str]) -> str:
        try:
            return str(describe(facts=facts, interactions="\n".join(lines)).profile)
        except ContextError:
            if len(lines) < 2:
                raise
            middle = len(lines) // 2
            parts = lines[:middle], lines[middle:]
            halves = [self._described(describe, facts, part) for part in parts]
            return str(self.merge(profiles="\n".join(halves)).profile)

    def _whole(self, said: str) -> str:
        """The text without a last sentence that was cut, and without sentences beyond half as many
        words again as were asked for: whole ones only, and it is said."""
        sentences = sentences_of(" ".join(said.split()))
        kept: list[str] = []
        for one in sentences:
            long = len(" ".join([*kept, one]).split()) > self.words * 3 // 2
            if kept and (long or not _END.search(one.rstrip())):
                break
            kept.append(one)
        if left := len(sentences) - len(kept):
            logger.warning(
                "the LM wrote more than the %d words that it was asked for: the last %d of %d "
                "sentences of the profile are left out",
                self.words,
                left,
                len(sentences),
            )
        return "".join(kept).strip()


def _lines(task: Task, interactions: Sequence[Interaction]) -> list[str]:
    """The interactions as an LM is shown them, without the secrets in them."""
    return [
        task.example(quote(without_secrets(one.query)), without_secrets(one.response))
        for one in interactions
    ]
