from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from personaagent.errors import DataError
from personaagent.memory.erasure import erase
from personaagent.memory.schema import keys
from personaagent.server.keys import Keys

ONE = {"user": "amira", "task": "inbox", "query": "the car", "response": "money"}


def test_without_keys_this_machine_is_served_and_nobody_else(serve):
    here = serve()
    assert here.post("/v1/interactions", json=ONE).status_code == 201
    elsewhere = TestClient(here.app, base_url="http://127.0.0.1:8000", client=("10.0.0.7", 5))
    assert elsewhere.get("/v1/users").status_code == 401


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}]
)
def test_without_keys_a_page_of_another_site_is_not_served(client, headers):
    assert client.get("/v1/users", headers=headers).status_code in (401, 403)


def test_once_there_was_a_key_nobody_is_served_without_one(client, store):
    text, key = Keys(store).add()
    assert client.get("/v1/users").status_code == 401
    given = {"Authorization": f"Bearer {text}"}
    assert client.get("/v1/users", headers=given).status_code == 200
    Keys(store).revoke(key.id)
    assert client.get("/v1/users", headers=given).status_code == 401
    assert client.get("/v1/users").status_code == 401


@pytest.mark.parametrize("wrong", ["", "x", "pa_", "pa_0123456789ab_" + "A" * 43, "ключ", "a\tb"])
def test_a_wrong_key_is_refused_whatever_it_looks_like(client, store, wrong):
    Keys(store).add()
    said = client.get("/v1/users", headers={"Authorization": f"Bearer {wrong}".encode()})
    assert said.status_code == 401


def test_the_store_has_only_a_hash_of_a_key(store):
    text, key = Keys(store).add(note="mail")
    head = f"pa_{key.id}_"
    assert text.startswith(head)
    with store.database.read() as connection:
        (row,) = connection.execute(sa.select(keys)).all()
    assert text.removeprefix(head) not in repr(row)


@pytest.mark.parametrize("scope", ["read", "write", "admin"])
def test_a_key_does_what_its_scopes_say(client, bearer, scope):
    key = bearer(scopes=[scope])
    asked = {
        "read": client.get("/v1/users", headers=key),
        "write": client.post("/v1/interactions", json=ONE, headers=key),
        "admin": client.get("/v1/webhooks", headers=key),
    }
    for name, said in asked.items():
        assert (said.status_code != 403) == (name == scope), name


def test_a_key_for_one_user_needs_no_name_and_reaches_nobody_else(client, bearer):
    key = bearer(user="amira")
    mine = {name: value for name, value in ONE.items() if name != "user"}
    assert client.post("/v1/interactions", json=mine, headers=key).status_code == 201
    assert len(client.get("/v1/interactions", headers=key).json()["interactions"]) == 1
    client.post("/v1/interactions", json=ONE | {"user": "bela"}, headers=bearer())
    refusals = [
        client.get("/v1/interactions", params={"user": user}, headers=key)
        for user in ("bela", "nobody")
    ]
    assert [one.status_code for one in refusals] == [403, 403]
    assert refusals[0].json() == refusals[1].json()
    assert [one["user"] for one in client.get("/v1/users", headers=key).json()] == ["amira"]


def test_the_last_use_is_noted(store):
    store.now = lambda: datetime(2026, 3, 1, tzinfo=UTC)
    made = Keys(store)
    text, _ = made.add()
    assert made.all()[0].used is None
    assert made.find(text) is not None
    store.now = lambda: datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=5)
    made.find(text)
    assert made.all()[0].used == store.now()


@pytest.mark.parametrize(
    "given", [{"tenant": "Acme"}, {"tenant": "a/b"}, {"scopes": ["root"]}, {"scopes": []}]
)
def test_a_key_that_makes_no_sense_is_not_made(store, given):
    with pytest.raises(DataError):
        Keys(store).add(**given)
    assert Keys(store).all() == []


def test_an_erasure_of_everything_takes_the_users_keys_and_one_of_an_interaction_does_not(
    client, store
):
    client.post("/v1/interactions", json=ONE | {"id": "one"})
    made = Keys(store)
    made.add(user="amira")
    made.add()
    erase(store, "amira", ids=["one"])
    assert len(made.all()) == 2
    erase(store, "amira", everything=True)
    assert [key.user for key in made.all()] == [None]
