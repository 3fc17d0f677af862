"""The answer: a distribution over the labels where the LM gives log-probabilities, else typed."""

from __future__ import annotations

from functools import lru_cache

import dspy

from personaagent.data import Task
from personaagent.errors import DataError, LMError
from personaagent.lm import read_labels, read_text
from personaagent.programs.adapter import PersonaAdapter
from personaagent.programs.fusion import mode
from personaagent.signatures import AnswerQuery


class Answerer(dspy.Module):
    """Asks the LM the task's question under a persona, with what the actions found.

    The persona is the system message; the instruction opens the user message, the query ends it.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        signature = AnswerQuery.with_instructions(task.system)
        if task.labels:
            signature = signature.with_updated_fields("answer", type_=task.output_type)
        self.predict = dspy.Predict(signature)

    def forward(
        self, query: str, persona: str = "", evidence: str = "", directive: str = ""
    ) -> dspy.Prediction:
        """`answer`, a canonical response, and `distribution` (label to probability) or None.

        One LM call; two where the options are a pair, which is asked in both orders. Of a
        distribution the answer is the mode.
        """
        inputs = {"persona": persona, "evidence": evidence, "directive": self._rule(directive)}
        if self.task.labels and getattr(dspy.settings.lm, "reads_likelihoods", False):
            distribution = self.task.read(query, lambda asked: self._labels_of(asked, inputs))
            return dspy.Prediction(answer=mode(distribution), distribution=distribution)
        with dspy.context(adapter=PersonaAdapter()):
            said = self.predict(question=self.task.question(query), **inputs)
        try:
            answer = self.task.parse(str(said.answer))
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
        if not directive:
            return ""
        task = self.task
        return f"This {task.item} falls under a rule of this user: {directive} {task.answer}:"

    def messages(self, query: str, **inputs: str) -> list[dict[str, str]]:
        """What the LM is asked where its answer is read, or is a text; `inputs` as in a call."""
        filled = {"persona": "", "evidence": "", "directive": "", **inputs}
        messages: list[dict[str, str]] = PersonaAdapter().format(
            _as_text(self.predict.signature),
            self.predict.demos,
            {**filled, "question": self.task.question(query)},
        )
        return messages

    def _labels_of(self, query: str, inputs: dict[str, str]) -> dict[str, float]:
        read = read_labels(dspy.settings.lm, self.messages(query, **inputs), self.task.labels)
        return read or dict.fromkeys(self.task.labels, 1 / len(self.task.labels))


@lru_cache(maxsize=64)
def _as_text(signature: type[dspy.Signature]) -> type[dspy.Signature]:
    """The same question without a form for its answer."""
    plain: type[dspy.Signature] = signature.with_updated_fields("answer", type_=str)
    return plain
