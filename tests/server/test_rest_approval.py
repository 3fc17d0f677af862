from __future__ import annotations

from datetime import timedelta

import pytest

from personaagent.data import Directive, Interaction, Persona
from personaagent.memory import waiting

MINE = {"user": "amira", "task": "inbox"}
BY = MINE | {"by": "Amira"}


@pytest.fixture
def champion(store) -> Persona:
    store.add([Interaction("mail-1", "amira", "inbox", "the car", "money")])
    first = Persona("amira", "inbox", directives=(Directive("File cars under money."),))
    store.of("amira").publish(first, expected=None, reason="first")
    return first


@pytest.fixture
def proposed(store, champion) -> Persona:
    proposed = champion.succeed(directives=(Directive("File cars under travel."),))
    waiting.put_to_wait(
        store.of("amira"),
        proposed,
        over=champion.hash,
        reason="better on replay",
        made_of=["mail-1"],
        answers=[waiting.Changed("mail-1", "money", "travel")],
        days=14,
    )
    return proposed


def test_a_person_corrects_adds_and_drops_items_and_waiting_tells_of_them(client, store, champion):
    new = [{"text": "eats no nuts", "kind": "need", "topic": "food"}, {"text": "lives in Oslo"}]
    assert client.post("/v1/persona/edit", json=BY | {"add_items": new}).status_code == 200
    change = BY | {"items": {"2": "lives in Bergen"}, "drop_items": [1]}
    assert client.post("/v1/persona/edit", json=change).json()["items"] == 1
    (left,) = client.get("/v1/persona", params=MINE).json()["items"]
    assert (left["text"], left["kind"], left["author"]) == ("lives in Bergen", "fact", "Amira")
    wrong = BY | {"add_items": [{"text": "x", "kind": "rumour"}]}
    assert "its kind is one of" in client.post("/v1/persona/edit", json=wrong).json()["detail"]
    now = store.of("amira").persona("inbox")
    waiting.put_to_wait(
        store.of("amira"), now.succeed(items=()), over=now.hash, reason="r", made_of=[], answers=[],
        days=9,
    )  # fmt: skip
    (one,) = client.get("/v1/waiting").json()
    assert [(each["edit"], each["text"]) for each in one["items"]] == [("drop", "lives in Bergen")]


def test_what_a_person_writes_is_a_version_with_its_author_and_over_what_was_read(client, champion):
    edit = BY | {"texts": {"1": "File every car under money."}, "add": ["Be brief."]}
    stale = client.post("/v1/persona/edit", json=edit, headers={"If-Match": '"0000"'})
    assert stale.status_code == 409
    read = {"If-Match": f'"{champion.hash}"'}
    said = client.post("/v1/persona/edit", json=edit, headers=read)
    assert (said.status_code, said.json()["reason"]) == (200, "edited by Amira")
    told = client.get("/v1/persona", params=MINE)
    assert told.headers["etag"] == said.headers["etag"]
    assert [one["text"] for one in told.json()["directives"]] == [
        "File every car under money.", "Be brief.",
    ]  # fmt: skip


def test_a_directive_is_pinned_and_let_go(client, store, champion):
    for pinned in (True, False):
        pin = BY | {"directives": [1], "pinned": pinned}
        assert client.post("/v1/persona/pin", json=pin).status_code == 200
        assert store.of("amira").persona("inbox").directives[0].pinned is pinned
    assert client.post("/v1/persona/pin", json=BY | {"directives": [9]}).status_code == 422


def test_what_waits_is_shown_with_what_it_would_change_and_published_on_approval(
    client, store, proposed
):
    (one,) = client.get("/v1/waiting").json()
    assert (one["user"], one["hash"], one["stale"]) == ("amira", proposed.hash, False)
    assert [edit["edit"] for edit in one["directives"]] == ["drop", "add"]
    assert one["answers"] == [{"id": "mail-1", "before": "money", "after": "travel"}]
    unseen = client.post("/v1/waiting/approve", json=BY | {"hash": "0000"})
    assert unseen.status_code == 409
    said = client.post("/v1/waiting/approve", json=BY | {"hash": proposed.hash})
    assert said.json()["reason"].startswith("approved by Amira")
    assert store.of("amira").persona("inbox") == proposed
    assert client.get("/v1/waiting").json() == []
    assert client.post("/v1/waiting/approve", json=BY).status_code == 404


def test_what_is_rejected_is_dropped(client, store, champion, proposed):
    assert client.post("/v1/waiting/reject", json=BY).status_code == 204
    assert store.of("amira").persona("inbox") == champion
    assert waiting.was_rejected(store.of("amira"), proposed)
    assert client.post("/v1/waiting/reject", json=BY).status_code == 404


def test_what_has_expired_waits_for_nobody(client, store, proposed):
    later = store.now() + timedelta(days=15)
    store.now = lambda: later
    assert client.get("/v1/waiting").json() == []


def test_another_tenant_sees_nothing_that_waits(client, proposed, bearer):
    acme, own = bearer(tenant="acme"), bearer(user="bela")
    assert client.get("/v1/waiting", headers=acme).json() == []
    assert client.get("/v1/waiting", headers=own).json() == []
    assert client.post("/v1/waiting/approve", json=BY, headers=acme).status_code == 404
    assert client.post("/v1/waiting/approve", json=BY, headers=own).status_code == 403
