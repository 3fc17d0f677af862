"""How signatures become messages: few tokens, stable words first, the persona verbatim.

A `persona` among the inputs is the whole system message and the instruction opens the user message;
without one the instruction is the system message. So every call for a user begins alike, which
prompt caches reuse, and the persona stays data: one shared program serves every user.
"""

from __future__ import annotations

from typing import Any, cast

import dspy
from dspy.signatures.signature import Signature
from dspy.utils.exceptions import AdapterParseError

from personaagent.errors import LMError


class PersonaAdapter(dspy.JSONAdapter):
    """A lone text output is the completion as it stands; anything else is JSON by schema.

    Every filled input becomes a paragraph of the user message under its title, the field's `desc`;
    an input without a title stands alone. Demos come before, as turns of the conversation.
    """

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

    def __call__(self, lm: dspy.BaseLM, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Ask the LM.

        Raises:
            LMError: the LM failed, or its answer has not the form that was asked for.
        """
        try:
            return cast(list[dict[str, Any]], super().__call__(lm, *args, **kwargs))
        except AdapterParseError as error:
            said = " ".join(str(error.lm_response).split())[:200]
            raise LMError(
                f"{lm.model} did not answer in the form that was asked for, but: '{said}'; try a "
                "larger LM, or one with structured output"
            ) from error

    def parse(self, signature: type[Signature], completion: str) -> dict[str, Any]:
        if _is_text(signature):
            (name,) = signature.output_fields
            return {name: completion.strip()}
        fields: dict[str, Any] = super().parse(signature, completion)
        return fields

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
