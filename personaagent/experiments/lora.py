"""User-specific fine-tuning: an adapter a user instead of words about the user (OPPU)."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dspy

from personaagent.data import Choice, Interaction, Task, self_supervised_pairs
from personaagent.data.task import given
from personaagent.errors import DataError, LMError
from personaagent.experiments.lora_lm import Example, Recipe, loaded
from personaagent.memory import EpisodicMemory
from personaagent.programs.answer import Answerer
from personaagent.programs.history import visible
from personaagent.programs.scope import QueryScope

if TYPE_CHECKING:
    from personaagent.lm import PersonaLM

NEEDED = ("peft", "gguf")
SEED = 0  # of the questions made of papers
OTHERS = 20  # users whose papers are their wrong options


class Lora(dspy.Module):
    """The LM fine-tuned on the user's own history; the prompt says nothing of the user.

    Source: OPPU (Tan et al., 2024), without retrieval: LoRA of rank 8 and alpha 8 on queries and
    values, dropout 0.05, AdamW with rate 1e-4, weight decay 0.01 and gradients up to 0.3, 2 epochs,
    loss on the answer only. Adapted: the weights are those of the LM that all systems have, and
    were not trained on other users' answers before; 4 examples an update instead of 16, so that a
    short history makes as many updates as OPPU's long ones; the latest 64 interactions; the answer
    is read as likelihoods, as everywhere here. Where a history has papers and no answers (LaMP-1)
    the examples are questions made of the papers, as those that PersonaAgent is aligned to.

    Args:
        task: what is answered.
        memory: whose histories are trained on.
        base: a GGUF file, or a folder in Hugging Face's format; default: the file of DSPy's LM.
        recipe: how long and how fast is trained.

    Raises:
        LMError: the extra `lora` is not installed.
    """

    def __init__(
        self,
        task: Task,
        memory: EpisodicMemory,
        *,
        base: str | Path | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__()
        if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
            raise LMError(
                f"user-specific fine-tuning needs {' and '.join(missing)}: "
                "pip install 'personaagent[lora]'"
            )
        self.task = given(task)
        self.memory = memory
        self.base = base
        self.recipe = recipe or Recipe()
        self.answer = Answerer(task)

    def forward(
        self, query: str, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> dspy.Prediction:
        lm = self.tuned(QueryScope.of(query, user, self.task, before, exclude))
        with dspy.context(lm=lm):
            written = self.task.labels and not lm.reads_likelihoods
            said = self._write(query) if written else self.answer(query=query)
        return dspy.Prediction(
            answer=said.answer, distribution=said.distribution, actions=[], memories=[]
        )

    def prepare(
        self, user: str, *, before: datetime | None = None, exclude: Sequence[str] = ()
    ) -> None:
        """Train ahead of the first query, which then costs what a query without a user costs."""
        self.tuned(QueryScope(user, self.task, "", before, tuple(exclude)))

    def tuned(self, situation: QueryScope) -> PersonaLM:
        """The user's own LM, trained on what the query may see unless it is in memory already.

        Raises:
            LMError: DSPy's LM is not on this machine, or cannot be fine-tuned.
        """
        from personaagent.experiments.lora_lm import adapted_lm

        model = loaded(self._weights())
        examples = [
            Example(self.answer.messages(one.query), one.response)
            for one in self._answered(situation)
        ]
        return adapted_lm(dspy.settings.lm, model, model.adapter(examples, self.recipe))

    def _weights(self) -> Path:
        if self.base is not None:
            return Path(self.base)
        from personaagent.lm.embedded import EmbeddedEngine

        lm = dspy.settings.lm
        engine = getattr(lm, "engine", None)
        if not isinstance(engine, EmbeddedEngine):
            raise LMError(
                f"{getattr(lm, 'spec', lm)}: user-specific fine-tuning needs the LM's weights on "
                "this machine: take --lm embedded or --lm FILE.gguf, or in Python "
                "Lora(task, memory, base=…)"
            )
        return engine.path

    def _answered(self, situation: QueryScope) -> list[Interaction]:
        """What there is to learn, oldest first."""
        past = visible(self.memory, situation)
        answered = [one for one in past if one.response]
        if answered or not (past and isinstance(self.task, Choice)):
            return answered
        try:
            pairs = self_supervised_pairs(self._papers(situation), SEED)
        except DataError:  # all papers are one user's: there are no wrong options
            return []
        return [one for one in pairs if one.user == situation.user]

    def _papers(self, situation: QueryScope) -> dict[str, list[Interaction]]:
        """The user's, and some of other users' for the wrong options."""
        known = {one.user for one in self.memory.store.users(self.task.name)} - {situation.user}
        draw = random.Random(f"{SEED} {situation.user}")
        others = draw.sample(sorted(known), min(OTHERS, len(known)))
        return {
            user: visible(self.memory, replace(situation, user=user))
            for user in (situation.user, *others)
        }

    def _write(self, query: str) -> dspy.Prediction:
        """An answer in the form that was trained, where answers are to be sampled."""
        (said,) = dspy.settings.lm(messages=self.answer.messages(query))
        try:
            return dspy.Prediction(answer=self.task.parse(str(said)), distribution=None)
        except DataError as error:
            raise LMError(f"the LM's answer is no answer: {error}") from error
