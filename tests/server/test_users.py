from __future__ import annotations

from personaagent.archive import read_archive
from personaagent.data import Persona
from personaagent.memory.tombstones import owner_of

ONE = {"user": "amira", "task": "inbox", "query": "the car", "response": "money"}


def test_users_are_counted_and_tasks_described(client):
    client.post("/v1/interactions", json=[ONE, ONE | {"user": "bela"}])
    counts = {one["user"]: one["interactions"] for one in client.get("/v1/users").json()}
    assert counts == {"amira": 1, "bela": 1}
    described = {one["name"]: one for one in client.get("/v1/tasks").json()}
    assert described["inbox"]["labels"] == ["money", "travel", "family"]


def test_an_export_is_what_sync_takes_in_and_has_everything(client, store, tmp_path):
    client.post("/v1/interactions", json=ONE | {"id": "mail-1"})
    persona = Persona("amira", "inbox", profile="Drives.", actions=())
    store.of("amira").publish(persona, expected=None, reason="x")
    client.post("/v1/answers", json={"user": "amira", "query": "kept question"})
    said = client.get("/v1/export", params={"user": "amira"})
    assert said.headers["content-type"].startswith("application/x-ndjson")
    assert "kept question" in said.text
    path = tmp_path / "amira.jsonl"
    path.write_text(said.text)
    known, tasks = read_archive(path)
    assert list(known.interactions) == ["mail-1"]
    assert known.histories["inbox"].champion == persona.hash
    assert [task.name for task in tasks] == ["inbox"]
    assert client.get("/v1/export", params={"user": "nobody"}).status_code == 404


def test_an_erasure_gives_a_receipt_without_texts_or_names(client, store):
    client.post("/v1/interactions", json=ONE)
    receipt = client.post("/v1/erasures", json={"user": "amira", "everything": True})
    assert receipt.status_code == 200
    told = receipt.json()
    assert told["owner"] == owner_of("amira")
    assert told["complete"]
    assert "amira" not in receipt.text
    assert "car" not in receipt.text
    assert store.everyone() == set()


def test_an_erasure_of_a_source_leaves_the_rest(client, store):
    client.post("/v1/interactions", json=[ONE, ONE | {"query": "b", "source": "newsletter"}])
    client.post("/v1/erasures", json={"user": "amira", "source": "newsletter"})
    assert [one.source for one in store.of("amira").interactions()] == ["user"]


def test_an_erasure_of_nothing_or_of_several_things_is_refused(client):
    client.post("/v1/interactions", json=ONE)
    for what in ({}, {"ids": ["a"], "everything": True}, {"ids": []}):
        assert client.post("/v1/erasures", json={"user": "amira"} | what).status_code == 422
    unknown = client.post("/v1/erasures", json={"user": "amira", "ids": ["unknown"]})
    assert unknown.status_code == 404
