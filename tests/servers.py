"""Local LM servers that differ from OpenAI's in what they give and take, one behaviour each.

The behaviours are those of real servers, each by the name of the case that it stands for. Every
server knows one thing, `RIGHT`: the folder that a message belongs in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback import answering

RIGHT = "money"


class Refusal(Exception):
    """A request that the server does not take."""

    def __init__(self, status: int, message: str, *, headers: Any = None, **error: Any) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
        self.error = {"message": message, "type": "invalid_request_error", **error}


class Hangup(Exception):
    """The connection is closed in the middle of the body."""


Answer = Callable[["Server", dict[str, Any]], dict[str, Any]]


@dataclass
class Server:
    """What a server was asked, and how it answers; `address` is its `/v1`."""

    behaviour: Answer
    right: str = RIGHT
    address: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    seen: int = 0
    refused: int = 0
    paths: list[str] = field(default_factory=list)

    def respond(self, body: dict[str, Any]) -> dict[str, Any]:
        self.bodies.append(body)
        self.seen += 1
        return self.behaviour(self, body)

    def said(self, body: dict[str, Any]) -> str:
        """What a good LM would write: the label, in JSON where that is asked for, or a text."""
        return answer_to(body, self.right)


def answer_to(body: dict[str, Any], right: str = RIGHT) -> str:
    asked = "\n".join(text_of(one) for one in body["messages"])
    form = body.get("response_format") or {}
    schema = (form.get("json_schema") or {}).get("schema") or {}
    names = schema.get("properties", {})
    if "answer" in names or ("JSON object" in asked and '"answer"' in asked):
        return json.dumps({"answer": right})
    if "actions" in names or '"actions"' in asked:
        return json.dumps({"actions": []})
    if "rules" in names or '"rules"' in asked:
        return json.dumps({"profile": "Drives.", "rules": ["File the car under money."]})
    if "Which folder" in asked:
        return right
    if "clear sky" in asked:
        return json.dumps({"colour": "blue"}) if names else "blue"
    if "Describe" in asked:
        return "A person who counts what the car costs."
    return "car"


def text_of(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(one.get("text", "") for one in content)


def completion(
    body: dict[str, Any],
    text: str | None,
    *,
    logprobs: Any = None,
    reason: str = "stop",
    usage: Any = ...,
    **message: Any,
) -> dict[str, Any]:
    """A chat completion as OpenAI has it."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": reason,
        "logprobs": logprobs,
    }
    counted = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": counted if usage is ... else usage,
    }


def tokens(pieces: list[str], others: dict[str, float] | None = None, *, give: bool = True) -> Any:
    """Log-probabilities of an answer in these pieces; `others` stand beside the first."""
    content = []
    for at, piece in enumerate(pieces):
        listed = {piece: 0.9, **(others or {})} if at == 0 else {piece: 0.95}
        top = [scored(token, p, give) for token, p in listed.items()]
        content.append({**top[0], "top_logprobs": top})
    return {"content": content}


def scored(token: str, probability: float, give: bool = True) -> dict[str, Any]:
    plain = list(token.encode()) if give else None
    return {"token": token, "logprob": math.log(probability), "bytes": plain}


# The cases, by their names in the table of servers


def plain(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    """As OpenAI's."""
    said = server.said(body)
    most = body.get("top_logprobs") or 0
    others = {"family": 0.05, "work": 0.03}
    listed = dict(list(others.items())[: max(0, most - 1)])
    return completion(body, said, logprobs=tokens([said], listed) if body.get("logprobs") else None)


def ignores_logprobs(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    return completion(body, server.said(body))


def refuses_logprobs(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    if body.get("logprobs"):
        raise Refusal(400, "logprobs is not supported with this model")
    return completion(body, server.said(body))


def five_alternatives(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    if (body.get("top_logprobs") or 0) > 5:
        raise Refusal(400, "Invalid value for 'top_logprobs': must be less than or equal to 5")
    return plain(server, body)


def one_alternative(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    if (body.get("top_logprobs") or 0) > 1:
        raise Refusal(422, "top_logprobs: this value is too large")
    return plain(server, body)


def spelled(*pieces: str, give: bool = False, right: str | None = None) -> Answer:
    """Answers in tokens that are spelled otherwise than the text that they stand for."""

    def behave(server: Server, body: dict[str, Any]) -> dict[str, Any]:
        said = server.said(body)
        if said != server.right or not body.get("logprobs"):
            return completion(body, said)
        return completion(body, right or said, logprobs=tokens(list(pieces), give=give))

    return behave


def reasoning(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    if body.get("temperature", 1) != 1:
        raise Refusal(
            400,
            "Unsupported value: 'temperature' does not support 0 with this model. Only the "
            "default (1) value is supported.",
            param="temperature",
            code="unsupported_value",
        )
    if "max_tokens" in body:
        raise Refusal(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    if body.get("logprobs"):
        raise Refusal(403, "You are not allowed to request logprobs from this model")
    limit = body.get("max_completion_tokens")
    thought = {"completion_tokens_details": {"reasoning_tokens": 300}}
    usage = {"prompt_tokens": 7, "completion_tokens": 310, "total_tokens": 317, **thought}
    if limit is not None and limit < 400:
        return completion(body, "", reason="length", usage=usage)
    return completion(body, server.said(body), usage=usage)


def think_tags(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 10**6
    thought = "<think>\nIs it work, or family? The user drives.\n"
    if limit < 400:
        return completion(body, thought, reason="length")
    return completion(body, f"{thought}</think>\n\n{server.said(body)}")


def reasoning_field(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    limit = body.get("max_tokens") or body.get("max_completion_tokens") or 10**6
    if limit < 400:
        return completion(body, None, reason="length", reasoning_content="Is it work?")
    return completion(body, server.said(body), reasoning_content="Is it work? No.")


def never_ends_its_thought(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    return completion(body, "<think>\nIs it work, or money, or", reason="length")


def fenced_json(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    said = server.said(body)
    if said == server.right:
        said = json.dumps({"answer": said})
    return completion(body, f"```json\n{said}\n```" if said.startswith("{") else said)


def fenced(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    return completion(body, f"```\n{server.said(body)}\n```")


def chatty(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    said = server.said(body)
    if server.right in said:
        said = f"Sure! The best folder would be: **{server.right.title()}**."
    return completion(body, said)


def rambling(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    said = server.said(body)
    return completion(body, "Either money or family." if server.right in said else said)


def no_schema(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    if (body.get("response_format") or {}).get("type") == "json_schema":
        raise Refusal(400, "'response_format.type' must be 'json_object' or 'text'")
    return completion(body, server.said(body))


def no_form(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    if body.get("response_format"):
        raise Refusal(400, "response_format is not supported by this server")
    return completion(body, server.said(body))


def ignores_form(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    """Answers in plain words whatever was asked; a list comes without its object."""
    said = server.said(body)
    if "actions" in said:
        return completion(
            body, 'I would call:\n```json\n[{"tool": "recall", "query": "car", "k": 2}]\n```'
        )
    if server.right in said:
        return completion(body, f"{server.right.title()}.")
    return completion(body, said)


def no_system_role(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    if any(one["role"] == "system" for one in body["messages"]):
        raise Refusal(400, "System role not supported")
    return plain(server, body)


def small_context(limit: int = 400, *, as_llama: bool = True) -> Answer:
    """A context of so many letters."""

    def behave(server: Server, body: dict[str, Any]) -> dict[str, Any]:
        size = sum(len(text_of(one)) for one in body["messages"])
        if size > limit and as_llama:
            raise Refusal(
                400,
                "the request exceeds the available context size, try increasing it",
                type="exceed_context_size_error",
                n_prompt_tokens=size,
                n_ctx=limit,
            )
        if size > limit:
            raise Refusal(
                400,
                f"This model's maximum context length is {limit} tokens. However, your messages "
                f"resulted in {size} tokens. Please reduce the length of the messages.",
                code="context_length_exceeded",
            )
        return plain(server, body)

    return behave


def empty(reason: str, *, then_right: bool, content: str | None = "") -> Answer:
    """Nothing at first, and then the answer, or nothing for ever."""

    def behave(server: Server, body: dict[str, Any]) -> dict[str, Any]:
        if server.seen == 1 or not then_right:
            return completion(body, content, reason=reason)
        return completion(body, server.said(body))

    return behave


def rate_limited(as_date: bool) -> Answer:
    def behave(server: Server, body: dict[str, Any]) -> dict[str, Any]:
        if server.seen == 1:
            soon = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
            headers = {"Retry-After": soon if as_date else "0"}
            raise Refusal(429, "Rate limit reached", headers=headers, code="rate_limit_exceeded")
        return plain(server, body)

    return behave


def out_of_quota(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    raise Refusal(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        type="insufficient_quota",
        code="insufficient_quota",
    )


def fails_once(status: int) -> Answer:
    def behave(server: Server, body: dict[str, Any]) -> dict[str, Any]:
        if server.seen == 1:
            raise Refusal(status, "try again", headers={"Retry-After": "0"})
        return plain(server, body)

    return behave


def down(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    raise Refusal(503, "down for maintenance", headers={"Retry-After": "0"})


def hangs_up(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    if server.seen == 1:
        raise Hangup
    return plain(server, body)


def uncounted(usage: Any) -> Answer:
    def behave(server: Server, body: dict[str, Any]) -> dict[str, Any]:
        answer = plain(server, body) | {"usage": usage}
        if usage is ...:
            del answer["usage"]
        return answer

    return behave


@contextmanager
def serving(behaviour: Answer, right: str = RIGHT) -> Iterator[Server]:
    """A server with this behaviour, for as long as the block lasts."""
    server = Server(behaviour, right)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers = 200, {}
            server.paths.append(self.path)
            try:
                answer: dict[str, Any] = server.respond(body)
            except Hangup:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"id": "1", "choi')
                self.close_connection = True
                return
            except Refusal as refusal:
                server.refused += 1
                status, headers = refusal.status, refusal.headers
                answer = {"error": refusal.error}
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    with answering(Handler) as address:
        server.address = f"{address}/v1"
        yield server


def anthropic(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    """Anthropic's Messages, strictly."""
    known = {"model", "messages", "max_tokens", "system", "temperature", "stream", "output_config"}
    if unknown := set(body) - known:
        raise Refusal(400, f"{sorted(unknown)}: Extra inputs are not permitted")
    if "max_tokens" not in body:
        raise Refusal(400, "max_tokens: Field required")
    if {one["role"] for one in body["messages"]} - {"user", "assistant"}:
        raise Refusal(400, "messages: roles must be user or assistant")
    said = answer_to(body, server.right)
    return {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [
            {"type": "thinking", "thinking": "Is it work?", "signature": "x"},
            {"type": "text", "text": said},
        ],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": 2},
    }


def gemini(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    """Gemini's generateContent, strictly; it thinks within the limit of its answer."""
    config = body.get("generationConfig", {})
    if unknown := set(body) - {"contents", "systemInstruction", "generationConfig"}:
        raise Refusal(400, f"Unknown name {sorted(unknown)}")
    if "responseLogprobs" in config or "logprobs" in config:
        raise Refusal(400, "Logprobs is not enabled for this model")
    system = body.get("systemInstruction", {"parts": []})
    turns = [{"role": "user", "content": one["parts"]} for one in [*body["contents"], system]]
    if config.get("maxOutputTokens", 10**6) < 400:
        return {"candidates": [{"content": {"parts": []}, "finishReason": "MAX_TOKENS"}]}
    said = answer_to({"messages": turns}, server.right)
    return {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": said}]}, "finishReason": "STOP"}
        ],
        "usageMetadata": {
            "promptTokenCount": 7,
            "candidatesTokenCount": 3,
            "thoughtsTokenCount": 90,
        },
        "modelVersion": "gemini",
    }


CASES: dict[str, Answer] = {
    "ignores logprobs": ignores_logprobs,
    "refuses logprobs": refuses_logprobs,
    "at most 5 top_logprobs": five_alternatives,
    "at most 1 top_logprobs": one_alternative,
    "tokens of GPT-2": spelled("Ġmoney"),
    "tokens of SentencePiece": spelled("▁money"),
    "a token with an opening quote": spelled('"money', '"'),
    "a token of markdown first": spelled("**", "money", "**", give=True),
    "a new line first": spelled("Ċ", "money"),
    "a label in two tokens": spelled("mon", "ey", give=True),
    "reasoning model": reasoning,
    "think tags": think_tags,
    "a reasoning field": reasoning_field,
    "fenced JSON": fenced_json,
    "fences": fenced,
    "chatty": chatty,
    "no json_schema": no_schema,
    "no response_format": no_form,
    "ignores response_format": ignores_form,
    "no system role": no_system_role,
    "empty at first": empty("stop", then_right=True),
    "null at first": empty("length", then_right=True, content=None),
    "rate limit in seconds": rate_limited(as_date=False),
    "rate limit as a date": rate_limited(as_date=True),
    "502": fails_once(502),
    "503": fails_once(503),
    "529": fails_once(529),
    "drops the connection": hangs_up,
    "no usage": uncounted(...),
    "null usage": uncounted(None),
    "usage with cached tokens": uncounted(
        {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}
    ),
}
"""Every behaviour after which the right answer comes out."""
