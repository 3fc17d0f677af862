"""Likelihoods for any DSPy program: an adapter that reads an answer where it can be read.

A program asks for its answer as always; where the task has labels and the LM gives
log-probabilities, the answer comes from one forward pass of one token, as `Answerer` has it, and
cannot be malformed.
"""

from __future__ import annotations

from typing import Any

import dspy
from dspy.adapters.utils import parse_value
from dspy.signatures.signature import Signature

from personaagent.data import Task
from personaagent.errors import DataError
from personaagent.lm import PersonaLM, read_labels
from personaagent.programs.adapter import PersonaAdapter


class ReadingAdapter(PersonaAdapter):
    """PersonaAdapter, but an answer that is asked for alone is read; one instance a call.

    `distribution` is the last one that was read, or None. What comes along with other outputs (a
    chain of thought) is written by the LM.

    Args:
        task: whose labels are read.
        query: the input field that holds the query; the options of a choice are swapped in it.
        answer: the output field that is read.
    """

    def __init__(self, task: Task, *, query: str = "query", answer: str = "answer") -> None:
        super().__init__()
        self.task = task
        self.query = query
        self.answer = answer
        self.distribution: dict[str, float] | None = None

    def __call__(
        self,
        lm: dspy.BaseLM,
        lm_kwargs: dict[str, Any],
        signature: type[Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Read the answer, or ask for it.

        Raises:
            LMError: the LM failed, or its answer has not the form that was asked for.
        """
        alone = list(signature.output_fields) == [self.answer]
        if not (alone and self.task.labels and getattr(lm, "reads_likelihoods", False)):
            return super().__call__(lm, lm_kwargs, signature, demos, inputs)
        self.distribution = self._read(lm, signature, demos, inputs)
        label = self.decide(lm, self.distribution)
        kind = signature.output_fields[self.answer].annotation
        return [{self.answer: parse_value(label, kind)}]

    def decide(self, lm: PersonaLM, distribution: dict[str, float]) -> str:
        """The answer; the LM is the one that was read."""
        del lm
        return self.task.decide(distribution)

    def _read(
        self,
        lm: PersonaLM,
        signature: type[Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> dict[str, float]:
        plain = signature.with_updated_fields(self.answer, type_=str)  # no form for the answer

        def labels(query: str) -> dict[str, float]:
            messages = self.format(plain, demos, {**inputs, self.query: query})
            read = read_labels(lm, messages, self.task.labels)
            return read or dict.fromkeys(self.task.labels, 1 / len(self.task.labels))

        query = str(inputs.get(self.query, ""))
        try:
            return self.task.read(query, labels)
        except DataError:  # a program that asks about its query in words of its own
            return labels(query)
