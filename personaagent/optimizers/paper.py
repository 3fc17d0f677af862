"""The paper's own arm, as its parts: what `--preset paper` and `personaagent-paper` are made of.

Algorithm 1 as it stands: a profile in the paper's template; then, once to three times, the latest
three interactions are simulated, criticized and answered with a new system prompt, which always
becomes the persona. Nothing is held out and nothing replayed, so one iteration takes eleven LM
calls where the history fits into one summary: the profile, three times the choice of actions and
the answer, three gradients, one update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dspy

from personaagent.data import Persona, Task
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.replay import Replayed
from personaagent.optimizers.sampling import LatestBatch
from personaagent.optimizers.selection import AlwaysAccept
from personaagent.optimizers.update import Proposal
from personaagent.programs import GradientWriter, PersonaRewriter
from personaagent.programs.adapter import PersonaAdapter
from personaagent.programs.tools import quote
from personaagent.signatures.paper import TEMPLATE, CriticizeResponse, WritePersona

LATEST = 3  # interactions a step
GRADIENT_TOKENS = 200
PROMPT_TOKENS = 600


class PaperRewrite:
    """The whole system prompt written anew from the aggregated feedback."""

    def __init__(self) -> None:
        self.criticize = dspy.Predict(CriticizeResponse, max_tokens=GRADIENT_TOKENS)
        self.write = dspy.Predict(WritePersona, max_tokens=PROMPT_TOKENS)

    def opening(self, first: Persona) -> Persona:
        """A first persona in the paper's template; the LM chooses its actions."""
        if first.whole or first.version or first.parent:
            return first
        profile = TEMPLATE.format(profile=first.profile or "Nothing yet.")
        return replace(first, profile=profile, whole=True, actions=None)

    def criticism(self, task: Task, persona: Persona, one: Replayed, writer: GradientWriter) -> str:
        """LLM_grad: how the persona should change."""
        del task, writer
        with dspy.context(adapter=PersonaAdapter()):
            said = self.criticize(
                current=persona.render(),
                query=quote(one.interaction.query),
                truth=one.interaction.response,
                response=one.answer,
            )
        return " ".join(str(said.gradient).split())

    def propose(
        self, proposal: Proposal, rewriter: PersonaRewriter, memory: EpisodicMemory
    ) -> list[Persona]:
        """LLM_update: one new system prompt."""
        del rewriter, memory
        feedback = "\n".join(f"- {one.text}" for one in proposal.gradients)
        with dspy.context(adapter=PersonaAdapter()):
            said = self.write(current=proposal.persona.render(), feedback=feedback)
        prompt = str(said.prompt).strip()
        if not prompt:
            return []
        return [proposal.persona.succeed(profile=prompt, directives=(), whole=True, actions=None)]


def as_in_the_paper(iterations: int = 1, batch: int = LATEST) -> dict[str, Any]:
    """The arguments of `PersonaAlignment` that make it the paper's.

    Args:
        iterations: one to three; the paper's gains end there.
        batch: the latest interactions that each of them learns from.
    """
    policies: Sequence[None] = (None,)
    return {
        "iterations": iterations,
        "batch": batch,
        "replay": 0,
        "simulate": batch,
        "sampler": LatestBatch(),
        "update": PaperRewrite(),
        "acceptance": AlwaysAccept(),
        "policies": policies,
    }
