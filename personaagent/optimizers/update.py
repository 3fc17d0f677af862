"""LLM_update: from a batch and its gradients to candidate personas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from personaagent.data import Directive, Interaction, Persona, Task
from personaagent.data.influence import corroborated
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.log import Gradient
from personaagent.optimizers.replay import Replayed
from personaagent.programs import PersonaRewriter
from personaagent.programs.rewriter import clean

FOLLOWED = 0.3  # nats that a directive leaves where it is right
MISLED = 3.0  # nats that it costs where it is wrong
LEAST = 2  # interactions that must speak for a directive


@dataclass(frozen=True, slots=True)
class Proposal:
    """What an update sees: the writing interactions replayed under `persona`, the batch of them,
    and the gradients of the batch."""

    task: Task
    persona: Persona
    batch: Sequence[Replayed]
    gradients: Sequence[Gradient]
    written_from: Sequence[Replayed]


class Update(Protocol):
    """Proposes challengers of a persona."""

    def propose(
        self, proposal: Proposal, rewriter: PersonaRewriter, memory: EpisodicMemory
    ) -> list[Persona]:
        """Successors of `proposal.persona`, the most promising first."""
        ...


class FullRewrite:
    """The whole persona written anew, as in the paper. Needs a capable LM; full rewrites of a long
    persona may lose what it knew."""

    def propose(
        self, proposal: Proposal, rewriter: PersonaRewriter, memory: EpisodicMemory
    ) -> list[Persona]:
        del memory
        feedback = [
            f'On "{replayed.interaction.query}" the assistant answered {gradient.response}, the '
            f"user {gradient.truth}: {gradient.text}"
            for replayed, gradient in zip(proposal.batch, proposal.gradients, strict=True)
        ]
        batch = [one.interaction for one in proposal.batch]
        return [rewriter(proposal.persona, batch, feedback).persona]


class ItemisedEdits:
    """One directive added, or one with the same cue replaced; the rest stays as it is.

    Cues come from the LM: what the batch has in common, and the gradients. How far
    a cue reaches and how promising it is follow from the writing interactions without any LM call;
    the best `keep` become candidates.
    """

    def __init__(self, *, keep: int = 2) -> None:
        self.keep = keep

    def propose(
        self, proposal: Proposal, rewriter: PersonaRewriter, memory: EpisodicMemory
    ) -> list[Persona]:
        task, persona = proposal.task, proposal.persona
        batch = [one.interaction for one in proposal.batch]
        response = batch[0].response
        named = [rewriter.cue(batch), *(clean(one.text) for one in proposal.gradients)]
        scored = [
            (gain, directive)
            for cue in dict.fromkeys(filter(None, named))
            for gain, directive in [_directive(task, cue, response, proposal.written_from, memory)]
            if gain > 0
        ]
        best = sorted(scored, key=lambda pair: -pair[0])[: self.keep]
        return [
            persona.succeed(directives=_with(persona.directives, directive))
            for _, directive in best
        ]


def _directive(
    task: Task,
    cue: str,
    response: str,
    replayed: Sequence[Replayed],
    memory: EpisodicMemory,
) -> tuple[float, Directive]:
    """The directive for a cue, reaching where it helps most, and the nats it should save.

    Over all thresholds on the cosine between cue and query: what following the directive would
    save or cost on the writing interactions that it then speaks to, of which most must agree.
    """
    vector = memory.embed(cue)
    fits = np.array([float(vector @ memory.embed(one.interaction.query)) for one in replayed])
    order = np.argsort(-fits, kind="stable")
    saved = np.array(
        [
            one.loss - (FOLLOWED if one.interaction.response == response else MISLED)
            for one in replayed
        ]
    )
    agrees = np.array([one.interaction.response == response for one in replayed])
    gains = np.cumsum(saved[order])
    ends = np.append(np.diff(fits[order]) < 0, True)  # no reach tells equal fits apart
    agreeing = np.cumsum(agrees[order])
    most = 2 * agreeing > np.arange(1, len(order) + 1)
    enough = (agreeing >= LEAST) & most & ends
    if not enough.any():
        return 0.0, Directive("")
    last = int(np.argmax(np.where(enough, gains, -np.inf)))
    inside = fits[order[last]]
    outside = fits[order[last + 1]] if last + 1 < len(order) else inside
    spoken_to = [replayed[i].interaction for i in order[: last + 1]]
    if not corroborated(spoken_to, response):
        return 0.0, Directive("")
    directive = Directive(
        f"If the {task.item} mentions {cue}, answer {response}.",
        cue=cue,
        reach=float(inside + outside) / 2,
        support=_ids(one for one in spoken_to if one.response == response),
        oppose=_ids(one for one in spoken_to if one.response != response),
    )
    return float(gains[last]), directive


def _with(directives: Sequence[Directive], new: Directive) -> tuple[Directive, ...]:
    return (*(one for one in directives if one.cue != new.cue), new)


def _ids(interactions: Iterable[Interaction]) -> tuple[str, ...]:
    return tuple(one.id for one in interactions)
