"""The embedded LM as a DSPy engine: DSPy's requests to llama.cpp's chat format and back.

An engine makes one attempt and raises dspy.lm15 errors; retries, response cache and history are
not its business. It is lazy: constructing one loads nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dspy import lm15

from personaagent.lm import llama

PROVIDER = "embedded"


class EmbeddedEngine:
    """A GGUF model in this process; the weights are shared by all engines of a path and slots.

    Args:
        path: the GGUF file.
        slots: calls that run side by side, each with `llama.CONTEXT` tokens.
        timeout: seconds that one call may take.
    """

    supports_function_calling = False
    supports_reasoning = False
    supports_response_schema = True
    supported_params = frozenset(
        {
            "max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "frequency_penalty",
            "presence_penalty", "response_format", "logprobs", "top_logprobs",
        }
    )  # fmt: skip

    def __init__(self, path: Path, slots: int = 2, timeout: float = 300.0) -> None:
        self.path, self.slots, self.timeout = path, slots, timeout

    def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer.

        Raises:
            lm15.TimeoutError: no answer in time.
            lm15.ContextLengthError: prompt and answer do not fit into a slot.
            lm15.InvalidRequestError: llama.cpp refuses the request.
            lm15.ServerError: llama.cpp failed; a retry may help.
            lm15.ConfigurationError: the model cannot be loaded.
        """
        body = to_chat(request)
        try:
            model = llama.loaded(self.path, self.slots)
        except (ImportError, RuntimeError) as error:
            raise lm15.ConfigurationError(f"{self.path}: cannot be loaded: {error}") from error
        try:
            if text := (request.config.extensions or {}).get("held_to"):
                body["grammar"] = held_to(model.tokens(text))
            return from_chunks(request, model.chat(body, self.timeout))
        except llama.Stopped as error:
            raise lm15.TimeoutError(str(error), provider=PROVIDER) from error
        except ValueError as error:
            raise lm15.InvalidRequestError(str(error), provider=PROVIDER) from error
        except RuntimeError as error:
            raise lm15.ServerError(str(error), provider=PROVIDER) from error

    def close(self) -> None:
        """Free the model's memory, for every engine that shares it; the next call loads it."""
        llama.unload(self.path, self.slots)


class AsyncEmbeddedEngine:
    """The same engine for `acall`: llama.cpp computes on a thread, the event loop goes on."""

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """See `EmbeddedEngine.complete`."""
        return await asyncio.to_thread(self._engine.complete, request)


def to_chat(request: lm15.Request) -> dict[str, Any]:
    """The body of a chat completion; a final assistant message is continued, not answered."""
    if request.tools:
        raise lm15.UnsupportedFeatureError(
            "the embedded LM takes no native tools; use an adapter that puts them into the prompt",
            provider=PROVIDER,
            feature="tools",
        )
    config = request.config
    body: dict[str, Any] = {"messages": _messages(request), "cache_prompt": True}
    for name in (
        "max_tokens", "temperature", "top_p", "top_k", "seed", "frequency_penalty",
        "presence_penalty",
    ):  # fmt: skip
        if (value := getattr(config, name)) is not None:
            body[name] = value
    if config.stop:
        body["stop"] = list(config.stop)
    if config.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": config.logprobs}
    if (form := config.response_format) is not None:
        body["response_format"] = {"type": form["type"]}
        if "schema" in form:
            body["response_format"]["json_schema"] = {"schema": form["schema"]}
    return body


def held_to(tokens: Sequence[int]) -> str:
    """A grammar of llama.cpp's that nothing but these tokens follows."""
    return "root ::= " + " ".join(f"<[{token}]>" for token in tokens)


def _messages(request: lm15.Request) -> list[dict[str, str]]:
    messages = [] if request.system is None else [("system", request.system)]
    messages += [(message.role, message.parts) for message in request.messages]
    return [{"role": role, "content": _text(parts)} for role, parts in messages]


def _text(parts: str | tuple[Any, ...]) -> str:
    if isinstance(parts, str):
        return parts
    for part in parts:
        if not isinstance(part, lm15.TextPart):
            raise lm15.UnsupportedFeatureError(
                f"the embedded LM reads text only, not {part.type!r}",
                provider=PROVIDER,
                feature=part.type,
            )
    return "".join(part.text for part in parts)


def from_chunks(request: lm15.Request, chunks: list[dict[str, Any]]) -> lm15.Response:
    """Put the chunks of a streamed chat completion together.

    Raises:
        lm15.ProviderError: a chunk is an error, or there is no end.
    """
    text, scores, reason, usage = "", list[dict[str, Any]](), None, None
    for chunk in chunks:
        if "error" in chunk:
            raise _error(chunk["error"])
        usage = chunk.get("usage", usage)
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
            scores += (choice.get("logprobs") or {}).get("content") or ()
            reason = choice["finish_reason"] or reason
    if usage is None:
        raise lm15.ServerError("the answer broke off before its end", provider=PROVIDER)
    return lm15.Response(
        id=chunks[-1].get("id"),
        model=request.model,
        message=lm15.Message.assistant(text),
        finish_reason="length" if reason == "length" else "stop",
        usage=lm15.Usage(
            input_tokens=usage["prompt_tokens"],
            output_tokens=usage["completion_tokens"],
            cache_read_tokens=usage.get("prompt_tokens_details", {}).get("cached_tokens"),
        ),
        logprobs=None if request.config.logprobs is None else tuple(_scored(s) for s in scores),
    )


def _scored(score: dict[str, Any]) -> lm15.TokenLogprob:
    top = tuple(
        lm15.TopLogprob(t["token"], float(t["logprob"]), tuple(t["bytes"]), t.get("id"))
        for t in score["top_logprobs"]
    )
    return lm15.TokenLogprob(
        score["token"], float(score["logprob"]), tuple(score["bytes"]), score.get("id"), top
    )


def _error(detail: dict[str, Any]) -> lm15.ProviderError:
    """llama.cpp's error object as the lm15 error that says whether a retry can help."""
    code, message = detail.get("code"), str(detail.get("message"))
    if detail.get("type") == "exceed_context_size_error":
        kind: Any = lm15.ContextLengthError
    elif isinstance(code, int) and 400 <= code < 500:
        kind = lm15.InvalidRequestError
    else:
        kind = lm15.ServerError
    error: lm15.ProviderError = kind(message, provider=PROVIDER, status=code)
    return error
