"""How signatures become messages: few tokens, stable words first, the persona verbatim.

The system message holds what does not change between queries (instruction, persona), so that
prompt caches reuse it; the user message ends with what does. `persona` is data of the call, not
part of the program: one shared program serves every user.
"""

from __future__ import annotations

from typing import Any

import dspy
from dspy.signatures.signature import Signature


class PersonaAdapter(dspy.JSONAdapter):
    """A lone text output is the completion as it stands; anything else is JSON by schema.

    Every filled input becomes a paragraph of the user message under its title, the field's `desc`;
    an input with an empty title stands alone.
    """

    def format(
        self, signature: type[Signature], demos: list[dict[str, Any]], inputs: dict[str, Any]
    ) -> list[dict[str, Any]]:
        system = "\n\n".join(filter(None, [signature.instructions, inputs.get("persona")]))
        paragraphs = []
        for name, info in signature.input_fields.items():
            if name != "persona" and inputs.get(name):
                title = info.json_schema_extra["desc"]
                paragraphs.append(f"{title}:\n{inputs[name]}" if title else str(inputs[name]))
        if not _is_text(signature):
            fields = ", ".join(
                f'"{name}" ({info.json_schema_extra["desc"]})'
                for name, info in signature.output_fields.items()
            )
            paragraphs.append(f"Answer with a JSON object: {fields}.")
        return [
            {"role": "system", "content": system},
            {"role": "user", "content": "\n\n".join(paragraphs)},
        ]

    def parse(self, signature: type[Signature], completion: str) -> dict[str, Any]:
        if _is_text(signature):
            (name,) = signature.output_fields
            return {name: completion.strip()}
        fields: dict[str, Any] = super().parse(signature, completion)
        return fields

    def _prepare_response_format(
        self, lm: dspy.BaseLM, lm_kwargs: dict[str, Any], signature: type[Signature]
    ) -> None:
        if not _is_text(signature):
            super()._prepare_response_format(lm, lm_kwargs, signature)


def _is_text(signature: type[Signature]) -> bool:
    return [info.annotation for info in signature.output_fields.values()] == [str]
