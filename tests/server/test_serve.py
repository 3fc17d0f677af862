"""A server as it is run: its own process, killed, stopped, and talked to by bad clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from inbox import INBOX, mail
from openai_server import serving
from rulebook import RuleBook, stand_in
from running import served
from standins import HashEmbedder

from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.tasks import save_tasks
from personaagent.server import Settings, create_app

LM = ("--lm", "openai/stand-in", "--likelihoods")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "memory.db"
    with Store(path) as store:
        save_tasks(store, [INBOX])
    return path


def children(process: int) -> list[int]:
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return [int(one) for each in lists for one in each.read_text().split()]


def priority(process: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, process)


def test_a_worker_beside_the_server_does_what_is_queued_while_answers_go_on(database):
    book = RuleBook(INBOX, {"ferry": "travel"})
    with serving(book) as lm:
        options = (*LM, "--api-base", lm, "--workers", "1", "--threshold", "1000")
        with served(database, *options) as (process, address):
            client = httpx.Client(base_url=address, timeout=60)
            client.post("/v1/interactions", json=[mail(number) for number in range(16)])
            mine = {"user": "amira", "task": "inbox"}
            assert client.post("/v1/alignments", json=mine).status_code == 202
            told = []
            with client.stream("GET", "/v1/alignments/events", params=mine) as stream:
                for line in stream.iter_lines():
                    if line.startswith("event: "):
                        told.append(line.removeprefix("event: "))
                        asked = mine | {"query": "a ferry"}
                        said = httpx.post(f"{address}/v1/answers", json=asked, timeout=60).json()
                        assert said["answer"] == "travel"
            assert told[-1] in ("published", "kept")
            if sys.platform == "linux":  # the worker gives way to answers
                nicest = max(map(priority, children(process.pid)))
                assert nicest == min(priority(process.pid) + 10, 19)
            assert client.get("/v1/persona", params=mine).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 143


@contextmanager
def in_a_thread(store: Store, settings: Settings):
    app = create_app(EpisodicMemory(store, HashEmbedder()), stand_in(RuleBook(INBOX)), settings)
    config = uvicorn.Config(app, port=0, log_level="critical")
    listening = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def test_clients_that_send_slowly_are_cut_off_and_hold_nobody_up(database):
    with Store(database) as store, in_a_thread(store, Settings(patience=1.0)) as port:
        slow = []
        for _ in range(100):  # more than there are threads
            begun = socket.create_connection(("127.0.0.1", port))
            begun.sendall(
                b"POST /v1/interactions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
            )
            slow.append(begun)
        started = time.monotonic()
        said = httpx.post(f"http://127.0.0.1:{port}/v1/interactions", json=mail(1))
        assert said.status_code == 201
        assert time.monotonic() - started < 1
        slow[0].settimeout(10)
        assert slow[0].recv(100).startswith(b"HTTP/1.1 408")
        for begun in slow:
            begun.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /v1/users HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n",
        b"GET /v1/users HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\n",
        b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /v1/webhooks/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_the_server_goes_on(database, raw):
    with Store(database) as store, in_a_thread(store, Settings()) as port:
        with socket.create_connection(("127.0.0.1", port)) as bad:
            bad.sendall(raw)
            bad.settimeout(10)
            assert bad.recv(1000).split()[1] in (b"400", b"404", b"405")
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").text == "ok"


def test_keys_are_made_listed_and_revoked_by_commands(database, monkeypatch):
    from typer.testing import CliRunner

    from personaagent.cli.app import app

    monkeypatch.setenv("PERSONAAGENT_DB", str(database))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == 0, result.output
        return result.stdout

    made = json.loads(run("keys", "add", "--tenant", "acme", "--scope", "read", "--json"))
    (known,) = json.loads(run("keys", "list", "--json"))["keys"]
    assert (known["id"], known["tenant"], known["scopes"]) == (made["id"], "acme", ["read"])
    assert made["key"] not in run("keys", "list")
    run("keys", "revoke", made["id"])
    assert json.loads(run("keys", "list", "--json"))["keys"][0]["revoked"]


def test_without_keys_only_this_machine_can_be_served(database, monkeypatch):
    from typer.testing import CliRunner

    from personaagent.cli.app import app

    refused = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--db", str(database)])
    assert refused.exit_code == 1
    assert "personaagent keys add" in refused.stderr
