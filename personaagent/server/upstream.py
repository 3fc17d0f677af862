"""The LM behind the chat endpoint, asked with a client's own request.

An OpenAI-compatible server gets the body as the client wrote it and its answer is passed on byte by
byte, so tools, images, log-probabilities, errors and what is yet to be invented pass through. For
other providers LiteLLM translates. An LM in this process takes texts, and refuses by name what it
cannot do.

Every call is counted by the LM's meter and held to its budget. Nothing is retried here: OpenAI's
clients do that themselves, and would not know of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import httpx
from dspy import lm15

from personaagent.errors import BudgetError, LMError
from personaagent.lm import PersonaLM
from personaagent.lm.meter import Call, Usage
from personaagent.lm.model import SHORTEST_SECRET, ContextError

JSON, EVENTS = "application/json", "text/event-stream"
_OPENAI = "https://api.openai.com/v1"
_DONE = b"data: [DONE]\n\n"
_PASSED_ON = ("retry-after", "retry-after-ms", "x-request-id")
_TAIL = 64_000  # bytes of a stream in which its usage is looked for


@dataclass(slots=True)
class Reply:
    """What the LM answered: the whole body, or the parts of a stream as they come."""

    status: int
    content: bytes | AsyncIterator[bytes]
    media: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """A request that gets no answer; its message is for the client."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind


def described(message: str, kind: str, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it, in a body or in a stream."""
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}


def error(status: int, message: str, kind: str, param: str | None = None) -> Reply:
    """The same as a reply."""
    return Reply(status, json.dumps(described(message, kind, param)).encode())


def event(data: Mapping[str, Any]) -> bytes:
    """A part of a stream."""
    return b"data: " + json.dumps(data).encode() + b"\n\n"


class Upstream:
    """Asks an LM with bodies of chat completions.

    Args:
        lm: the one that answers; its fallback does while it is down.
    """

    def __init__(self, lm: PersonaLM) -> None:
        self.lm = lm
        self._http: httpx.AsyncClient | None = None

    @property
    def name(self) -> str:
        """The model, as clients are told of it."""
        return self.lm.spec

    async def complete(self, body: Mapping[str, Any]) -> Reply:
        """The LM's answer to a chat completion, or its error with its status."""
        reply = await self._of(self.lm, body)
        fallback = self.lm.fallback
        if fallback is not None and (reply.status == 429 or reply.status >= 500):
            return await self._of(fallback, body)
        return reply

    async def aclose(self) -> None:
        """Let go of the connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def _of(self, lm: PersonaLM, body: Mapping[str, Any]) -> Reply:
        if not isinstance(lm.engine, str):
            return await _here(lm, body)
        ask = self._compatible if lm.model.startswith("openai/") else self._translated
        try:
            async with AsyncExitStack() as counting:
                counted = counting.enter_context(lm.meter.call(lm.budget))
                reply = await ask(lm, body, counted)
                if reply.status >= 400:
                    counted.answered(Usage(failed=1))
                elif not isinstance(reply.content, bytes):
                    reply.content = _counting(reply.content, counting.pop_all())
                return reply
        except BudgetError as over:
            return error(503, str(over), "budget_exceeded")
        except Refused as refused:
            return error(refused.status, refused.message, refused.kind)

    async def _compatible(self, lm: PersonaLM, body: Mapping[str, Any], counted: Call) -> Reply:
        """From a server that speaks as OpenAI's does."""
        base = lm.kwargs.get("api_base") or os.environ.get("OPENAI_BASE_URL") or _OPENAI
        key = lm.kwargs.get("api_key") or os.environ.get("OPENAI_API_KEY") or ""
        if self._http is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
            self._http = httpx.AsyncClient(limits=limits, headers={"Accept-Encoding": "identity"})
        request = self._http.build_request(
            "POST",
            f"{base.rstrip('/')}/chat/completions",
            json={**body, "model": lm.model.removeprefix("openai/")},
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(lm.identity.timeout, connect=min(10.0, lm.identity.timeout)),
        )
        try:
            response = await self._http.send(request, stream=True)
            headers = {one: response.headers[one] for one in _PASSED_ON if one in response.headers}
            media = response.headers.get("content-type", JSON)
            if response.is_success and media.startswith(EVENTS):
                return Reply(response.status_code, _events(response, lm, counted), EVENTS, headers)
            content = await _whole(response)
        except httpx.TimeoutException as late:
            raise Refused(504, f"{lm.spec}: no answer in time", "timeout") from late
        except httpx.HTTPError as lost:
            said = f"{lm.spec}: cannot be reached ({type(lost).__name__})"
            raise Refused(502, said, "api_connection_error") from lost
        if response.is_success:
            counted.answered(_usage(lm, _usage_in(content)))
        elif len(key) >= SHORTEST_SECRET:  # some servers quote the key that they refuse
            content = content.replace(key.encode(), b"***")
        return Reply(response.status_code, content, media, headers)

    async def _translated(self, lm: PersonaLM, body: Mapping[str, Any], counted: Call) -> Reply:
        """From a provider that LiteLLM speaks to."""
        litellm = await asyncio.to_thread(import_module, "litellm")  # takes seconds, once
        secrets = {name: lm.kwargs[name] for name in ("api_base", "api_key") if name in lm.kwargs}
        try:
            said = await litellm.acompletion(
                **{**body, "model": lm.model},
                **secrets, timeout=lm.identity.timeout, num_retries=0, max_retries=0,
            )  # fmt: skip
        except Exception as failure:  # LiteLLM's errors share no base of their own
            status = getattr(failure, "status_code", None) or 502
            message = str(failure)
            if len(key := str(secrets.get("api_key") or "")) >= SHORTEST_SECRET:
                message = message.replace(key, "***")
            raise Refused(int(status), message, type(failure).__name__) from failure
        if body.get("stream"):
            return Reply(200, _chunks(said, lm, counted), EVENTS)
        whole = said.model_dump(mode="json", exclude_none=True)
        counted.answered(_usage(lm, whole.get("usage")))
        return Reply(200, json.dumps(whole).encode())


async def _here(lm: PersonaLM, body: Mapping[str, Any]) -> Reply:
    """From an engine in this process, which takes texts and answers in one piece."""
    try:
        said = await lm.acall(_request(lm, body), cache=False)
    except _Untaken as untaken:
        return error(400, str(untaken), "invalid_request_error", untaken.param)
    except ContextError as long:
        return error(400, str(long), "invalid_request_error")
    except BudgetError as over:
        return error(503, str(over), "budget_exceeded")
    except LMError as failure:
        return error(502, str(failure), "api_error")
    return _answered(lm, body, said)


class _Untaken(Exception):
    """A parameter that an engine in this process does not take."""

    def __init__(self, lm: PersonaLM, param: str) -> None:
        super().__init__(f"{lm.spec}: '{param}' is not taken by this LM: leave it out")
        self.param = param


_TAKEN = (
    "temperature", "top_p", "seed", "frequency_penalty", "presence_penalty",
)  # fmt: skip
_IGNORED = frozenset(  # what an answer in one piece, to one user, does not depend on
    {
        "model", "messages", "stream", "stream_options", "user", "store", "metadata", "n",
        "max_tokens", "max_completion_tokens", "stop", "logprobs", "top_logprobs",
        "response_format", "prompt_cache_key", "safety_identifier",
    }
)  # fmt: skip


def _request(lm: PersonaLM, body: Mapping[str, Any]) -> lm15.Request:
    """A chat completion as DSPy's canonical request.

    Raises:
        _Untaken: it asks for what the LM cannot do.
    """
    for name, value in body.items():
        if name not in _IGNORED and name not in _TAKEN and value is not None:
            raise _Untaken(lm, name)
    if body.get("n") not in (None, 1):
        raise _Untaken(lm, "n")
    system, messages = [], []
    for one in body["messages"]:
        role, text = one["role"], _text(lm, one)
        if role in ("system", "developer"):
            system.append(text)
        elif role == "user":
            messages.append(lm15.Message.user(text))
        elif role == "assistant" and not one.get("tool_calls"):
            messages.append(lm15.Message.assistant(text))
        else:
            raise _Untaken(lm, "tools")
    chosen: dict[str, Any] = {name: body[name] for name in _TAKEN if body.get(name) is not None}
    stop = body.get("stop")
    longest = body.get("max_completion_tokens") or body.get("max_tokens")
    chosen["max_tokens"] = longest or lm.kwargs.get("max_tokens")
    if stop:
        chosen["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    if body.get("logprobs"):
        chosen["logprobs"] = body.get("top_logprobs") or 0
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        schema = (form.get("json_schema") or {}).get("schema") or {}
        chosen["response_format"] = {"type": "json_schema", "schema": schema}
    elif form.get("type") == "json_object":
        chosen["response_format"] = {"type": "json_object"}
    try:
        return lm15.Request(
            model=lm.model,
            messages=tuple(messages),
            system="\n\n".join(filter(None, system)) or None,
            config=lm15.Config(**chosen),
        )
    except (TypeError, ValueError) as wrong:
        raise _Untaken(lm, "messages") from wrong


def _text(lm: PersonaLM, message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    if any(part.get("type") != "text" for part in content):
        raise _Untaken(lm, "images")
    return "".join(part["text"] for part in content)


def _answered(lm: PersonaLM, body: Mapping[str, Any], said: lm15.Response) -> Reply:
    """The answer of an engine in OpenAI's form; as a stream of one piece where one is asked for."""
    texts = [part.text for part in said.message.parts if isinstance(part, lm15.TextPart)]
    read, written = said.usage.input_tokens or 0, said.usage.output_tokens or 0
    usage = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": said.usage.cache_read_tokens or 0},
    }
    about = {
        "id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": lm.spec,
    }  # fmt: skip
    message = {"role": "assistant", "content": "".join(texts)}
    scored = None if said.logprobs is None else {"content": [_scored(one) for one in said.logprobs]}
    ended = {"index": 0, "finish_reason": "length" if said.finish_reason == "length" else "stop"}
    if not body.get("stream"):
        choice = {**ended, "message": message, "logprobs": scored}
        whole = {**about, "object": "chat.completion", "choices": [choice], "usage": usage}
        return Reply(200, json.dumps(whole).encode())
    begun = {"index": 0, "delta": message, "logprobs": scored, "finish_reason": None}
    choices: list[list[dict[str, Any]]] = [[begun], [{**ended, "delta": {}}]]
    chunks = [{**about, "object": "chat.completion.chunk", "choices": one} for one in choices]
    if (body.get("stream_options") or {}).get("include_usage"):
        last = {**about, "object": "chat.completion.chunk", "choices": [], "usage": usage}
        chunks.append(last)
    return Reply(200, b"".join(map(event, chunks)) + _DONE, EVENTS)


def _scored(one: lm15.TokenLogprob) -> dict[str, Any]:
    top = [
        {"token": each.token, "logprob": each.logprob, "bytes": list(each.bytes or ())}
        for each in one.top or ()
    ]
    given = {"token": one.token, "logprob": one.logprob, "bytes": list(one.bytes or ())}
    return {**given, "top_logprobs": top}


async def _whole(response: httpx.Response) -> bytes:
    try:
        return await response.aread()
    finally:
        await response.aclose()


async def _events(response: httpx.Response, lm: PersonaLM, counted: Call) -> AsyncIterator[bytes]:
    """The parts of a stream as they come; a client that leaves ends it at its source too."""
    tail = b""
    try:
        async for part in response.aiter_bytes():
            tail = (tail + part)[-_TAIL:]
            yield part
    except httpx.HTTPError as lost:
        said = f"{lm.spec}: the stream broke off ({type(lost).__name__})"
        yield event(described(said, "api_connection_error"))
    finally:
        lines = [line for line in tail.split(b"\n") if b'"usage"' in line]
        data = [line.removeprefix(b"data:").strip() for line in lines]
        found = [usage for one in data if (usage := _usage_in(one))]
        counted.answered(_usage(lm, found[-1] if found else None))
        # A client that has left must not keep the connection from being closed.
        await asyncio.shield(response.aclose())


async def _chunks(said: Any, lm: PersonaLM, counted: Call) -> AsyncIterator[bytes]:
    """A stream of LiteLLM's as server-sent events."""
    usage = None
    try:
        async for one in said:
            chunk = one.model_dump(mode="json", exclude_none=True)
            usage = chunk.get("usage") or usage
            yield event(chunk)
        yield _DONE
    except Exception as failure:  # LiteLLM's errors share no base of their own
        said = f"{lm.spec}: the stream broke off ({type(failure).__name__})"
        yield event(described(said, "api_error"))
    finally:
        counted.answered(_usage(lm, usage))


async def _counting(parts: AsyncIterator[bytes], until: AsyncExitStack) -> AsyncIterator[bytes]:
    """The same parts; the call is over when they are."""
    async with until:
        async for part in parts:
            yield part


def _usage_in(content: bytes) -> Any:
    """The usage that a body tells; None where it tells none."""
    try:
        said = json.loads(content)
    except ValueError:
        return None
    return said.get("usage") if isinstance(said, dict) else None


def _usage(lm: PersonaLM, said: Any) -> Usage:
    """What a call has used, for the meter."""
    price = lm.identity.price
    known: Mapping[str, Any] = said if isinstance(said, dict) else {}
    return Usage(
        input_tokens=known.get("prompt_tokens") or 0,
        cached_tokens=(known.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        output_tokens=known.get("completion_tokens") or 0,
        thought_tokens=(known.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
        money=price or 0.0,
        unpriced=int(price is None),
        unmetered=int(known.get("prompt_tokens") is None),
    )
