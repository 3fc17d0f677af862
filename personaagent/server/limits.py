"""How much a client may ask: bytes of a body, seconds to send it, requests a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from personaagent.memory.lru import LRU
from personaagent.server.problems import Problem, problem

_CALLERS = 10_000  # whose allowance is remembered


class Rates:
    """An allowance that fills up again evenly (a token bucket) for each caller, in this process.

    Args:
        minute: requests a minute, which may also come at once; 0 is no limit.
        clock: seconds that only grow.
    """

    def __init__(self, minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.minute = minute
        self._clock = clock
        self._lock = threading.Lock()
        self._left: LRU[str, list[float]] = LRU(_CALLERS)  # requests left, and when that was

    def take(self, caller: str) -> None:
        """Use up one request.

        Raises:
            Problem: there is none left; it says when there is one again.
        """
        if not self.minute:
            return
        now = self._clock()
        with self._lock:
            bucket = self._left.keep(caller, [float(self.minute), now], 1)
            left = min(self.minute, bucket[0] + (now - bucket[1]) * self.minute / 60)
            bucket[:] = [left - 1 if left >= 1 else left, now]
            if left >= 1:
                return
        wait = max(1, round((1 - left) * 60 / self.minute + 0.5))
        raise Problem(
            429,
            f"more than {self.minute} requests a minute: try again in {wait} s",
            {"Retry-After": str(wait)},
        )


class BoundedBody:
    """Refuses bodies that are too long, and clients that take too long to send one.

    A body is read before the app sees the request, so a slow client holds no thread and no
    connection to the database.
    """

    def __init__(self, app: ASGIApp, most: int, patience: float) -> None:
        self.app = app
        self.most = most
        self.patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value) > self.most):
                await self._too_long(scope, receive, send)
                return
        body = bytearray()
        with anyio.move_on_after(self.patience) as late:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message.get("body", b"")
                if len(body) > self.most:
                    await self._too_long(scope, receive, send)
                    return
                if not message.get("more_body", False):
                    break
        if late.cancelled_caught:
            slow = problem(408, f"the request did not arrive within {self.patience:g} s")
            await slow(scope, receive, send)
            return
        whole: Message | None = {"type": "http.request", "body": bytes(body), "more_body": False}

        async def read() -> Message:
            nonlocal whole
            if whole is None:
                return await receive()
            message, whole = whole, None
            return message

        await self.app(scope, read, send)

    async def _too_long(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = problem(413, f"the body is longer than {self.most:,} bytes: send it in parts")
        await refusal(scope, receive, send)
