"""π_P: the persona picks the tools and their arguments (paper, section 3.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import dspy
from pydantic import BaseModel, ConfigDict, Field, create_model

from personaagent.data import Action
from personaagent.programs.adapter import PersonaAdapter
from personaagent.signatures import ChooseActions

AT_ONCE = 3  # tools in one step


class ActionChooser(dspy.Module):
    """One LM call that names the next actions; none means that enough is known.

    The schema of the answer is built from the tools, so a small LM cannot name a tool or an
    argument that does not exist.
    """

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict(ChooseActions)

    def forward(
        self, query: str, tools: Sequence[dspy.Tool], persona: str = "", found: str = ""
    ) -> dspy.Prediction:
        """`actions`: a list of `Action`, at most `AT_ONCE`, each one once."""
        described = "\n".join(
            f"- {tool.name}({', '.join(tool.args or {})}): {tool.desc}" for tool in tools
        )
        arguments = json.dumps([[tool.name, tool.args or {}] for tool in tools], sort_keys=True)
        signature = _offering(self.predict.signature, arguments)
        with dspy.context(adapter=PersonaAdapter()):
            chosen = self.predict(
                signature=signature, persona=persona, tools=described, query=query, found=found
            )
        actions: list[Action] = []
        for call in chosen.actions:
            given = call.model_dump()
            action = Action(given.pop("tool"), given)
            if action not in actions:
                actions.append(action)
        return dspy.Prediction(actions=actions[:AT_ONCE])


_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool}


def call_model(name: str, args: Mapping[str, Any], **before: Any) -> type[BaseModel]:
    """A call of one tool as JSON: `tool` and its arguments, after the fields of `before`."""
    fields: dict[str, Any] = {**before, "tool": (Literal[name], ...)}
    for argument, schema in args.items():
        bounds = {"ge": "minimum", "le": "maximum", "max_length": "maxLength"}
        given = {bound: schema[key] for bound, key in bounds.items() if key in schema}
        fields[argument] = (_TYPES.get(schema.get("type"), Any), Field(**given))
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


@lru_cache(maxsize=64)
def _offering(signature: type[dspy.Signature], arguments: str) -> type[dspy.Signature]:
    """The signature whose answer is a list of calls: one model a tool, its arguments as fields.

    `arguments` is JSON (tool name, its arguments' schemas), so that one set of tools is built once.
    """
    models = [call_model(name, args) for name, args in json.loads(arguments)]
    union: Any = models[0]
    for model in models[1:]:
        union |= model
    offering: type[dspy.Signature] = signature.with_updated_fields("actions", type_=list[union])
    return offering
