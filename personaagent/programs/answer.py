"""The answer: a distribution over the labels where the LM gives log-probabilities, else typed."""

from __future__ import annotations

from typing import Any

import dspy

from personaagent.data import Choice, Task
from personaagent.lm import read_labels
from personaagent.programs.adapter import PersonaAdapter
from personaagent.signatures import AnswerQuery


class Answerer(dspy.Module):
    """Asks the LM the task's question under a persona, with what the actions found.

    The instruction and the persona are the system message, evidence and query the user message.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        signature = AnswerQuery.with_instructions(task.system)
        if task.labels:
            signature = signature.with_updated_fields("answer", type_=task.output_type)
        self.predict = dspy.Predict(signature)

    def forward(self, query: str, persona: str = "", evidence: str = "") -> dspy.Prediction:
        """`answer`, a canonical response, and `distribution` (label to probability) or None.

        One LM call; two where the options are a pair, which is asked in both orders.
        """
        if self.task.labels and getattr(dspy.settings.lm, "reads_likelihoods", False):
            distribution = self._read(query, persona, evidence)
            return dspy.Prediction(answer=self.task.decide(distribution), distribution=distribution)
        with dspy.context(adapter=PersonaAdapter()):
            said = self.predict(
                persona=persona, evidence=evidence, question=self.task.question(query)
            )
        return dspy.Prediction(answer=self.task.parse(str(said.answer)), distribution=None)

    def _read(self, query: str, persona: str, evidence: str) -> dict[str, float]:
        given = self._labels_of(query, persona, evidence)
        if not isinstance(self.task, Choice):
            return given
        swapped = self._labels_of(self.task.swapped(query), persona, evidence)
        one = (given["[1]"] * swapped["[2]"]) ** 0.5
        two = (given["[2]"] * swapped["[1]"]) ** 0.5
        return {"[1]": one / (one + two), "[2]": two / (one + two)}

    def _labels_of(self, query: str, persona: str, evidence: str) -> dict[str, float]:
        inputs: dict[str, Any] = {
            "persona": persona,
            "evidence": evidence,
            "question": self.task.question(query),
        }
        signature = self.predict.signature.with_updated_fields("answer", type_=str)
        messages = PersonaAdapter().format(signature, [], inputs)
        read = read_labels(dspy.settings.lm, messages, self.task.labels)
        return read or dict.fromkeys(self.task.labels, 1 / len(self.task.labels))
