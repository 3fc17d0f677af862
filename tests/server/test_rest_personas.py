from __future__ import annotations

import pytest

from personaagent.data import Directive, Interaction, Item, Persona

MINE = {"user": "amira", "task": "inbox"}


@pytest.fixture
def chain(store) -> list[Persona]:
    store.add([Interaction("mail-1", "amira", "inbox", "the car", "money")])
    rule = Directive("If the message mentions car, answer money.", "car", 0.4, ("mail-1",))
    first = Persona("amira", "inbox", profile="Drives <b>fast</b>.")
    second = first.succeed(directives=(rule,))
    memory = store.of("amira")
    memory.publish(first, expected=None, reason="first")
    memory.publish(second, expected=first.hash, reason="better on replay")
    return [first, second]


def test_a_persona_is_given_as_json_and_for_people(client, chain):
    said = client.get("/v1/persona", params=MINE)
    told = said.json()
    assert told["version"] == 1
    assert told["system"] == chain[1].render()
    assert told["directives"][0]["support"] == ["mail-1"]
    assert said.headers["etag"] == f'"{chain[1].hash}"'
    read = client.get("/v1/persona", params=MINE, headers={"Accept": "text/markdown"})
    assert read.headers["content-type"].startswith("text/markdown")
    assert "answer money. (1 for)" in read.text
    assert "\\<b>" in read.text


def test_an_etag_that_still_holds_costs_no_body(client, chain):
    tag = client.get("/v1/persona", params=MINE).headers["etag"]
    again = client.get("/v1/persona", params=MINE, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    old = client.get("/v1/persona", params=MINE | {"version": 0}, headers={"If-None-Match": tag})
    assert old.status_code == 200


def test_history_difference_and_origin_are_told(client, chain):
    history = client.get("/v1/persona/history", params=MINE).json()
    assert [one["reason"] for one in history] == ["first", "better on replay"]
    changed = client.get("/v1/persona/diff", params=MINE).json()
    assert (changed["before"], changed["after"], changed["profile"]) == (0, 1, None)
    assert [one["edit"] for one in changed["directives"]] == ["add"]
    (origin,) = client.get("/v1/persona/blame", params=MINE).json()
    assert origin["support"][0]["query"] == "the car"
    assert origin["since"]["version"] == 1


def test_items_are_told_with_what_speaks_for_them_everywhere(client, store, chain):
    seats = Item("habit", "sits <i>outside</i>", "air travel", "", (), ("mail-1",), author="Amira")
    cars = Item("fact", "has a car", "cars", "", ("mail-1",))
    now = chain[1].succeed(items=(cars, seats))
    store.of("amira").publish(now, expected=chain[1].hash, reason="read chats")
    first, second = client.get("/v1/persona", params=MINE).json()["items"]
    assert (first["number"], first["text"], first["support"]) == (1, "has a car", ["mail-1"])
    assert (second["number"], second["author"], second["contradicted"]) == (2, "Amira", False)
    assert client.get("/v1/persona/history", params=MINE).json()[-1]["items"] == 2
    changed = client.get("/v1/persona/diff", params=MINE).json()["items"]
    assert [(one["edit"], one["text"]) for one in changed] == [
        ("add", "has a car"), ("add", "sits <i>outside</i>"),
    ]  # fmt: skip
    origins = client.get("/v1/persona/blame", params=MINE).json()
    assert [one["kind"] for one in origins] == ["fact", "habit", "directive"]
    assert (origins[0]["support"][0]["query"], origins[0]["since"]["version"]) == ("the car", 2)
    read = client.get("/v1/persona", params=MINE, headers={"Accept": "text/markdown"}).text
    assert "- has a car (fact; cars; 1 for)" in read
    assert "\\<i>" in read


def test_a_rollback_is_a_new_version_and_only_over_what_was_read(client, chain):
    back = MINE | {"version": 0}
    stale = {"If-Match": f'"{chain[0].hash}"'}
    assert client.post("/v1/persona/rollback", json=back, headers=stale).status_code == 412
    read = {"If-Match": f'"{chain[1].hash}"'}
    assert client.post("/v1/persona/rollback", json=back, headers=read).json()["version"] == 2
    assert client.get("/v1/persona", params=MINE).json()["directives"] == []


def test_what_is_not_there_is_said(client, chain):
    assert client.get("/v1/persona", params=MINE | {"user": "bela"}).status_code == 404
    assert client.get("/v1/persona", params=MINE | {"version": 9}).status_code == 404
    assert client.get("/v1/persona", params=MINE | {"task": "unknown"}).status_code == 404


def test_the_text_of_an_erased_version_is_gone(client, chain):
    client.delete("/v1/interactions", params={"user": "amira", "id": "mail-1"})
    assert client.get("/v1/persona", params=MINE | {"version": 1}).status_code == 410
    history = client.get("/v1/persona/history", params=MINE).json()
    assert [one["erased"] for one in history] == [True, True, False]
