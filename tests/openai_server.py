"""An OpenAI-compatible server on localhost that answers from a rule book (tests only)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any

from loopback import answering
from rulebook import RuleBook


@contextmanager
def serving(book: RuleBook) -> Iterator[str]:
    """The address of `/v1`, for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            data = json.dumps(_completion(body, book.complete(_request(body)))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    with answering(Handler) as address:
        yield f"{address}/v1"


def _request(body: dict[str, Any]) -> Any:
    """What the book looks at of a request."""
    turns = [(one["role"], _text(one["content"])) for one in body["messages"]]
    form = body.get("response_format") or {}
    schema = form.get("json_schema")
    return SimpleNamespace(
        model=body["model"],
        system="\n".join(text for role, text in turns if role == "system"),
        messages=[
            SimpleNamespace(parts=[SimpleNamespace(text=text)])
            for role, text in turns
            if role != "system"
        ],
        config=SimpleNamespace(
            extensions=None,
            response_format=schema,
            logprobs=body.get("top_logprobs") if body.get("logprobs") else None,
            max_tokens=body.get("max_tokens") or body.get("max_completion_tokens"),
        ),
    )


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _completion(body: dict[str, Any], said: Any) -> dict[str, Any]:
    text = "".join(getattr(part, "text", "") for part in said.message.parts)
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    if said.logprobs:
        (first,) = said.logprobs
        top = [
            {"token": one.token, "logprob": one.logprob, "bytes": list(one.bytes)}
            for one in first.top
        ]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
