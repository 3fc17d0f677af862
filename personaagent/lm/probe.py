"""Finding out on purpose what an LM can do: two small calls, in which it refuses what it does not
take (`personaagent lm NAME`). On the way of an answer nothing is probed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from personaagent.lm.likelihood import truncation_expected

if TYPE_CHECKING:
    from personaagent.lm.model import PersonaLM

TASTED = ("alternatives", "system", "temperature", "limit")
QUESTION = [
    {"role": "system", "content": "Answer with one word."},
    {"role": "user", "content": "What colour is a clear sky by day: blue, red or green?"},
]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "colour",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"colour": {"type": "string", "enum": ["blue", "red", "green"]}},
            "required": ["colour"],
            "additionalProperties": False,
        },
    },
}


def probe(lm: PersonaLM) -> list[str]:
    """Ask twice, once for log-probabilities and once for a form; what the LM said.

    Raises:
        LMError: the LM failed, or takes no request at all.
    """
    said = [_taste(lm, {"logprobs": True, "top_logprobs": lm.capabilities.alternatives or None})]
    lm.known.confirm(*TASTED)
    said.append(_taste(lm, {"response_format": SCHEMA}))
    lm.known.confirm("form")
    return said


def settle(lm: PersonaLM) -> None:
    """Find out whether an LM gives log-probabilities, where nobody knows; one call at most.

    An experiment needs it beforehand, for its answers are kept by how they were read.

    Raises:
        LMError: the LM failed.
    """
    if lm.reads_likelihoods and lm.known.source("alternatives") == "assumed":
        _taste(lm, {"logprobs": True, "top_logprobs": lm.capabilities.alternatives})
        lm.known.confirm("alternatives")


def _taste(lm: PersonaLM, options: dict[str, Any]) -> str:
    from dspy import lm15

    given = {name: value for name, value in options.items() if value is not None}
    if "top_logprobs" not in given:
        given.pop("logprobs", None)
    request = lm15.request_from_openai_chat(
        {"model": lm.model, "messages": QUESTION, "max_tokens": 16, "temperature": 0, **given}
    )
    with truncation_expected():
        return str(lm(request, cache=False).text or "").strip()
