"""How signatures become messages: few tokens, stable words first, the persona verbatim.

A `persona` among the inputs is the whole system message and the instruction opens the user message;
without one the instruction is the system message. So every call for a user begins alike, which
prompt caches reuse, and the persona stays data: one shared program serves every user.

`LikelihoodAdapter` reads an answer's distribution where the task has labels and the LM gives
log-probabilities, from the tokens that begin it. Where there are none, or none that belong to a
label, the label that the LM wrote counts, and where that is not unmistakable the LM is asked once
more, in a form.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, Literal, cast, get_args, get_origin

import dspy
from dspy.adapters.utils import parse_value
from dspy.clients._deprecation import adapter_message_call
from dspy.signatures.signature import Signature
from dspy.utils.exceptions import AdapterParseError

from personaagent.data import Task
from personaagent.errors import DataError, FormError
from personaagent.lm import PersonaLM, read_answer
from personaagent.lm.written import json_in, unfenced, written_label

ONE_OF = "That is none of the possible answers. Answer with one of them and nothing else: {}"
JSON_ONLY = (
    "That is not the JSON object that was asked for. Answer with it and nothing else; its fields: "
    "{}."
)


class PersonaAdapter(dspy.JSONAdapter):
    """A lone text output is the completion as it stands; anything else is JSON by schema.

    Every filled input becomes a paragraph of the user message under its title, the field's `desc`;
    an input without a title stands alone. Demos come before, as turns of the conversation.

    An answer in another form is read where it is unmistakable: fenced, chatty, a bare list, a
    label in words. Where it is not, the LM is shown its answer and asked once more.

    Args:
        repair: whether to ask once more.
    """

    def __init__(self, *, repair: bool = True) -> None:
        super().__init__()
        self.repair = repair

    def format(
        self, signature: type[Signature], demos: list[dict[str, Any]], inputs: dict[str, Any]
    ) -> list[dict[str, Any]]:
        personal = "persona" in signature.input_fields
        system = inputs.get("persona") if personal else signature.instructions
        messages = [{"role": "system", "content": system}] if system else []
        for demo in demos:
            answer = {name: demo[name] for name in signature.output_fields if name in demo}
            messages.append({"role": "user", "content": self._ask(signature, demo)})
            said = next(iter(answer.values())) if _is_text(signature) else answer
            content = said if isinstance(said, str) else self.format_assistant(signature, answer)
            messages.append({"role": "assistant", "content": content})
        messages.append({"role": "user", "content": self._ask(signature, inputs)})
        return messages

    def format_assistant(self, signature: type[Signature], answer: dict[str, Any]) -> str:
        """A demo's answer in the form that is asked for."""
        return str(self.format_assistant_message_content(signature, answer))

    def _ask(self, signature: type[Signature], inputs: dict[str, Any]) -> str:
        paragraphs = [signature.instructions] if "persona" in signature.input_fields else []
        for name, info in signature.input_fields.items():
            if name != "persona" and inputs.get(name):
                title = _title(name, info)
                paragraphs.append(f"{title}:\n{inputs[name]}" if title else str(inputs[name]))
        if not _is_text(signature):
            fields = ", ".join(
                f'"{name}" ({_title(name, info)})' for name, info in signature.output_fields.items()
            )
            paragraphs.append(f"Answer with a JSON object: {fields}.")
        return "\n\n".join(paragraphs)

    def __call__(
        self,
        lm: dspy.BaseLM,
        lm_kwargs: dict[str, Any],
        signature: type[Signature],
        demos: list[dict[str, Any]],
        inputs: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Ask the LM.

        Raises:
            LMError: the LM failed, or its answer has not the form that was asked for.
        """
        try:
            fields = super().__call__(lm, lm_kwargs, signature, demos, inputs)
            return cast(list[dict[str, Any]], fields)
        except AdapterParseError as error:
            if not self.repair:
                raise _unreadable(lm, error) from error
            failed = error
        again = [
            *self.format(signature, demos, inputs),
            {"role": "assistant", "content": failed.lm_response or ""},
            {"role": "user", "content": self._again(signature)},
        ]
        with adapter_message_call(lm, again):
            said = lm(messages=again, **lm_kwargs)
        try:
            return [self.parse(signature, _text_of(one)) for one in said]
        except AdapterParseError as error:
            raise _unreadable(lm, error) from error

    async def acall(self, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """The same on a worker thread."""
        return await asyncio.to_thread(self.__call__, *args, **kwargs)

    def _again(self, signature: type[Signature]) -> str:
        """What an LM is told whose answer has another form."""
        if options := _options(signature):
            return ONE_OF.format(", ".join(options))
        return JSON_ONLY.format(", ".join(f'"{name}"' for name in signature.output_fields))

    def parse(self, signature: type[Signature], completion: str) -> dict[str, Any]:
        if _is_text(signature):
            (name,) = signature.output_fields
            return {name: unfenced(completion)}
        try:
            return cast(dict[str, Any], super().parse(signature, unfenced(completion)))
        except AdapterParseError:
            if (read := _otherwise(signature, completion)) is None:
                raise
            return cast(dict[str, Any], super().parse(signature, read))

    def _prepare_response_format(
        self, lm: dspy.BaseLM, lm_kwargs: dict[str, Any], signature: type[Signature]
    ) -> None:
        if _is_text(signature):
            return
        key = (lm.model, signature)
        if key not in _FORMATS:
            super()._prepare_response_format(lm, lm_kwargs, signature)
            _FORMATS[key] = lm_kwargs.get("response_format")
        elif _FORMATS[key] is not None:
            lm_kwargs["response_format"] = _FORMATS[key]


# Schemas take milliseconds to build; a program has a handful of signatures.
_FORMATS: dict[tuple[str, type[Signature]], Any] = {}


def _title(name: str, info: Any) -> str:
    """The field's `desc`; its name in a signature that gives none."""
    desc = str(info.json_schema_extra["desc"])
    return name.replace("_", " ") if desc == f"${{{name}}}" else desc


def _is_text(signature: type[Signature]) -> bool:
    return [info.annotation for info in signature.output_fields.values()] == [str]


def _options(signature: type[Signature]) -> tuple[str, ...]:
    """The possible answers, where one of a closed set is all that is asked for."""
    kinds = [info.annotation for info in signature.output_fields.values()]
    if len(kinds) != 1 or get_origin(kinds[0]) is not Literal:
        return ()
    return tuple(str(one) for one in get_args(kinds[0]))


def _otherwise(signature: type[Signature], completion: str) -> str | None:
    """An answer in another form, as the JSON object that was asked for; None where it is not
    unmistakable."""
    if len(signature.output_fields) != 1:
        return None
    ((name, info),) = signature.output_fields.items()
    if options := _options(signature):
        label = written_label(completion, options)
        return None if label is None else json.dumps({name: label})
    if get_origin(info.annotation) is list:
        value = json_in(completion)
        if isinstance(value, dict):
            value = [value]
        return json.dumps({name: value}) if isinstance(value, list) else None
    return None


def _text_of(output: Any) -> str:
    return str((output.get("text") if isinstance(output, dict) else output) or "")


def _unreadable(lm: dspy.BaseLM, error: AdapterParseError) -> FormError:
    said = " ".join(str(error.lm_response).split())[:200]
    return FormError(
        f"{lm.model} did not answer in the form that was asked for, but: '{said}'; try a "
        "larger LM, or one with structured output"
    )


class LikelihoodAdapter(PersonaAdapter):
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
        return self.task.stated(label)

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
