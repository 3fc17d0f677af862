"""The persona as a parameter of a DSPy program: `program.save("alice.json")` carries it."""

from __future__ import annotations

from typing import Any

from dspy.predict.parameter import Parameter

from personaagent.data import Persona, validation


class PersonaParameter(Parameter):
    """Holds the persona that a program answers under when it is not given one; JSON, no pickle."""

    def __init__(self, value: Persona | None = None) -> None:
        self.value = checked(value)

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        return {"persona": self.value.to_dict() if self.value else None}

    def load_state(self, state: dict[str, Any]) -> PersonaParameter:
        self.value = Persona.from_dict(state["persona"]) if state["persona"] else None
        return self

    def reset(self) -> None:
        self.value = None


def checked(persona: Persona | None) -> Persona | None:
    """The persona that a caller gives.

    Raises:
        DataError: it is something else, such as the text of one.
    """
    if persona is not None:
        validation.instance("persona", persona, Persona, "give a Persona, or none")
    return persona
