"""The answer: a distribution over the labels where the LM gives log-probabilities, else typed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import dspy

from personaagent.data import Task
from personaagent.errors import DataError, LMError
from personaagent.lm import read_text
from personaagent.programs.adapter import LikelihoodAdapter, PersonaAdapter, as_text
from personaagent.programs.fusion import mode
from personaagent.signatures import AnswerQuery


class Answerer(dspy.Module):
    """Asks the LM the task's question under a persona, with what the actions found.

    The persona is the system message; the instruction opens the user message, the query ends it.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.predict = dspy.Predict(_asking(task.system, task.output_type if task.labels else None))

    def forward(
        self, query: str, persona: str = "", evidence: str = "", directive: str = ""
    ) -> dspy.Prediction:
        """`answer`, a canonical response, and `distribution` (label to probability), None where the
        LM told the label only, or the answer is a text.

        One LM call; two where the options are a pair, which is asked in both orders; one more where
        what the LM said is not unmistakable. Of a distribution the answer is the mode.

        Raises:
            DataError: the query is none of the task's.
            LMError: the LM failed, or its answer is none of the task's.
        """
        lm, task = dspy.settings.lm, self.task
        inputs = {
            "persona": persona,
            "evidence": evidence,
            "directive": self._rule(directive),
            "question": task.question(query),
        }
        if task.labels and getattr(lm, "reads_likelihoods", False):
            reader = LikelihoodAdapter(task, query="question")
            read = reader.read(lm, self.predict.signature, self.predict.demos, inputs)
            return dspy.Prediction(answer=mode(read), distribution=None if reader.stated else read)
        with dspy.context(adapter=PersonaAdapter()):
            said = self.predict(**inputs)
        try:
            answer = task.parse(str(said.answer))
        except DataError as error:
            raise LMError(f"the LM's answer is no answer: {error}") from error
        return dspy.Prediction(answer=answer, distribution=None)

    def nats(
        self,
        query: str,
        response: str,
        persona: str = "",
        evidence: str = "",
        directive: str = "",
    ) -> float | None:
        """How unlikely the LM thinks a text as the answer, in nats a word; None where that cannot
        be read. One LM call."""
        lm, words = dspy.settings.lm, len(response.split())
        if self.task.labels or not words or not getattr(lm, "reads_texts", False):
            return None
        rule = self._rule(directive)
        messages = self.messages(query, persona=persona, evidence=evidence, directive=rule)
        return -read_text(lm, messages, response) / words

    def _rule(self, directive: str) -> str:
        """Behind the query, where a small LM heeds it most."""
        return f"{directive} {self.task.answer}:" if directive else ""

    def messages(self, query: str, **inputs: str) -> list[dict[str, str]]:
        """What the LM is asked where its answer is read, or is a text; `inputs` as in a call."""
        filled = {"persona": "", "evidence": "", "directive": "", **inputs}
        messages: list[dict[str, str]] = PersonaAdapter().format(
            as_text(self.predict.signature, "answer"),
            self.predict.demos,
            {**filled, "question": self.task.question(query)},
        )
        return messages


@lru_cache(maxsize=64)
def _asking(instructions: str, kind: Any) -> type[dspy.Signature]:
    """The signature of a task, of which each user has a program: it takes milliseconds to make."""
    signature: type[dspy.Signature] = AnswerQuery.with_instructions(instructions)
    if kind is not None:
        signature = signature.with_updated_fields("answer", type_=kind)
    return signature
