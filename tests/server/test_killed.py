"""kill -9 of a server or its worker: what was acknowledged is there, and nothing happens twice."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from inbox import INBOX, mail, until
from openai_server import serving
from rulebook import RuleBook
from running import served
from serving import listening
from standins import HashEmbedder
from upstreams import providing

from personaagent.data import CHAT, Persona, Text
from personaagent.lm import connect
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.queue import Holder, Queue
from personaagent.memory.tasks import save_tasks
from personaagent.server import create_app

REPLY = Text("reply", "What does the user reply?")
LM = ("--lm", "openai/stand-in", "--likelihoods", "--rate", "0")
NO_LM = (*LM, "--api-base", "http://127.0.0.1:9/v1")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "memory.db"
    with Store(path) as store:
        save_tasks(store, [INBOX, REPLY, CHAT])
        travels = Persona("bela", "reply", profile="Travels by train.", actions=())
        store.of("bela").publish(travels, expected=None, reason="first")
    return path


def test_interactions_that_were_acknowledged_are_there_and_not_there_twice(database):
    acknowledged: list[str] = []
    with served(database, *NO_LM) as (process, address):
        go_on = threading.Event()

        def write(start: int) -> None:
            with httpx.Client(base_url=address, timeout=60) as client:
                for number in range(start, 10_000, 8):
                    try:
                        said = client.post("/v1/interactions", json=mail(number))
                    except httpx.TransportError:
                        return
                    if said.status_code == 201:
                        acknowledged.extend(said.json()["ids"])
                    if len(acknowledged) > 60:
                        go_on.set()

        with ThreadPoolExecutor(8) as pool:
            for start in range(8):
                pool.submit(write, start)
            assert go_on.wait(60)
            process.send_signal(signal.SIGKILL)
    with served(database, *NO_LM) as (process, address):
        with Store(database) as store:
            there = {known.id for known in store.of("amira").interactions()}
        assert set(acknowledged) <= there
        again = [mail(int(id.partition("-")[2])) for id in acknowledged]
        said = httpx.post(f"{address}/v1/interactions", json=again, timeout=60).json()
        assert (said["new"], said["known"]) == (0, len(again))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 143
    log = (database.parent / "log").read_text()
    assert "Traceback" not in log
    assert "ferry" not in log


def talk(number: int) -> dict[str, object]:
    words = {"role": "user", "content": f"How do I get to place {number}?"}
    return {"model": "m", "user": "bela", "stream": True, "messages": [words]}


def streamed(client: httpx.Client, number: int) -> bool:
    """Whether a stream came to its end."""
    with client.stream("POST", "/v1/chat/completions", json=talk(number)) as response:
        lines = list(response.iter_lines())
    assert "data: [DONE]" in lines  # one that is cut off never looks like one that has ended
    return True


def answered(client: httpx.Client, number: int) -> dict[str, object]:
    asked = {"user": "bela", "task": "reply", "query": f"What of place {number}?"}
    said = client.post("/v1/answers", json=asked, headers={"Idempotency-Key": f"q-{number}"})
    return said.raise_for_status().json()


def test_messages_of_streams_and_answers_are_there_once_after_a_kill_in_between(database):
    done: list[int] = []
    told: dict[int, dict[str, object]] = {}
    with providing() as provider:
        provider.pause = 0.02
        options = (*LM, "--api-base", provider.address)
        with served(database, *options) as (process, address):

            def stream(start: int) -> None:
                with httpx.Client(base_url=address, timeout=60) as client:
                    for number in range(start, 10_000, 6):
                        try:
                            streamed(client, number)
                        except httpx.TransportError:
                            return
                        done.append(number)

            def answer() -> None:
                with httpx.Client(base_url=address, timeout=60) as client:
                    for number in range(10_000):
                        try:
                            told[number] = answered(client, number)
                        except httpx.TransportError:
                            return

            with ThreadPoolExecutor(7) as pool:
                working = [pool.submit(stream, start) for start in range(6)]
                working.append(pool.submit(answer))
                try:
                    until(lambda: len(done) > 15 and len(told) > 5, 40)
                finally:
                    process.send_signal(signal.SIGKILL)
            for one in working:
                one.result()
        with Store(database) as store:
            there = Counter(one.response for one in store.of("bela").interactions())
        assert {talk(number)["messages"][0]["content"] for number in done} <= there.keys()
        lm = connect("stand-in", api_base=provider.address)
        provider.pause = 0.0
        with (
            Store(database) as store,
            listening(create_app(EpisodicMemory(store, HashEmbedder()), lm)) as address,
            httpx.Client(base_url=address, timeout=60) as client,
        ):
            asked = len(provider.bodies)
            for number, before in told.items():
                assert answered(client, number) == before
            assert len(provider.bodies) == asked  # the LM is not asked again
            everything = range(max(done) + 1)
            assert all(streamed(client, number) for number in everything)
            there = Counter(one.response for one in store.of("bela").interactions())
        assert set(there.values()) == {1}
        assert len(there) >= len(everything)


def test_an_alignment_goes_on_when_its_worker_and_then_its_server_are_killed(database):
    book = RuleBook(INBOX, {"ferry": "travel"})
    mine = {"user": "amira", "task": "inbox"}
    with serving(book) as lm, Store(database) as store:
        options = (*LM, "--api-base", lm, "--workers", "1", "--threshold", "1000")

        def working() -> int | None:
            """The process of the worker."""
            held = [one.worker for one in Queue(store).jobs() if one.held(store.now())]
            holder = Holder.read(held[0] or "") if held else None
            return holder.process if holder else None

        with served(database, *options) as (process, address):
            httpx.post(f"{address}/v1/interactions", json=[mail(n) for n in range(16)], timeout=60)
            assert httpx.post(f"{address}/v1/alignments", json=mine).status_code == 202
            until(lambda: len(book.asked) > 5, 40)
            first = working()
            os.kill(first, signal.SIGKILL)
            soon = len(book.asked) + 5
            until(lambda: len(book.asked) > soon, 40)
            second = working()
            assert second not in (None, first)
            process.send_signal(signal.SIGKILL)
        with served(database, *options) as (process, address):
            with httpx.stream(
                "GET", f"{address}/v1/alignments/events", params=mine, timeout=60
            ) as stream:
                told = [line for line in stream.iter_lines() if line.startswith("event: ")]
            assert told[-1] in ("event: published", "event: kept")
        assert Queue(store).jobs() == []
        assert [one.version for one in store.of("amira").history("inbox")] == [0]
    again = Counter(json.dumps([one.system, one.text, one.kind]) for one in book.asked)
    repeated = sum(again.values()) - len(again)
    assert repeated <= 2 * 4  # at most what it was asked at that moment, on 4 slots, in two kills
