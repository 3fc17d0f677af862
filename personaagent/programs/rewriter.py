"""LLM_grad and LLM_update as DSPy modules (paper, section 3.3): gradients, cues, rewrites."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy

from personaagent.data import Directive, Interaction, Persona, Task
from personaagent.data.persona import net
from personaagent.lm import truncation_expected
from personaagent.programs.adapter import PersonaAdapter
from personaagent.programs.tools import LONGEST_QUOTE, quote
from personaagent.signatures import (
    CondenseCritiques,
    CriticizeAnswer,
    CriticizeText,
    Edit,
    EditPersona,
    NameCue,
    NameReason,
    RewritePersona,
)
from personaagent.signatures.alignment import rewrite_in

CUE_TOKENS = 12
GRADIENT_TOKENS = 60
CRITIQUE_TOKENS = 160
REWRITE_TOKENS = 400
LONGEST_CUE = 40  # characters
LONGEST_RULE = 160
TOKENS_A_WORD = 2
MOST_WORDS = 30  # of a rule
TOO_LONG = "The rule is too long (at most 30 words and 160 characters): {}"


class GradientWriter(dspy.Module):
    """LLM_grad: what a simulated response misses about the user.

    For a label it is the detail of the query that may be the user's reason, a few words that a
    small LM gets right more often than a critique in sentences; for a text it is the difference.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name_reason = dspy.Predict(NameReason, max_tokens=CUE_TOKENS)
        self.criticize = dspy.Predict(CriticizeText, max_tokens=GRADIENT_TOKENS)
        self.criticize_answer = dspy.Predict(CriticizeAnswer, max_tokens=CRITIQUE_TOKENS)

    def forward(self, task: Task, past: Interaction, response: str) -> dspy.Prediction:
        """`gradient`: a critique of `response` against what the user really answered."""
        query = quote(past.query)
        with dspy.context(adapter=PersonaAdapter()), truncation_expected():
            if task.labels:
                gradient = self.name_reason(query=query).reason
            else:
                said = self.criticize(query=query, response=response, truth=past.response)
                gradient = said.gradient
        return dspy.Prediction(gradient=quote(gradient))

    def critique(
        self, task: Task, persona: Persona, past: Interaction, response: str, found: str = ""
    ) -> str:
        """How the persona should change, in sentences: the paper's gradient."""
        with dspy.context(adapter=PersonaAdapter()), truncation_expected():
            said = self.criticize_answer(
                task=task.system,
                current=persona.render(),
                query=quote(past.query),
                found=found,
                response=response,
                truth=past.response,
            )
        return " ".join(str(said.gradient).split())


class PersonaRewriter(dspy.Module):
    """LLM_update: the persona written anew from the gradients, or the cue of one new directive.

    For a directive the LM only names what the queries share; the rule is composed around it with
    the answer that the user really gave, so a small LM cannot turn a gradient into its opposite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name_cue = dspy.Predict(NameCue, max_tokens=CUE_TOKENS)
        self.rewrite = dspy.Predict(RewritePersona, max_tokens=REWRITE_TOKENS)
        self.write_edits = dspy.Predict(EditPersona, max_tokens=REWRITE_TOKENS)
        self.write_summary = dspy.Predict(CondenseCritiques, max_tokens=CRITIQUE_TOKENS)
        self.notes: list[str] = []

    def cue(self, interactions: Sequence[Interaction]) -> str:
        """What all these queries mention, in a few words; empty when the LM names nothing, or where
        a single one has nothing in common with others."""
        if len(interactions) < 2:
            return ""
        with dspy.context(adapter=PersonaAdapter()), truncation_expected():
            named = self.name_cue(texts="\n".join(f"- {quote(one.query)}" for one in interactions))
        return clean(named.cue)

    def forward(
        self, persona: Persona, batch: Sequence[Interaction], gradients: Sequence[str]
    ) -> dspy.Prediction:
        """`persona`: the whole text written anew; rules that stay keep their evidence."""
        feedback = "\n".join(gradients)
        with dspy.context(adapter=PersonaAdapter()):
            # Items are added and retired one by one, and never written anew.
            current = replace(persona, items=()).render()
            room = Room.of(persona.profile)
            new = self.rewrite(current=current, feedback=feedback, **room.asked)
            if long := _objections(new, room):
                told = "\n".join([feedback, *long])
                new = self.rewrite(current=current, feedback=told, **room.asked)
        self.notes += _objections(new, room)
        profile = persona.profile if room.exceeded(new.profile) else new.profile
        known = {directive.text: directive for directive in persona.directives}
        support = tuple(one.id for one in batch)
        rules = dict.fromkeys(" ".join(rule.split()) for rule in new.rules)
        written = [
            known.get(rule, Directive(rule, support=support))
            for rule in rules
            if rule and not too_long(rule)
        ]
        # What is counted to hold where its cue fits needs no mention to stay.
        kept = [
            one for one in persona.directives if one.cue and net(one) > 0 and one.text not in rules
        ]
        return dspy.Prediction(
            persona=persona.succeed(
                profile=" ".join(profile.split()), directives=(*kept, *written), whole=False
            )
        )

    def condense(self, critiques: Sequence[str]) -> str:
        """What recurs in several critiques and what contradicts itself; two as they are: of so few
        an LM makes recurrences up."""
        if len(critiques) < 3:
            return "\n".join(critiques)
        with dspy.context(adapter=PersonaAdapter()), truncation_expected():
            said = self.write_summary(critiques="\n".join(f"- {one}" for one in critiques))
        return str(said.summary).strip()

    def edits(
        self,
        task: Task,
        persona: Persona,
        lessons: Sequence[str],
        summary: str,
        objections: Sequence[str] = (),
    ) -> list[Edit]:
        """Itemised edits of the persona's rules; rules and lessons are numbered from 1."""
        about = replace(persona, directives=()).render()
        with dspy.context(adapter=PersonaAdapter()):
            said = self.write_edits(
                task=task.system,
                current=about,
                rules=numbered(one.text for one in persona.directives) or "none",
                lessons=numbered(lessons),
                summary=summary,
                objections="\n".join(f"- {one}" for one in objections),
            )
        return list(said.edits)


@dataclass(frozen=True, slots=True)
class Room:
    """How long a rewritten profile may be: two short sentences, or as long as a longer one is."""

    words: int | None = None

    @classmethod
    def of(cls, profile: str) -> Room:
        """What the present profile leaves."""
        return cls(len(profile.split()) if len(profile) > LONGEST_QUOTE else None)

    @property
    def asked(self) -> dict[str, Any]:
        """How the LM is asked for it."""
        if self.words is None:
            return {}
        tokens = REWRITE_TOKENS + TOKENS_A_WORD * self.words
        return {"signature": rewrite_in(self.words), "config": {"max_tokens": tokens}}

    @property
    def most(self) -> str:
        """As the LM is told it."""
        return f"{self.words} words" if self.words else f"{LONGEST_QUOTE} characters"

    def exceeded(self, profile: str) -> bool:
        """Whether a profile is too long; an LM counts its words badly."""
        if self.words is None:
            return len(profile) > LONGEST_QUOTE
        return len(profile.split()) > self.words * 3 // 2


def _objections(new: dspy.Prediction, room: Room) -> list[str]:
    """What of a rewrite is too long to be taken."""
    long = [TOO_LONG.format(rule) for rule in new.rules if too_long(rule)]
    if room.exceeded(new.profile):
        long.append(f"The profile is too long (at most {room.most}).")
    return long


def numbered(lines: Iterable[str]) -> str:
    """Lines with their numbers."""
    return "\n".join(f"{at}. {line}" for at, line in enumerate(lines, 1))


def too_long(rule: str) -> bool:
    """Whether a rule is longer than the LM was told."""
    return len(" ".join(rule.split())) > LONGEST_RULE or len(rule.split()) > MOST_WORDS


def clean(cue: str) -> str:
    """A cue as it stands in a sentence, on one line; empty when it is too long to be one."""
    line = " ".join(cue.split()).strip(" .,:;\"'").lower()
    return line if len(line) <= LONGEST_CUE else ""
