"""A server in this process over a fresh store, with a stand-in LM and embedder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from databases import database, new_database, one_database
from rulebook import RuleBook, stand_in
from standins import HashEmbedder
from starlette.testclient import TestClient

from personaagent.data import Classification, Text
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.tasks import save_tasks
from personaagent.server import Settings, create_app
from personaagent.server.keys import Keys

__all__ = ["database", "new_database", "one_database"]


INBOX = Classification("inbox", "Which folder?", labels=("money", "travel", "family"))
YES_NO = Classification("spam", "Is it spam?", labels=("yes", "no"))
REPLY = Text("reply", "What does the user reply?")

Serve = Callable[..., TestClient]


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with Store(database) as store:
        save_tasks(store, [INBOX, YES_NO, REPLY])
        yield store


@pytest.fixture
def book() -> RuleBook:
    return RuleBook(INBOX, {"car": "money", "ferry": "travel"})


@pytest.fixture
def serve(store: Store, book: RuleBook, monkeypatch, tmp_path) -> Iterator[Serve]:
    """Starts a server; a client of it from this machine."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    begun: list[TestClient] = []

    def serve(settings: Settings | None = None, **options: Any) -> TestClient:
        app = create_app(EpisodicMemory(store, HashEmbedder()), stand_in(book), settings)
        client = TestClient(
            app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5), **options
        )
        begun.append(client.__enter__())
        return begun[-1]

    yield serve
    for client in begun:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return serve()


@pytest.fixture
def bearer(store: Store) -> Callable[..., dict[str, str]]:
    """Makes a key; the header that gives it."""

    def bearer(**given: Any) -> dict[str, str]:
        text, _ = Keys(store).add(**given)
        return {"Authorization": f"Bearer {text}"}

    return bearer
