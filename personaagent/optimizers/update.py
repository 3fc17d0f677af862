"""LLM_update: from a batch and its gradients to candidate personas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from personaagent.data import Directive, Interaction, Persona, Task, resolve, validation
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.log import Gradient
from personaagent.optimizers.replay import Replayed
from personaagent.optimizers.thresholds import Reaching
from personaagent.programs import PersonaRewriter
from personaagent.programs.rewriter import clean


@dataclass(frozen=True, slots=True)
class Proposal:
    """What an update sees: the writing interactions, oldest first, those of them that were replayed
    under `persona`, the batch of these, and its gradients; `condensed` is what recurs in these,
    once somebody has asked for it."""

    task: Task
    persona: Persona
    batch: Sequence[Replayed]
    gradients: Sequence[Gradient]
    writing: Sequence[Interaction]
    replayed: Sequence[Replayed]
    condensed: str = ""

    def summary(self, rewriter: PersonaRewriter) -> str:
        """What recurs in the gradients and what contradicts itself."""
        return self.condensed or rewriter.condense([one.text for one in self.gradients])


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
            f"user {gradient.truth}{_likelihood(gradient)}: {gradient.text}"
            for replayed, gradient in zip(proposal.batch, proposal.gradients, strict=True)
        ]
        if proposal.condensed and len(feedback) > 2:
            feedback.append(f"What recurs: {proposal.condensed}")
        batch = [one.interaction for one in proposal.batch]
        return [rewriter(proposal.persona, batch, feedback).persona]


class ItemisedEdits:
    """Directives added, revised and dropped one at a time; the rest stays as it is.

    Cues come from the LM: what the batch has in common, and the gradients. How far a cue reaches
    and how promising it is follow from the writing interactions without any LM call; the best
    `keep` become candidates. Where newer interactions say something about a directive that the
    persona has already, its reach is fitted again, or, where most of them speak against it, its
    removal is proposed.

    Args:
        keep: how many new directives are proposed at most.
        cap: how many directives a persona has at most; the least supported goes.
    """

    def __init__(self, *, keep: int = 2, cap: int = 12) -> None:
        validation.whole("keep", keep, 1)
        validation.whole("cap", cap, 1)
        self.keep = keep
        self.cap = cap

    def propose(
        self, proposal: Proposal, rewriter: PersonaRewriter, memory: EpisodicMemory
    ) -> list[Persona]:
        reaching = Reaching(proposal.task, proposal.writing, proposal.replayed, memory)
        before = proposal.persona.directives
        present = tuple(one if one.pinned else reaching.renewed(one) for one in before)
        edits = [
            *self._additions(proposal, rewriter, reaching, present),
            *self._revisions(reaching, before, present),
            *self._removals(reaching, present),
        ]
        said = [{(one.cue, one.text, one.reach) for one in edit} for edit in (before, *edits)]
        return [
            proposal.persona.succeed(directives=edit)
            for at, edit in enumerate(edits, 1)
            if said[at] not in said[:at]
        ]

    def _additions(
        self,
        proposal: Proposal,
        rewriter: PersonaRewriter,
        reaching: Reaching,
        present: Sequence[Directive],
    ) -> list[tuple[Directive, ...]]:
        batch = [one.interaction for one in proposal.batch]
        named = [rewriter.cue(batch), *(clean(one.text) for one in proposal.gradients)]
        fitted = [
            reaching.fit(cue, batch[0].response) for cue in dict.fromkeys(filter(None, named))
        ]
        best = sorted((one for one in fitted if one.gain > 0), key=lambda one: -one.gain)
        return [self._with(present, one.directive, reaching) for one in best[: self.keep]]

    def _revisions(
        self, reaching: Reaching, before: Sequence[Directive], present: Sequence[Directive]
    ) -> list[tuple[Directive, ...]]:
        """The new reach that promises most, of the directives with news about them."""
        found = []
        for old, now in zip(before, present, strict=True):
            answer = None if now.pinned else reaching.answer(now)
            if answer is None or {*old.support, *old.oppose} == {*now.support, *now.oppose}:
                continue
            fitted = reaching.fit(now.cue, answer, held=now.reach)
            if fitted.gain > reaching.gain(now, answer):
                found.append((fitted.gain - reaching.gain(now, answer), now, fitted.directive))
        if not found:
            return []
        _, now, new = max(found, key=lambda one: one[0])
        return [self._with(present, replace(now, reach=new.reach), reaching)]

    def _removals(
        self, reaching: Reaching, present: Sequence[Directive]
    ) -> list[tuple[Directive, ...]]:
        """Without the directive that most of what it now speaks to is against."""
        against = [(reaching.net(one), one) for one in present if not one.pinned]
        lowest, worst = min(against, key=lambda pair: pair[0], default=(0, None))
        return [tuple(one for one in present if one is not worst)] if lowest < 0 else []

    def _with(
        self, present: Sequence[Directive], new: Directive, reaching: Reaching
    ) -> tuple[Directive, ...]:
        known = [one for one in present if (one.cue, one.text) == (new.cue, new.text)]
        others = [one for one in present if one not in known]
        now = reaching.renewed(replace(known[0], reach=new.reach) if known else new)
        return resolve([*others, now], cap=self.cap, order=reaching.order)


def _likelihood(gradient: Gradient) -> str:
    if gradient.likelihood is None:
        return ""
    return f" (which it thought {gradient.likelihood:.0%} likely)"
