"""LLM_grad and LLM_update as DSPy modules (paper, section 3.3): gradients, cues, rewrites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import dspy

from personaagent.data import Directive, Interaction, Persona, Task
from personaagent.lm import truncation_expected
from personaagent.programs.adapter import PersonaAdapter
from personaagent.programs.tools import quote
from personaagent.signatures import CriticizeText, NameCue, NameReason, RewritePersona

CUE_TOKENS = 12
GRADIENT_TOKENS = 60
REWRITE_TOKENS = 400
LONGEST_CUE = 40  # characters
LONGEST_RULE = 160


class GradientWriter(dspy.Module):
    """LLM_grad: what a simulated response misses about the user.

    For a label it is the detail of the query that may be the user's reason, a few words that a
    small LM gets right more often than a critique in sentences; for a text it is the difference.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name_reason = dspy.Predict(NameReason, max_tokens=CUE_TOKENS)
        self.criticize = dspy.Predict(CriticizeText, max_tokens=GRADIENT_TOKENS)

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


class PersonaRewriter(dspy.Module):
    """LLM_update: the persona written anew from the gradients, or the cue of one new directive.

    For a directive the LM only names what the queries share; the rule is composed around it with
    the answer that the user really gave, so a small LM cannot turn a gradient into its opposite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name_cue = dspy.Predict(NameCue, max_tokens=CUE_TOKENS)
        self.rewrite = dspy.Predict(RewritePersona, max_tokens=REWRITE_TOKENS)

    def cue(self, interactions: Sequence[Interaction]) -> str:
        """What all these queries mention, in a few words; empty when the LM names nothing."""
        with dspy.context(adapter=PersonaAdapter()), truncation_expected():
            named = self.name_cue(texts="\n".join(f"- {quote(one.query)}" for one in interactions))
        return clean(named.cue)

    def forward(
        self, persona: Persona, batch: Sequence[Interaction], gradients: Sequence[str]
    ) -> dspy.Prediction:
        """`persona`: the whole text written anew; rules that stay keep their evidence."""
        with dspy.context(adapter=PersonaAdapter()):
            # Items are added and retired one by one, and never written anew.
            current = replace(persona, items=()).render()
            new = self.rewrite(current=current, feedback="\n".join(gradients))
        known = {directive.text: directive for directive in persona.directives}
        support = tuple(one.id for one in batch)
        rules = dict.fromkeys(" ".join(rule.split())[:LONGEST_RULE] for rule in new.rules)
        directives = tuple(
            known.get(rule, Directive(rule, support=support)) for rule in rules if rule
        )
        return dspy.Prediction(
            persona=persona.succeed(profile=quote(new.profile), directives=directives)
        )


def clean(cue: str) -> str:
    """A cue as it stands in a sentence, on one line; empty when it is too long to be one."""
    line = " ".join(cue.split()).strip(" .,:;\"'").lower()
    return line if len(line) <= LONGEST_CUE else ""
