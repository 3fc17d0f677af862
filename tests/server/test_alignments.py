from __future__ import annotations

import json

import pytest

from personaagent.data import Persona
from personaagent.memory.encoding import microseconds
from personaagent.memory.queue import Queue
from personaagent.memory.schema import jobs
from personaagent.server import alignments

MINE = {"user": "amira", "task": "inbox"}
ONE = MINE | {"query": "the car", "response": "money"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(alignments, "EVERY", 0.02)


def events(text: str) -> list[tuple[str, dict]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_an_alignment_is_queued_once_and_listed(client, store):
    assert client.post("/v1/alignments", json=MINE).status_code == 422  # nothing to learn from
    client.post("/v1/interactions", json=ONE)
    for _ in range(2):
        queued = client.post("/v1/alignments", json=MINE)
        assert (queued.status_code, queued.json()["state"]) == (202, "waiting")
    (due,) = client.get("/v1/alignments").json()
    assert (due["user"], due["task"], due["trigger"]) == ("amira", "inbox", "request")
    assert len(Queue(store).jobs()) == 1


def test_progress_is_told_until_a_persona_is_published(client, store):
    client.post("/v1/interactions", json=ONE)
    client.post("/v1/alignments", json=MINE)
    queue = Queue(store)
    look = alignments._state
    looks = 0

    def work(*given):
        """A worker, as the looks go by."""
        nonlocal looks
        looks += 1
        if looks == 3:
            queue.take("somewhere else 1")
        elif looks == 5:
            store.of("amira").journal("run").put("step", 1)
        elif looks == 7:
            persona = Persona("amira", "inbox", actions=())
            (job,) = queue.jobs()
            store.of("amira").publish(
                persona, expected=None, reason="x", then=lambda c: queue.done(c, job)
            )
        return look(*given)

    alignments._state = work
    try:
        said = client.get("/v1/alignments/events", params=MINE)
    finally:
        alignments._state = look
    assert said.headers["content-type"].startswith("text/event-stream")
    told = events(said.text)
    assert [name for name, _ in told] == ["waiting", "running", "running", "published"]
    assert [data.get("done") for _, data in told] == [None, 0, 1, None]
    assert told[-1][1]["version"] == 0


def test_a_job_that_failed_is_told_with_its_problem(client, store):
    client.post("/v1/interactions", json=ONE)
    client.post("/v1/alignments", json=MINE)
    with store.database.write() as connection:
        failed = {"attempts": 3, "problem": "the LM is gone", "due": microseconds(store.now())}
        connection.execute(jobs.update().values(**failed))
    said = events(client.get("/v1/alignments/events", params=MINE).text)
    assert said == [("failed", {"attempts": 3, "problem": "the LM is gone"})]


def test_where_nothing_is_due_the_events_end_at_once(client):
    client.post("/v1/interactions", json=ONE)
    assert events(client.get("/v1/alignments/events", params=MINE).text) == [("kept", {})]
