"""The page over a fresh store with amira, who has a persona, and bela, who has interactions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from databases import one_database
from page_world import INBOX, RULE, mail
from rulebook import RuleBook, stand_in
from standins import HashEmbedder
from starlette.testclient import TestClient

from personaagent.data import Directive, Persona
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.tasks import save_tasks
from personaagent.memory.waiting import Changed, put_to_wait
from personaagent.server import create_app
from personaagent.server.keys import Keys

__all__ = ["one_database"]


@pytest.fixture
def store(one_database: str) -> Iterator[Store]:
    with Store(one_database) as store:
        save_tasks(store, [INBOX])
        store.add([*(mail(n) for n in range(6)), mail(1, "bela", "a ferry")])
        rule = Directive(RULE, "car", 0.3, ("amira-1", "amira-2"), ("amira-3",))
        first = Persona("amira", "inbox", "Counts every cent.", (rule,), actions=())
        store.of("amira").publish(first, expected=None, reason="aligned: loss 1 to 0.5")
        yield store


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    app = create_app(
        EpisodicMemory(store, HashEmbedder()), stand_in(RuleBook(INBOX, {"car": "money"}))
    )
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5)) as client:
        yield client


@pytest.fixture
def send(client: TestClient) -> Callable[..., object]:
    """Sends a form with the token of the page that it is on."""

    def send(path: str, page: str = "/page/waiting", **fields: object) -> object:
        shown = client.get("/page/persona?user=amira").text
        token = re.findall(r'name="csrf" value="([0-9a-f]+)"', shown)[0]
        return client.post(path, data={"csrf": token, **fields})

    return send


@pytest.fixture
def log_in(client: TestClient, store: Store) -> Callable[..., str]:
    """Makes a key and logs in with it; the key."""

    def log_in(**given: object) -> str:
        text, _ = Keys(store).add(**given)  # type: ignore[arg-type]
        assert client.post("/page/login", data={"key": text}).status_code == 200
        return text

    return log_in


@pytest.fixture
def proposed(store: Store) -> Persona:
    """A persona that waits for amira."""
    amira = store.of("amira")
    champion = amira.persona("inbox")
    assert champion is not None
    persona = champion.succeed(profile="Counts every euro.")
    put_to_wait(
        amira,
        persona,
        over=champion.hash,
        reason="aligned: better",
        made_of=["amira-1"],
        answers=[Changed("amira-2", "travel", "money")],
        days=30,
    )
    return persona
