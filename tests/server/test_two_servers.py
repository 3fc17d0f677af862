"""Two servers, each a process of its own, on one store: what one does the other knows."""

from __future__ import annotations

from contextlib import ExitStack

import httpx
from inbox import INBOX, mail, until
from running import served

from personaagent.data import Persona
from personaagent.memory import Store
from personaagent.memory.tasks import save_tasks
from personaagent.server.keys import Keys

SOON = 1.0  # seconds


def test_what_one_server_erases_publishes_and_revokes_the_other_knows_within_a_second(
    database, tmp_path
):
    with Store(database) as store, ExitStack() as stack:
        save_tasks(store, [INBOX])
        text, key = Keys(store).add(scopes=["read", "write"])
        first = Persona("amira", "inbox", profile="Drives.", actions=())
        store.of("amira").publish(first, expected=None, reason="x")
        begun = [
            stack.enter_context(served(database, folder=tmp_path / name)) for name in ("a", "b")
        ]
        headers = {"Authorization": f"Bearer {text}"}
        one, other = (
            stack.enter_context(httpx.Client(base_url=address, headers=headers, timeout=30))
            for _, address in begun
        )
        mine = {"user": "amira", "task": "inbox"}
        one.post("/v1/interactions", json=[mail(n) for n in range(4)]).raise_for_status()

        def ids() -> set[str]:
            said = other.get("/v1/interactions", params=mine).raise_for_status().json()
            return {each["id"] for each in said["interactions"]}

        def profile() -> str:
            return other.get("/v1/persona", params=mine).raise_for_status().json()["profile"]

        until(lambda: len(ids()) == 4, SOON)
        assert profile() == "Drives."  # read once, so that it could be an old one below

        edited = mine | {"by": "amira", "profile": "Sails."}
        one.post("/v1/persona/edit", json=edited).raise_for_status()
        until(lambda: profile() == "Sails.", SOON)

        gone = {"user": "amira", "ids": ["mail-1"]}
        one.post("/v1/erasures", json=gone).raise_for_status()
        until(lambda: ids() == {"mail-0", "mail-2", "mail-3"}, SOON)

        Keys(store).revoke(key.id)
        for client in (one, other):
            until(lambda c=client: c.get("/v1/persona", params=mine).status_code == 401, SOON)
