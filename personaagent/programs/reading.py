"""Likelihoods for any DSPy program: an adapter that reads an answer where it can be read.

A program asks for its answer as always; where the task has labels and the LM gives
log-probabilities, the answer comes with its distribution, from the tokens that begin it. Where
there are none, or none that belong to a label, the label that the LM wrote counts, and where that
is not unmistakable the LM is asked once more, in a form.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, cast

import dspy
from dspy.adapters.utils import parse_value
from dspy.signatures.signature import Signature

from personaagent.data import Task
from personaagent.errors import DataError
from personaagent.lm import PersonaLM, read_answer
from personaagent.programs.adapter import PersonaAdapter
from personaagent.programs.fusion import stated


class ReadingAdapter(PersonaAdapter):
    """PersonaAdapter, but an answer that is asked for alone is read; one instance a call.

    `distribution` is the last one that was read, or None; `stated` says that it is of an answer of
    which only the label is known. What comes along with other outputs (a chain of thought) is
    written by the LM.

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
        self.stated = False

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
        try:
            self.distribution = self.read(lm, signature, demos, inputs)
        except DataError:  # a program that asks about its query in words of its own
            self.distribution = self._labels_of(lm, signature, demos, inputs)
        label = self.decide(lm, self.distribution)
        kind = signature.output_fields[self.answer].annotation
        return [{self.answer: parse_value(label, kind)}]

    def decide(self, lm: PersonaLM, distribution: dict[str, float]) -> str:
        """The answer; the LM is the one that was read."""
        del lm
        return self.task.decide(distribution)

    def read(
        self,
        lm: PersonaLM,
        signature: type[Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> dict[str, float]:
        """The distribution over the labels; `stated` is true from then on where one of the answers
        behind it told its label only.

        Raises:
            DataError: the query is none of the task's.
            LMError: the LM failed, or twice said nothing that is unmistakable.
        """

        def labels(query: str) -> dict[str, float]:
            return self._labels_of(lm, signature, demos, {**inputs, self.query: query})

        return self.task.read(str(inputs.get(self.query, "")), labels)

    def _labels_of(
        self,
        lm: PersonaLM,
        signature: type[Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> dict[str, float]:
        plain: Any = as_text(cast(Hashable, signature), self.answer)
        messages = self.format(plain, demos, inputs)
        said = read_answer(lm, messages, self.task.labels)
        if said.distribution is not None:
            return said.distribution
        self.stated = True
        label = said.label or self._ask_again(lm, signature, demos, inputs)
        return stated(label, self.task.labels)

    def _ask_again(
        self,
        lm: PersonaLM,
        signature: type[Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> str:
        """The label, asked for in a form."""
        formed = signature.with_updated_fields(self.answer, type_=self.task.output_type)
        (said,) = PersonaAdapter(repair=False)(lm, {}, formed, demos, inputs)
        return self.task.parse(str(said[self.answer]))


@lru_cache(maxsize=64)
def as_text(signature: Any, answer: str) -> type[Signature]:
    """The same question without a form for its answer."""
    plain: type[Signature] = signature.with_updated_fields(answer, type_=str)
    return plain
