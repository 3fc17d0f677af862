"""A user's own DSPy program under a persona, as `PersonaAlignment` and every system wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any

import dspy

from personaagent.data import Directive, FusionWeights, Interaction, Item, Persona, Task, validation
from personaagent.data.task import given
from personaagent.errors import DataError, LMError
from personaagent.memory import EpisodicMemory
from personaagent.programs.adapter import LikelihoodAdapter
from personaagent.programs.directive_matching import item_scores, match_directives
from personaagent.programs.fusion import fuse, trusted
from personaagent.programs.persona import PersonaParameter, checked
from personaagent.programs.retriever import MemoryRetriever
from personaagent.programs.scope import QueryScope
from personaagent.programs.user_label_prior import user_label_prior


class Personal(dspy.Module):
    """Any DSPy program with a `persona` input field, made personal.

        own = dspy.ChainOfThought("persona, query -> answer")
        aligned = PersonaAlignment().compile(
            Personal(own, task=task, memory=memory), trainset=interactions
        )

    The program stays the user's: it is called with the query and the persona's text, and what it
    does in between is its own business. Without an adapter of the user's own (`dspy.configure`) it
    runs with ours: the persona is the system message, and an answer that is asked for alone is read
    from the LM's likelihoods.

    Args:
        program: called as `program(query=…, persona=…)`, answers with a field `answer`.
        task: what an answer is.
        memory: episodic memory with its store.
        persona: the program's own persona; saved and loaded with the program.
        query: another name for the program's query.
        answer: another name for its answer.

    Raises:
        DataError: no predictor of the program takes a persona.
    """

    def __init__(
        self,
        program: dspy.Module,
        *,
        task: Task,
        memory: EpisodicMemory,
        persona: Persona | None = None,
        query: str = "query",
        answer: str = "answer",
    ) -> None:
        super().__init__()
        validation.instance("program", program, dspy.Module, "give a DSPy program")
        if not any("persona" in one.signature.input_fields for one in program.predictors()):
            raise DataError(
                f"{type(program).__name__}: no predictor has an input field 'persona': add it to "
                "the signature, as in 'persona, query -> answer'"
            )
        self.program = program
        self.task = given(task)
        self.persona = PersonaParameter(persona)
        self.retrieve = MemoryRetriever(memory)
        self.query = query
        self.answer = answer

    @property
    def memory(self) -> EpisodicMemory:
        """Where the published personas and the user's habits are."""
        return self.retrieve.memory

    def forward(
        self,
        query: str,
        user: str,
        *,
        before: datetime | None = None,
        exclude: Sequence[str] = (),
        persona: Persona | None = None,
    ) -> dspy.Prediction:
        """Answer a query as the user would.

        Args:
            query: the item that the task asks about.
            user: who asks.
            before: what happened from this moment on does not exist.
            exclude: ids of interactions that do not exist.
            persona: answer under this one.

        Returns:
            `answer`; `distribution` over the labels or None; `lm` and `habit`, the two that it was
            fused from, `habit` None where the persona does not trust it; `said`, what the program
            returned; `directives`, `actions` and `memories` as of `PersonaAgent`.

        Raises:
            LMError: the LM failed, or the program's answer is none of the task's.
        """
        situation = QueryScope.of(query, user, self.task, before, exclude)
        persona = checked(persona) or self.persona_of(user)
        directives = match_directives(self.memory, persona, situation)
        scores = item_scores(self.memory, persona, situation.query)
        said, read = self._ask(situation.query, _as_text(persona, directives, scores))
        try:
            answer = self.task.parse(str(said[self.answer]))
        except (DataError, KeyError) as error:
            raise LMError(f"the program's answer is no answer: {error}") from error
        # What the program made of a reading is its own answer, with no distribution behind it.
        lm = distribution = read if read and self.task.decide(read) == answer else None
        is_stated, habit = bool(self.task.labels) and distribution is None, None
        if self.task.labels:
            lm, trust = lm or self.task.stated(answer), trusted(persona.trust)
            if trust.habit:
                habit = user_label_prior(self.retrieve, situation, trust.meanings)
            if distribution or trust != FusionWeights():
                distribution = fuse(lm, habit, trust)
                answer = self.task.decide(distribution)
        return dspy.Prediction(
            answer=answer,
            distribution=distribution,
            lm=lm,
            stated=is_stated,
            habit=habit,
            said=said,
            directives=directives,
            actions=[],
            memories=[],
            persona=persona.hash,
        )

    async def aforward(self, query: str, user: str, **options: Any) -> dspy.Prediction:
        """The same on a worker thread, so that an event loop can wait for it."""
        # by the class: DSPy warns of every `self.forward` outside of `__call__`
        return await dspy.asyncify(type(self).forward)(self, query, user, **options)

    def persona_of(self, user: str) -> Persona:
        """The program's own persona if it is this user's, else the published one, else none."""
        memory = self.memory.store.of(user)
        own, whose = self.persona.value, (memory.user, self.task.name)
        if own and (own.user, own.task) == whose:
            return own
        return memory.persona(self.task.name) or Persona(*whose, role=self.task.role)

    def replay(self, past: Interaction, persona: Persona) -> dspy.Prediction:
        """Answer a past query again, without its answer and what came after it."""
        situation = QueryScope.replaying(self.task, past)
        return self(
            query=past.query,
            user=past.user,
            before=situation.before,
            exclude=situation.exclude,
            persona=persona,
        )

    def _ask(self, query: str, persona: str) -> tuple[dspy.Prediction, dict[str, float] | None]:
        """What the program says, and the distribution that was read on the way."""
        reading = LikelihoodAdapter(self.task, query=self.query, answer=self.answer)
        own = dspy.settings.adapter
        with nullcontext() if own else dspy.context(adapter=reading):
            said = self.program(**{self.query: query, "persona": persona})
        return said, None if reading.stated else reading.distribution


def _as_text(
    persona: Persona, fitting: Sequence[Directive], scores: Mapping[Item, float] | None
) -> str:
    """The system prompt for a query: what always holds, and the one rule that speaks to it."""
    standing = [one for one in persona.directives if not one.cue]
    return replace(persona, directives=(*standing, *fitting[:1])).render(scores)
