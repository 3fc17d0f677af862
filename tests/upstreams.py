"""A stand-in for a provider of chat completions that also streams and calls tools (tests only)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback import answering
from servers import Refusal, completion, tokens


@dataclass
class Provider:
    """What it was asked; it says `words`, calls the first tool that it is given, or refuses.

    Attributes:
        pause: seconds between the parts of a stream.
    """

    address: str = ""
    words: tuple[str, ...] = ("Take", " the", " train.")
    refuses: Refusal | None = None
    breaks_off: bool = False
    pause: float = 0.0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    @property
    def told(self) -> list[dict[str, Any]]:
        """The messages of the latest request."""
        messages: list[dict[str, Any]] = self.bodies[-1]["messages"]
        return messages

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        usage = {
            "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 4},
        }  # fmt: skip
        if body.get("tools") and body["messages"][-1]["role"] == "user":
            call = {"name": body["tools"][0]["function"]["name"], "arguments": '{"to": "Bern"}'}
            calls = [{"id": "call_1", "type": "function", "function": call}]
            said = completion(body, None, reason="tool_calls", usage=usage, tool_calls=calls)
        else:
            scored = tokens(list(self.words)) if body.get("logprobs") else None
            said = completion(body, "".join(self.words), logprobs=scored, usage=usage)
        return said

    def chunks(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        about = {
            "id": "1", "object": "chat.completion.chunk", "created": 1, "model": body["model"],
        }  # fmt: skip
        for word in self.words:
            delta = {"role": "assistant", "content": word}
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            yield about | {"choices": [choice]}
        yield about | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        if (body.get("stream_options") or {}).get("include_usage"):
            yield about | {"choices": [], "usage": self.answer(body)["usage"]}


@contextmanager
def providing() -> Iterator[Provider]:
    """A provider, for as long as the block lasts."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            provider.bodies.append(body)
            provider.keys.append(self.headers.get("Authorization", ""))
            if provider.refuses is not None:
                refused = provider.refuses
                self._whole(refused.status, {"error": refused.error}, refused.headers)
            elif body.get("stream"):
                self._stream(body)
            else:
                self._whole(200, provider.answer(body), {})

        def _whole(self, status: int, said: Any, headers: dict[str, str]) -> None:
            data = json.dumps(said).encode()
            self.send_response(status)
            sizes = {"Content-Type": "application/json", "Content-Length": str(len(data))}
            for name, value in {**sizes, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, body: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            events = [f"data: {json.dumps(one)}\n\n" for one in provider.chunks(body)]
            for event in [*events, "data: [DONE]\n\n"]:
                data = event.encode()
                try:
                    self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                    self.wfile.flush()
                except ConnectionError:  # whoever asked is gone
                    self.close_connection = True
                    return
                time.sleep(provider.pause)
                if provider.breaks_off:
                    self.close_connection = True
                    return
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *args: Any) -> None:
            pass

    with answering(Handler) as address:
        provider.address = f"{address}/v1"
        yield provider
