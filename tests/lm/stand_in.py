"""Stand-ins for the LM: an engine that does what a test says, and an OpenAI-style server."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

from dspy import lm15


class StandIn:
    """Answers with `say`, after raising each of `failures` once, taking `seconds`."""

    supports_response_schema = True

    def __init__(self, say: str = "yes", failures: tuple = (), seconds: float = 0.0) -> None:
        self.say, self.failures, self.seconds = say, list(failures), seconds
        self.requests: list[lm15.Request] = []
        self.lock = threading.Lock()

    def complete(self, request: lm15.Request) -> lm15.Response:
        with self.lock:
            self.requests.append(request)
            failure = self.failures.pop(0) if self.failures else None
        time.sleep(self.seconds)
        if failure is not None:
            raise failure
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(self.say),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=10, output_tokens=2, cache_read_tokens=4),
        )


class AsyncStandIn:
    def __init__(self, engine: StandIn) -> None:
        self.engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        return self.engine.complete(request)


def completion(content: str = "hello", logprobs: Any = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    if logprobs is not None:
        choice["logprobs"] = {"content": logprobs}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny",
        "choices": [choice],
        "usage": usage,
    }


class FakeServer:
    """An OpenAI-compatible server; `answers` are (status, body) pairs, the last one repeated."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, Any]]] = [(200, completion())]
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                outer.bodies.append(json.loads(self.rfile.read(length)))
                outer.keys.append(self.headers.get("Authorization"))
                more = len(outer.answers) > 1
                status, body = outer.answers.pop(0) if more else outer.answers[0]
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.handler = Handler
        self.url = ""
