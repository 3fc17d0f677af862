"""What the service itself adds to an answer: `python -m benchmarks.serving`.

A server in a process of its own answers under a persona, with an LM that takes no time; clients in
this process ask it over HTTP, as many at once as `--clients`, each again as soon as it has its
answer. Printed are the median and the 95th percentile of an answer, answers a second, and the
processor time of the server for one.

Clients that never pause wait for each other: with 32 of them the median is 32 answers' processor
time, however short the way of one is. `--pause` has each wait before it asks again, as people do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import multiprocessing
import random
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from dspy import lm15
from numpy.typing import NDArray

from personaagent.data import Classification, Interaction, Persona
from personaagent.lm.capabilities import Known
from personaagent.lm.meter import Meter
from personaagent.lm.model import Identity, PersonaLM
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.tasks import save_tasks
from personaagent.server import Settings, create_app

if TYPE_CHECKING:
    from collections.abc import Sequence

INBOX = Classification("inbox", "Which folder?", labels=("money", "travel"))
USERS = 50


class Instant:
    """An engine that answers at once."""

    supports_response_schema = True

    def complete(self, request: lm15.Request) -> lm15.Response:
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant('{"answer": "money"}'),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=10, output_tokens=2),
        )


class Flat:
    """An embedder that computes nothing: the LM's time and the model's are not the service's."""

    fingerprint, dimensions = "flat", 32

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> NDArray[np.float32]:
        del progress
        return np.full((len(texts), 32), 32**-0.5, np.float32)


def lm() -> PersonaLM:
    """The LM that takes no time."""
    known = Known({"alternatives": 0}, name="instant", fixed=True)
    identity = Identity("instant", None, "instant", 64, 5.0, 0, 0.0)
    return PersonaLM(
        "sim/instant", identity, known=known, meter=Meter(), budget=None, cache=False,
        engine=Instant(),
    )  # fmt: skip


def serve(path: Path, listening: socket.socket) -> None:
    """The server, until it is stopped."""
    import uvicorn

    store = Store(path)
    app = create_app(EpisodicMemory(store, Flat()), lm(), Settings(rate=0))
    app.add_api_route("/processor", lambda: time.process_time())
    config = uvicorn.Config(app, log_level="critical", access_log=False)
    gc.freeze()  # as `serve` does
    uvicorn.Server(config).run(sockets=[listening])


async def ask(address: str, clients: int, requests: int, pause: float) -> tuple[list[float], float]:
    """The seconds of each answer, and of all."""
    seconds: list[float] = []
    left, rest = iter(range(requests)), random.Random(0)

    async def one(client: httpx.AsyncClient) -> None:
        for number in left:
            body = {"user": f"user-{number % USERS}", "task": "inbox", "query": f"query {number}"}
            started = time.perf_counter()
            said = await client.post("/v1/answers", json=body)
            seconds.append(time.perf_counter() - started)
            said.raise_for_status()
            await asyncio.sleep(pause * rest.uniform(0.5, 1.5))  # not all at once

    async with contextlib.AsyncExitStack() as stack:
        each = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=60))
            for _ in range(clients)
        ]
        started = time.perf_counter()
        await asyncio.gather(*(one(client) for client in each))
    return seconds, time.perf_counter() - started


def measure(clients: int, requests: int, pause: float) -> dict[str, Any]:
    """A server, clients, and their numbers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.db"
        with Store(path) as store:
            save_tasks(store, [INBOX])
            for number in range(USERS):
                user = f"user-{number}"
                store.add(
                    Interaction(f"{n}", user, "inbox", f"query {n}", "money") for n in range(50)
                )
                persona = Persona(user, "inbox", profile="Drives.", actions=())
                store.of(user).publish(persona, expected=None, reason="benchmark")
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as `serve` does
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        context = multiprocessing.get_context("spawn")
        server = context.Process(target=serve, args=(path, listening), daemon=True)
        server.start()
        try:
            asyncio.run(ask(address, clients, max(64, 2 * clients), 0))  # warm
            before = _processor_seconds(address)
            seconds, total = asyncio.run(ask(address, clients, requests, pause))
            spent = _processor_seconds(address) - before
        finally:
            server.terminate()
            server.join()
    cuts = statistics.quantiles(seconds, n=20)
    return {
        "p50": cuts[9],
        "p95": cuts[18],
        "rate": requests / total,
        "processor": spent / requests,
    }


def _processor_seconds(address: str) -> float:
    """What the server has computed so far, for itself and in the kernel."""
    return float(httpx.get(f"{address}/processor").text)


def main() -> None:
    """One client, which waits for nobody, and many."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument(
        "--pause", type=float, default=0.0, help="seconds that a client waits before it asks again"
    )
    given = parser.parse_args()
    for clients in (1, given.clients):
        found = measure(clients, given.requests, 0 if clients == 1 else given.pause)
        print(
            f"{clients:3} clients: p50 {found['p50'] * 1e3:6.1f} ms, "
            f"p95 {found['p95'] * 1e3:6.1f} ms, {found['rate']:5.0f} answers a second, "
            f"{found['processor'] * 1e3:.1f} ms of processor time each"
        )


if __name__ == "__main__":
    main()
