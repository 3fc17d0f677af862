"""LLM_grad and LLM_update as DSPy modules (paper, section 3.3): gradients, cues, rewrites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import dspy
from pydantic import Field

from personaagent.data import Directive, Interaction, Persona, Task
from personaagent.programs.adapter import PersonaAdapter
from personaagent.programs.tools import quote
from personaagent.signatures import CriticizeResponse, NameCues, RewritePersona

GRADIENT_TOKENS = 60
REWRITE_TOKENS = 400
CUES = 3  # guesses in one call
LONGEST_RULE = 160  # characters

_Short = Annotated[str, Field(max_length=40)]


class GradientWriter(dspy.Module):
    """LLM_grad: what a simulated response gets wrong about the user, in one sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.criticize = dspy.Predict(CriticizeResponse, max_tokens=GRADIENT_TOKENS)

    def forward(self, past: Interaction, response: str) -> dspy.Prediction:
        """`gradient`: a critique of `response` against what the user really answered."""
        with dspy.context(adapter=PersonaAdapter()):
            said = self.criticize(query=quote(past.query), response=response, truth=past.response)
        return dspy.Prediction(gradient=quote(said.gradient))


class PersonaRewriter(dspy.Module):
    """LLM_update: new personas from gradients, as one added directive or as a full rewrite.

    The LM only names what the queries share; the directive is composed around it, with the answer
    that the user really gave. So a small LM cannot turn a gradient into its opposite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name_cues = dspy.Predict(
            NameCues.with_updated_fields(
                "cues", type_=Annotated[list[_Short], Field(min_length=1, max_length=CUES)]
            ),
            max_tokens=GRADIENT_TOKENS * 2,
        )
        self.rewrite = dspy.Predict(RewritePersona, max_tokens=REWRITE_TOKENS)

    def edits(
        self,
        task: Task,
        batch: Sequence[Interaction],
        others: Sequence[Interaction],
        gradients: Sequence[str],
    ) -> list[Directive]:
        """Directives that could explain a batch of interactions with one common response."""
        with dspy.context(adapter=PersonaAdapter()):
            named = self.name_cues(
                queries=_listed(batch), others=_listed(others), feedback="\n".join(gradients)
            )
        cues = dict.fromkeys(clean for cue in named.cues if (clean := _clean(cue)))
        return [
            Directive(
                f"If the {task.item} mentions {cue}, the {task.answer} is {batch[0].response}.",
                support=tuple(one.id for one in batch),
            )
            for cue in cues
        ]

    def forward(
        self, persona: Persona, batch: Sequence[Interaction], gradients: Sequence[str]
    ) -> dspy.Prediction:
        """`persona`: the whole text written anew; rules that stay keep their evidence."""
        with dspy.context(adapter=PersonaAdapter()):
            new = self.rewrite(current=persona.render(), feedback="\n".join(gradients))
        known = {directive.text: directive for directive in persona.directives}
        support = tuple(one.id for one in batch)
        rules = dict.fromkeys(rule.strip()[:LONGEST_RULE] for rule in new.rules if rule.strip())
        directives = tuple(known.get(rule, Directive(rule, support)) for rule in rules)
        return dspy.Prediction(
            persona=persona.succeed(profile=quote(new.profile), directives=directives)
        )


def _listed(interactions: Sequence[Interaction]) -> str:
    return "\n".join(f"- {quote(one.query)}" for one in interactions)


def _clean(cue: str) -> str:
    """A cue as it stands in a sentence; line breaks would let it pass for several rules."""
    return " ".join(cue.split()).strip(" .,:;\"'")
