"""The language model: connecting to one, metering it, reading label likelihoods from it.

The names are loaded when they are first used, so importing this package costs next to nothing.
"""

from typing import TYPE_CHECKING

from personaagent.lazy import lazy

if TYPE_CHECKING:
    from personaagent.lm.capabilities import Capabilities
    from personaagent.lm.connection import connect
    from personaagent.lm.likelihood import (
        Reading,
        label_distribution,
        read_answer,
        read_text,
        truncation_expected,
    )
    from personaagent.lm.meter import Budget, Meter, Usage
    from personaagent.lm.model import PersonaLM
    from personaagent.lm.weights import ensure_weights, verify_gguf
    from personaagent.lm.written import written_label

__all__ = [
    "Budget",
    "Capabilities",
    "Meter",
    "PersonaLM",
    "Reading",
    "Usage",
    "connect",
    "ensure_weights",
    "label_distribution",
    "read_answer",
    "read_text",
    "truncation_expected",
    "verify_gguf",
    "written_label",
]

__getattr__, __dir__ = lazy(__name__)
