"""What is known of a provider and a model before the first call.

The facts come from DSPy's tables (its vendored lm15 registry and model metadata), which move
between its versions: this file alone leans on them.
"""

from __future__ import annotations

import os
import re
from typing import Any

REASONING_ROOM = 16_384
"""Tokens that a model which thinks is given for its thought, beside those of its answer."""
REMOTE_ALTERNATIVES = 20
"""Alternatives of a token that OpenAI and most servers list at most."""
COMPATIBLE = frozenset(
    {
        "hosted_vllm",
        "lm_studio",
        "llamafile",
        "litellm_proxy",
        "custom_openai",
        "openai_like",
        "xinference",
    }
)
"""LiteLLM's names for servers that speak as OpenAI's does, wherever they are."""


def is_provider(prefix: str) -> bool:
    """Whether a prefix names a provider, to DSPy's native engine or to LiteLLM."""
    if _definition(prefix) is not None or prefix in COMPATIBLE:
        return True
    if not re.fullmatch(r"[a-z0-9_]+", prefix):  # as in Qwen/Qwen3-8B
        return False
    from litellm import LlmProviders  # seconds to import: only for names that DSPy does not know

    return prefix in {provider.value for provider in LlmProviders}


def dialect(model: str) -> str:
    """How the provider of a full model name is spoken to: 'openai', 'anthropic', 'gemini', or ''
    where LiteLLM translates."""
    definition = _definition(model.partition("/")[0])
    return "" if definition is None else str(definition.dialect).partition("-")[0]


def known(model: str) -> dict[str, Any]:
    """The capabilities of a model that its provider's metadata tell, by `Capabilities`' names."""
    spoken = dialect(model)
    provider, _, name = model.partition("/")
    info = _metadata(provider, name)
    found: dict[str, Any] = {}
    thinks = bool(info.get("supports_reasoning")) or _is_openai_reasoning(model)
    openai = spoken == "openai" and provider in ("openai", "azure")
    if openai:
        found["limit"] = "max_completion_tokens"
    if thinks:
        found["room"] = REASONING_ROOM
        found["alternatives"] = 0
        if openai:
            found["temperature"] = False
    if spoken in ("anthropic", "gemini"):
        found["alternatives"] = 0
    if info.get("supports_system_messages") is False:
        found["system"] = False
    if info.get("supports_response_schema") is False:
        found["form"] = "json_object"
    for ours, theirs in (("output", "max_output_tokens"), ("context", "max_input_tokens")):
        if isinstance(info.get(theirs), int):
            found[ours] = info[theirs]
    return found


def _is_openai_reasoning(model: str) -> bool:
    from dspy.clients.lm import _is_openai_reasoning_model

    return model.startswith(("openai/", "azure/")) and bool(_is_openai_reasoning_model(model))


def refuses_settings(model: str) -> bool:
    """Whether DSPy refuses to configure a model with a temperature or a small token limit."""
    from dspy.clients.lm import _is_openai_reasoning_model

    return bool(_is_openai_reasoning_model(model))


def _definition(prefix: str) -> Any:
    from dspy._vendor.lm15.registry import lookup

    return lookup(prefix)


def _metadata(provider: str, name: str) -> dict[str, Any]:
    from dspy.clients.model_metadata import model_info

    info: dict[str, Any] = model_info(provider, name)
    return info


# DSPy and LiteLLM fetch a price list from the network when it is first needed, and warn where they
# cannot; the one they carry will do.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
