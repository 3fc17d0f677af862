"""The Python clients against a server on a free port."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from loopback import answering
from rulebook import RuleBook, stand_in
from serving import listening
from standins import HashEmbedder

from personaagent import AsyncClient, Client
from personaagent.client import ServiceError
from personaagent.data import Classification, Persona
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.tasks import save_tasks
from personaagent.server import create_app
from personaagent.server.keys import Keys

INBOX = Classification("inbox", "Which folder?", labels=("money", "travel", "family"))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with Store(tmp_path / "memory.db") as store:
        save_tasks(store, [INBOX])
        yield store


@pytest.fixture
def address(store: Store) -> Iterator[str]:
    book = RuleBook(INBOX, {"car": "money", "ferry": "travel"})
    with listening(create_app(EpisodicMemory(store, HashEmbedder()), stand_in(book))) as address:
        yield address


def test_the_feedback_loop_from_python(address: str):
    with Client(address, user="amira") as client:
        added = client.add("The car insurance.", "money", task="inbox", id="mail-1")
        assert (added["ids"], added["new"]) == (["mail-1"], 1)
        more = [{"query": f"a ferry at {n}", "response": "travel", "task": "inbox"} for n in "123"]
        assert client.add_all(more)["new"] == 3
        said = client.answer("The car needs tyres.", trace=True)
        assert said["answer"] == "money"
        assert "memories" in said["trace"]
        noted = client.feedback(said["id"], edited="family")
        assert noted["remembered"]["new"] == 1
        assert client.search("a ferry at 1", k=1)[0]["interaction"]["query"] == "a ferry at 1"
        assert len(client.interactions(source="feedback")["interactions"]) == 1
        assert [one["user"] for one in client.users()] == ["amira"]
        assert "inbox" in {one["name"] for one in client.tasks()}
        assert client.export().count("\n") >= 5
        assert client.delete(["mail-1"])["complete"] is True
        assert client.quarantine() == []
        assert client.align(task="inbox")["state"] == "waiting"
        assert [one["task"] for one in client.alignments()] == ["inbox"]
        assert client.erase(everything=True)["complete"] is True
        assert client.users() == []


def test_a_persona_from_python(address: str, store: Store):
    first = Persona("amira", "inbox", profile="Drives.", actions=())
    mine = store.of("amira")
    mine.publish(first, expected=None, reason="first")
    second = first.succeed(profile="Sails.")
    mine.publish(second, expected=first.hash, reason="second")
    with Client(address, user="amira") as client:
        assert client.persona()["profile"] == "Sails."
        assert client.persona(version=0)["profile"] == "Drives."
        assert "Sails." in client.persona_markdown()
        assert [one["version"] for one in client.history()] == [0, 1]
        assert client.diff(before=0, after=1)["profile"] == ["Drives.", "Sails."]
        assert client.blame() == []
        assert client.rollback(0)["version"] == 2
        assert client.persona()["profile"] == "Drives."
        nuts = {"text": "eats no nuts", "kind": "need"}
        edited = client.edit("Mia", add=["Answer briefly."], add_items=[nuts])
        assert (edited["version"], edited["items"]) == (3, 1)
        (item,) = client.persona()["items"]
        assert (item["number"], item["text"], item["author"]) == (1, "eats no nuts", "Mia")
        assert client.pin("Mia", profile=True)["version"] == 4
        assert client.waiting() == []
        for decide in (client.approve, client.reject):
            with pytest.raises(ServiceError, match=r"nothing .* waits"):
                decide("Mia")
        ended = list(client.progress(task="inbox"))
        assert ended[-1][0] == "kept"
        assert ended[-1][1]["version"] == 4


def test_the_asynchronous_client_does_the_same(address: str, store: Store):
    store.of("amira").publish(Persona("amira", "inbox"), expected=None, reason="first")

    async def work() -> None:
        async with AsyncClient(address, user="amira") as client:
            await client.add("The car insurance.", "money", task="inbox")
            both = [client.answer("The car needs tyres."), client.answer("The ferry sails.")]
            said = await asyncio.gather(*both)
            assert [one["answer"] for one in said] == ["money", "travel"]
            assert (await client.feedback(said[0]["id"], right=True))["remembered"]["new"] == 1
            assert [name async for name, _ in client.progress()] == ["kept"]
            with pytest.raises(ServiceError, match=r"version 9") as caught:
                await client.persona(version=9)
            assert caught.value.status == 404

    asyncio.run(work())


def test_both_clients_have_the_same_calls():
    def names(kind: type) -> set[str]:
        members = inspect.getmembers(kind, callable)
        return {name for name, _ in members if not name.startswith("_")}

    assert names(Client) - {"close"} == names(AsyncClient) - {"aclose"}


def test_what_a_server_refuses_is_an_error_with_its_status_and_words(address: str, store: Store):
    key, _ = Keys(store).add(user="amira", scopes=["read"])
    with Client(address, key=key) as client, pytest.raises(ServiceError) as caught:
        client.add("A car.", "money", task="inbox")
    assert caught.value.status == 403
    assert "lacks the scope 'write'" in str(caught.value)
    with Client(address, key=key) as client, pytest.raises(ServiceError) as caught:
        list(client.progress(user="bela", task="inbox"))
    assert caught.value.status == 403


def test_a_server_that_cannot_be_reached_is_said_so():
    with (
        Client("http://127.0.0.1:9", retries=0) as client,
        pytest.raises(ServiceError, match=r"cannot be reached .* is it running"),
    ):
        client.users()


def test_a_request_that_is_sent_again_has_the_same_idempotency_key():
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            keys.append(self.headers["Idempotency-Key"])
            body = b'{"ids": []}' if len(keys) == 2 else b'{"detail": "busy"}'
            self.send_response(200 if len(keys) == 2 else 503)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *given: Any) -> None:
            pass

    with answering(Handler) as address, Client(address) as client:
        assert client.add("A car.", "money") == {"ids": []}
    first, second = keys
    assert first == second != ""


def test_the_client_loads_neither_torch_nor_dspy(tmp_path: Path):
    import subprocess

    code = "import sys; from personaagent import Client; Client(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "dspy", "sqlalchemy"} & set(done.stdout.split())
