"""What `/v1/chat/completions` adds to a request: tokens, and time to the first token.

    python -m benchmarks.chat_endpoint

A conversation grows turn by turn, as an application sends it, through a server with a persona that
recalls four memories, before a provider that answers at once. Counted are the prompt tokens that
the provider gets, those that the application sent, and those that begin as the request before did:
what a provider's prompt cache can find again. Tokens are those of GPT-4o's tokenizer. The memories
of a turn stand in its latest message and are gone in the next request, so that they never come
between what stays the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from personaagent.data import CHAT, Action, Interaction, Persona
from personaagent.lm import connect
from personaagent.memory import EpisodicMemory, SentenceEmbedder, Store
from personaagent.memory.tasks import save_tasks
from personaagent.server import Settings, create_app

TURNS, REPEATS = 10, 100
WORDS = (
    "train", "ticket", "mountain", "hotel", "quiet", "window", "early", "breakfast", "walk",
    "vegetarian", "museum", "budget", "river", "station", "evening", "weekend", "family",
    "reading", "garden", "winter",
)  # fmt: skip


def text(seed: int, words: int) -> str:
    """Words that are always the same for a seed."""
    return " ".join(random.Random(seed).choices(WORDS, k=words))


class Provider:
    """Answers at once, in a stream of two events, and keeps what it was asked."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.app = FastAPI()
        self.app.post("/v1/chat/completions")(self.answer)

    async def answer(self, request: Request) -> StreamingResponse:
        self.bodies.append(await request.json())

        async def events() -> AsyncIterator[str]:
            choice = {"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}
            yield f"data: {json.dumps({'choices': [choice]})}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of an app on a free port of this machine."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


def store_of(path: Path, words: int) -> Store:
    """A user with 200 messages and a persona of so many words."""
    store = Store(path)
    save_tasks(store, [CHAT])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    store.add(
        Interaction(
            f"old-{n}", "amira", CHAT.name, text(n, 30), text(1_000 + n, 30),
            start + timedelta(hours=n),
        )
        for n in range(200)
    )  # fmt: skip
    persona = Persona(
        "amira", CHAT.name, profile=text(7, words), actions=(Action("recall", {"k": 4}),)
    )
    store.of("amira").publish(persona, expected=None, reason="for the benchmark")
    return store


def conversation() -> Iterator[list[dict[str, str]]]:
    """The messages of each request of a conversation."""
    messages = [{"role": "system", "content": text(1, 150)}]
    for turn in range(TURNS):
        messages.append({"role": "user", "content": text(2_000 + turn, 40)})
        yield list(messages)
        messages.append({"role": "assistant", "content": text(3_000 + turn, 80)})


def tokens(messages: Sequence[dict[str, str]]) -> list[int]:
    """The tokens of a prompt, message after message."""
    from litellm import encode

    said = "".join(f"<{one['role']}>\n{one['content']}\n" for one in messages)
    return list(encode(model="gpt-4o", text=said))


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


async def seconds_to_first(client: httpx.AsyncClient, base: str, user: str) -> float:
    """Seconds until the first event of a stream."""
    body = {"model": "m", "stream": True, "user": user, "messages": next(conversation())}
    start = time.perf_counter()
    async with client.stream("POST", f"{base}/chat/completions", json=body) as response:
        response.raise_for_status()
        async for _ in response.aiter_bytes():
            return time.perf_counter() - start
    raise RuntimeError("the stream was empty")


def measure(words: int, folder: Path) -> dict[str, Any]:
    """One persona's table."""
    provider = Provider()
    embedder = SentenceEmbedder()
    memory = EpisodicMemory(store_of(folder / f"{words}.db", words), embedder)
    memory.ready("amira")
    with listening(provider.app) as direct:
        app = create_app(memory, connect("stand-in", api_base=direct), Settings(rate=0))
        with listening(app) as served, httpx.Client(timeout=60) as client:
            given = list(conversation())
            for messages in given:
                body = {"model": "m", "messages": messages, "user": "amira", "stream": True}
                client.post(f"{served}/chat/completions", json=body).raise_for_status()
            sent = [tokens(one["messages"]) for one in provider.bodies]
            own = [tokens(one) for one in given]
            again = sum(shared(one, before) for before, one in pairwise(sent))
            alone = sum(shared(one, before) for before, one in pairwise(own))

            async def first(base: str, user: str) -> float:
                async with httpx.AsyncClient(timeout=60) as http:
                    each = [await seconds_to_first(http, base, user) for _ in range(REPEATS + 5)]
                return statistics.median(each[5:])

            times = {
                "direct": asyncio.run(first(direct, "amira")),
                "without a persona": asyncio.run(first(served, "nobody")),
                "with persona and recall": asyncio.run(first(served, "amira")),
            }
    added = [len(one) - len(mine) for one, mine in zip(sent, own, strict=True)]
    return {
        "words of the persona": words,
        "tokens added a request": round(statistics.mean(added), 1),
        "share of the prompt that the request before began with": round(
            again / sum(map(len, sent[1:])), 3
        ),
        "the same of what the application sent": round(alone / sum(map(len, own[1:])), 3),
        "milliseconds to the first token": {k: round(v * 1_000, 2) for k, v in times.items()},
    }


def main() -> None:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    with tempfile.TemporaryDirectory() as folder:
        for words in (50, 350):
            print(json.dumps(measure(words, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
