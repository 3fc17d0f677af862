"""What the service itself costs: python -m benchmarks.serving [overhead|aligning|streaming|soak]

A server in a process of its own answers under a persona, with an LM that takes no time; clients in
this process ask it over HTTP, so what is measured is the service, the way to it and the client.

- `overhead`: an answer for one client; for many that ask again as soon as they have their answer;
  and where requests arrive by chance, so many a second. An empty request (`/healthz`) tells what
  the way and the client take alone. Clients that never pause wait for each other: with 32 of them
  the median is 32 answers' processor time, however short the way of one is.
- `aligning`: arrivals again, in turns with and without a process beside it that aligns one user
  after another, with an LM that takes half a second; the ratio of the 95th percentiles. A turn
  with it begins once that process aligns. About 90 seconds; each turn is told on stderr.
- `streaming`: the first token of a chat from a provider, and through the service, in turns.
- `soak`: arrivals for `--minutes`; each minute the server's memory and open handles (Linux).
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
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from dspy import lm15
from numpy.typing import NDArray

from benchmarks.chat_endpoint import Provider
from benchmarks.fleet import crowd, stand_in
from personaagent import train
from personaagent.data import CHAT, Action, Classification, Interaction, Persona
from personaagent.lm import connect
from personaagent.lm.capabilities import Known
from personaagent.lm.meter import Meter
from personaagent.lm.model import Identity, PersonaLM
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.tasks import save_tasks
from personaagent.server import Settings, create_app
from personaagent.service.worker import give_way

FOLDER = Classification("folder", "Which folder?", labels=("money", "travel"))
USERS = 50
TURN = 8  # seconds of arrivals in a turn of `aligning`
_HERE = "127.0.0.1"
_PROCESSES = multiprocessing.get_context("spawn")


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


def instant() -> PersonaLM:
    """The LM that takes no time."""
    known = Known({"alternatives": 0}, name="instant", fixed=True)
    identity = Identity("instant", None, "instant", 64, 5.0, 0, 0.0)
    return PersonaLM(
        "sim/instant", identity, known=known, meter=Meter(), budget=None, cache=False,
        engine=Instant(),
    )  # fmt: skip


# The processes


def _listen(app: Any, listening: socket.socket) -> None:
    import uvicorn

    gc.freeze()  # as `serve` does
    config = uvicorn.Config(app, log_level="critical", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])


def serve(path: Path, listening: socket.socket, provider: str | None) -> None:
    """The server, until it is stopped."""
    lm = instant() if provider is None else connect("stand-in", api_base=f"{provider}/v1")
    app = create_app(EpisodicMemory(Store(path), Flat()), lm, Settings(rate=0))
    app.add_api_route("/processor", lambda: time.process_time())
    _listen(app, listening)


def provide(listening: socket.socket) -> None:
    """A provider that answers at once."""
    _listen(Provider().app, listening)


def align(path: Path, begun: Event) -> None:
    """Users of the sample's inbox, one after another, until it is stopped; says when it begins."""
    give_way()  # as the workers of `serve`
    task, history = crowd(1_000, 60)
    lm = stand_in([task], 0.5, 4)
    with Store(path) as store:
        save_tasks(store, [task])
        memory = EpisodicMemory(store, Flat())
        for user in dict.fromkeys(one.user for one in history):
            store.add(one for one in history if one.user == user)
            begun.set()
            train(memory=memory, lm=lm, users=[user], track=False)


@dataclass(frozen=True)
class Running:
    """A process and where it listens."""

    address: str
    process: BaseProcess

    def seconds(self) -> float:
        """What it has computed so far, for itself and in the kernel."""
        return float(httpx.get(f"{self.address}/processor").text)


@contextmanager
def beside(work: Callable[..., None], *given: Any) -> Iterator[BaseProcess]:
    """A process that works for as long as the block lasts."""
    process = _PROCESSES.Process(target=work, args=given, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.terminate()
        process.join()


@contextmanager
def listening(work: Callable[..., None], *given: Any) -> Iterator[Running]:
    """The same with a socket among what it is given, once it answers."""
    there = socket.create_server((_HERE, 0))
    there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as `serve` does
    address = f"http://{_HERE}:{there.getsockname()[1]}"
    at = [there if one is socket.socket else one for one in given]
    with beside(work, *at) as process:
        httpx.get(f"{address}/healthz", timeout=60)
        yield Running(address, process)


@contextmanager
def server(provider: str | None = None) -> Iterator[tuple[Running, Path]]:
    """A server of users who each have a persona and a history, and its database."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.db"
        with Store(path) as store:
            save_tasks(store, [FOLDER, CHAT])
            for number in range(USERS):
                user = f"user-{number}"
                store.add(
                    Interaction(f"{task}-{n}", user, task, f"query {n}", "money")
                    for n in range(50)
                    for task in (FOLDER.name, CHAT.name)
                )
                recall = (Action("recall", {"k": 4}),)
                for task, actions in ((FOLDER.name, ()), (CHAT.name, recall)):
                    persona = Persona(user, task, profile="Drives.", actions=actions)
                    store.of(user).publish(persona, expected=None, reason="benchmark")
        with listening(serve, path, socket.socket, provider) as running:
            if provider is None:
                asyncio.run(closed(running.address, 32, 128))  # warm
            else:
                asyncio.run(first_tokens(running.address, 50))
            yield running, path


# The clients


def _asked(number: int) -> dict[str, Any]:
    return {"user": f"user-{number % USERS}", "task": FOLDER.name, "query": f"query {number}"}


@asynccontextmanager
async def _timed(seconds: list[float]) -> AsyncIterator[None]:
    started = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - started)


async def closed(address: str, clients: int, requests: int) -> list[float]:
    """The seconds of each answer, where each client asks again as soon as it has one."""
    seconds: list[float] = []
    left = iter(range(requests))

    async def one(client: httpx.AsyncClient) -> None:
        for number in left:
            async with _timed(seconds):
                said = await client.post("/v1/answers", json=_asked(number))
            said.raise_for_status()

    async with contextlib.AsyncExitStack() as stack:
        each = [httpx.AsyncClient(base_url=address, timeout=60) for _ in range(clients)]
        for client in each:
            await stack.enter_async_context(client)
        await asyncio.gather(*map(one, each))
    return seconds


async def arriving(address: str, rate: float, minutes: float) -> list[float]:
    """The same where requests arrive by chance, so many a second, whether others are answered."""
    seconds: list[float] = []
    chance, end = random.Random(0), time.monotonic() + 60 * minutes

    async def one(client: httpx.AsyncClient, number: int) -> None:
        async with _timed(seconds):
            said = await client.post("/v1/answers", json=_asked(number))
        said.raise_for_status()

    async with (
        httpx.AsyncClient(base_url=address, timeout=60) as client,
        asyncio.TaskGroup() as tasks,
    ):
        number = 0
        while time.monotonic() < end:
            tasks.create_task(one(client, number))
            number += 1
            await asyncio.sleep(chance.expovariate(rate))
    return seconds


async def empty(address: str, requests: int) -> list[float]:
    """The seconds of requests that nothing is done for."""
    seconds: list[float] = []
    async with httpx.AsyncClient(base_url=address) as client:
        for _ in range(requests):
            async with _timed(seconds):
                await client.get("/healthz")
    return seconds


async def first_tokens(address: str, requests: int) -> list[float]:
    """The seconds to the first part of a stream; nothing is remembered."""
    seconds: list[float] = []
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        for number in range(requests):
            body = {
                "model": "m", "stream": True, "store": False, "user": f"user-{number % USERS}",
                "messages": [{"role": "user", "content": f"How do I get to place {number}?"}],
            }  # fmt: skip
            started, first = time.perf_counter(), 0.0
            async with client.stream("POST", "/v1/chat/completions", json=body) as said:
                said.raise_for_status()
                async for _ in said.aiter_bytes():
                    first = first or time.perf_counter() - started
            seconds.append(first)
    return seconds


# What is measured


def _told(seconds: Sequence[float]) -> str:
    cuts = statistics.quantiles(seconds, n=20)
    return f"p50 {cuts[9] * 1e3:6.1f} ms, p95 {cuts[18] * 1e3:6.1f} ms ({len(seconds)} requests)"


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def overhead(given: argparse.Namespace) -> None:
    with server() as (running, _):
        print(f"an empty request       {_told(asyncio.run(empty(running.address, 300)))}")
        for clients in (1, given.clients):
            before, started = running.seconds(), time.perf_counter()
            seconds = asyncio.run(closed(running.address, clients, given.requests))
            rate = given.requests / (time.perf_counter() - started)
            spent = (running.seconds() - before) / given.requests
            print(
                f"{clients:3} without a pause    {_told(seconds)}, {rate:.0f} a second, "
                f"{spent * 1e3:.1f} ms of processor time each"
            )
        minutes = given.requests / given.rate / 60
        seconds = asyncio.run(arriving(running.address, given.rate, minutes))
        print(f"{given.rate:3.0f} arrive a second    {_told(seconds)}")


def aligning(given: argparse.Namespace) -> None:
    alone: list[float] = []
    together: list[float] = []
    with server() as (running, path):
        for turn in range(1, given.turns + 1):
            seconds = asyncio.run(arriving(running.address, given.rate, TURN / 60))
            _progress(f"turn {turn} of {given.turns}, alone: {_told(seconds)}")
            alone += seconds
            begun = _PROCESSES.Event()
            with beside(align, path, begun) as process:
                if not begun.wait(120):
                    raise SystemExit("the process that aligns did not begin within two minutes")
                seconds = asyncio.run(arriving(running.address, given.rate, TURN / 60))
                if not process.is_alive():
                    raise SystemExit("the process that aligns ended within the turn: no comparison")
            _progress(f"turn {turn} of {given.turns}, beside alignments: {_told(seconds)}")
            together += seconds
        with Store(path) as store:
            done = len(store.users("inbox"))
    print(f"alone              {_told(alone)}")
    print(f"beside alignments  {_told(together)}; {done} users were begun")
    ratio = statistics.quantiles(together, n=20)[18] / statistics.quantiles(alone, n=20)[18]
    print(f"ratio of the p95: {ratio:.2f}")


def streaming(given: argparse.Namespace) -> None:
    direct: list[float] = []
    through: list[float] = []
    with (
        listening(provide, socket.socket) as provider,
        server(provider.address) as (running, _),
    ):
        for _ in range(given.turns):
            direct += asyncio.run(first_tokens(provider.address, 50))
            through += asyncio.run(first_tokens(running.address, 50))
    print(f"first token, direct               {_told(direct)}")
    print(f"through, with persona and recall  {_told(through)}")
    print(f"added: {(statistics.median(through) - statistics.median(direct)) * 1e3:.1f} ms (p50)")


def soak(given: argparse.Namespace) -> None:
    with server() as (running, _):
        pid = running.process.pid
        asyncio.run(arriving(running.address, given.rate, 0.5))  # caches fill
        found = [_held(pid)]
        print(f"minute  0: {found[0][0]:.1f} MB, {found[0][1]} handles", flush=True)
        for minute in range(1, given.minutes + 1):
            seconds = asyncio.run(arriving(running.address, given.rate, 1))
            found.append(_held(pid))
            print(
                f"minute {minute:2}: {found[-1][0]:.1f} MB, {found[-1][1]} handles, "
                f"{_told(seconds)}", flush=True,
            )  # fmt: skip
    (memory, handles), (before, handles_before) = found[-1], found[0]
    print(f"grown by {memory - before:+.1f} MB and {handles - handles_before:+} handles")


def _held(pid: int | None) -> tuple[float, int]:
    """A process's resident memory in MB, and its open handles."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (one for one in status.splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1]) / 1e3, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = {one.__name__: one for one in (overhead, aligning, streaming, soak)}
    parser.add_argument("what", nargs="?", choices=kinds, default="overhead")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=20, help="requests that arrive a second")
    parser.add_argument("--turns", type=int, default=4, help="of aligning and streaming")
    parser.add_argument("--minutes", type=int, default=15, help="of the soak")
    given = parser.parse_args()
    kinds[given.what](given)


if __name__ == "__main__":
    main()
