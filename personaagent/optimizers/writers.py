"""What the LM writes in an alignment: the first profile, gradients (LLM_grad) and candidates
(LLM_update). Each is asked for once in a run, whatever interrupts it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import dspy

from personaagent.data import Interaction, Persona, Task
from personaagent.data.pins import news
from personaagent.data.sensitive import Policy, prose
from personaagent.memory import EpisodicMemory
from personaagent.optimizers.log import Gradient
from personaagent.optimizers.replay import Replayed, parallel
from personaagent.optimizers.slots import Ahead
from personaagent.optimizers.update import Proposal, Update
from personaagent.optimizers.worklog import Record, once
from personaagent.programs import GradientWriter, PersonaRewriter, ProfileSummarizer
from personaagent.programs.profile import UserDescriber


class Writers:
    """The roles that write.

    Args:
        lm: another LM than DSPy's, for all of them.
        words: that a first profile may have.
        policy: what becomes of what is sensitive in a profile.
    """

    def __init__(self, lm: dspy.LM | None, words: int, policy: Policy = "keep") -> None:
        self.lm = lm
        self.words = words
        self.policy = policy
        self.write_gradient = GradientWriter()
        self.rewrite = PersonaRewriter()
        self.summarize = ProfileSummarizer(words=words)

    def profile(self, task: Task, interactions: Sequence[Interaction], record: Record) -> str:
        """The user in a few words."""
        said = once(
            record,
            f"profile/{self.words}",
            lambda: str(self._as_lm(self.summarize, task, interactions).profile),
        )
        return prose(said, self.policy)

    def longer_profile(
        self, task: Task, interactions: Sequence[Interaction], words: int, record: Record
    ) -> str:
        """The user in more words, with what can be counted of all these interactions."""
        describe = UserDescriber(words=words, policy=self.policy)
        return once(
            record,
            f"profile/longer/{words}/{self.policy}",
            lambda: str(self._as_lm(describe, task, interactions).profile),
        )

    def gradients(
        self,
        task: Task,
        batch: Sequence[Replayed],
        record: Record,
        update: Update | None = None,
        persona: Persona | None = None,
    ) -> Ahead[Gradient]:
        """What may be the reason of each response that differs from the user's, or what the update
        wants to read instead; whoever reads them waits until they are there."""
        criticism = getattr(update, "criticism", None)

        def criticize(one: Replayed) -> Gradient:
            past = one.interaction
            if criticism is None or persona is None:
                key = f"gradient/{past.id}/{one.answer}"
                text = once(
                    record,
                    key,
                    lambda: self._as_lm(self.write_gradient, task, past, one.answer).gradient,
                )
            else:
                key = f"gradient/{past.id}/{one.answer}/{_named(update)}/{persona.hash}"
                given = task, persona, one, self.write_gradient
                text = once(record, key, lambda: self._as_lm(criticism, *given))
            likelihood = math.exp(-one.loss) if one.likelihoods and not one.stated else None
            return Gradient(past.id, one.answer, past.response, text, likelihood)

        return Ahead(lambda: parallel(criticize, batch, len(batch)))

    def candidates(
        self, update: Update, proposal: Proposal, memory: EpisodicMemory, record: Record
    ) -> tuple[list[Persona], tuple[str, ...]]:
        """The personas that an update makes of the gradients, with what a person pinned, and why
        it left others out."""
        batch = sorted(one.interaction.id for one in proposal.batch)
        key = f"update/{proposal.persona.hash}/{_named(update)}/{'/'.join(batch)}"
        rewriter = _Recorded(self.rewrite, record)

        def propose() -> dict[str, Any]:
            personas = self._as_lm(update.propose, proposal, rewriter, memory)
            return {"personas": [one.to_dict() for one in personas], "notes": rewriter.notes}

        found = once(record, key, propose)
        made = map(Persona.from_dict, found["personas"])
        return news(proposal.persona, made), tuple(found["notes"])

    def _as_lm(self, work: Callable[..., Any], *arguments: Any) -> Any:
        with dspy.context(lm=self.lm) if self.lm else nullcontext():
            return work(*arguments)


def _named(update: Update | None) -> str:
    """Names the work of an update in its present state."""
    return str(getattr(update, "name", type(update).__name__))


class _Recorded(PersonaRewriter):
    """Names each cue once: it may be there before the gradients are, which may fail."""

    def __init__(self, rewriter: PersonaRewriter, record: Record) -> None:
        super().__init__()
        self.name_cue = rewriter.name_cue
        self.rewrite = rewriter.rewrite
        self.write_edits = rewriter.write_edits
        self.write_summary = rewriter.write_summary
        self._record = record

    def cue(self, interactions: Sequence[Interaction]) -> str:
        key = f"cue/{'/'.join(sorted(one.id for one in interactions))}"
        return once(self._record, key, lambda: PersonaRewriter.cue(self, interactions))
