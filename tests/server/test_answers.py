from __future__ import annotations

import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY
from standins import HashEmbedder

from personaagent.data import Action, Directive, Interaction, Persona
from personaagent.errors import EmbeddingError

ASKED = {"user": "amira", "task": "inbox", "query": "the car needs tyres"}


def test_an_answer_comes_with_its_distribution_and_persona(client, store):
    first = Persona("amira", "inbox", directives=(Directive("Ferries cost."),), actions=())
    store.of("amira").publish(first, expected=None, reason="by hand")
    said = client.post("/v1/answers", json=ASKED | {"trace": True})
    assert said.status_code == 200
    told = said.json()
    assert told["answer"] == "money"
    assert max(told["distribution"], key=told["distribution"].get) == "money"
    assert told["persona"] == {"version": 0, "hash": first.hash}
    assert told["trace"]["usage"]["calls"] >= 1


def test_without_a_persona_the_lm_answers_alone_and_nothing_is_made_up(client):
    assert client.post("/v1/answers", json=ASKED).json()["persona"]["version"] is None


def test_an_answer_that_is_asked_for_again_with_its_key_costs_no_call(client, book):
    first = client.post("/v1/answers", json=ASKED, headers={"Idempotency-Key": "k"})
    calls = len(book.asked)
    second = client.post("/v1/answers", json=ASKED, headers={"Idempotency-Key": "k"})
    assert second.json() == first.json()
    assert len(book.asked) == calls
    other = ASKED | {"query": "a ferry"}
    refused = client.post("/v1/answers", json=other, headers={"Idempotency-Key": "k"})
    assert refused.status_code == 422


def test_no_prompt_stays_in_the_process_after_its_answer(client):
    before = len(GLOBAL_HISTORY)
    client.post("/v1/answers", json=ASKED)
    assert len(GLOBAL_HISTORY) == before


def test_an_lm_that_fails_is_said_and_the_server_goes_on(client, book):
    book.dies_after = 0
    failed = client.post("/v1/answers", json=ASKED)
    assert failed.status_code == 502
    assert client.get("/readyz").text == "ready"


def test_no_answer_is_given_without_the_memories_that_an_embedding_server_would_find(
    client, store, monkeypatch
):
    def down(*_: object, **__: object) -> None:
        raise EmbeddingError("embedding endpoint http://inside/v1 is down")

    store.add([Interaction("1", "amira", "inbox", "new tyres", "money")])
    first = Persona("amira", "inbox", actions=(Action("recall"),))
    store.of("amira").publish(first, expected=None, reason="by hand")
    monkeypatch.setattr(HashEmbedder, "encode", down)
    failed = client.post("/v1/answers", json=ASKED)
    assert failed.status_code == 502
    assert "inside" not in failed.text


@pytest.mark.parametrize(
    ("feedback", "response", "weight"),
    [
        ({"right": True}, "money", 1.0),
        ({"edited": "Travel"}, "travel", 1.0),
        ({"click": True}, "money", 1.0),
        ({"click": False}, "money", 0.5),
        ({"skip": True}, "money", 0.1),
    ],
)
def test_feedback_becomes_an_interaction_with_its_source_and_weight(
    client, store, feedback, response, weight
):
    id = client.post("/v1/answers", json=ASKED).json()["id"]
    said = {"user": "amira", "answer": id} | feedback
    for new in (1, 0):
        noted = client.post("/v1/feedback", json=said)
        assert noted.status_code == 201
        assert noted.json()["remembered"]["new"] == new
    (one,) = store.of("amira").interactions()
    assert (one.query, one.response) == (ASKED["query"], response)
    assert (one.source, one.weight) == ("feedback", pytest.approx(weight))


def test_that_an_answer_is_wrong_teaches_only_where_one_other_is_left(client, store):
    of_three = client.post("/v1/answers", json=ASKED).json()
    said = client.post(
        "/v1/feedback", json={"user": "amira", "answer": of_three["id"], "wrong": True}
    ).json()
    assert said["remembered"] is None
    assert store.of("amira").interactions() == []


def test_of_two_answers_the_other_one_is_right(serve, store, book):
    from personaagent.memory.tasks import task_named

    book.task = task_named(store, "spam")
    book.readings = {"car": "yes"}
    client = serve()
    told = client.post("/v1/answers", json=ASKED | {"task": "spam"}).json()
    client.post("/v1/feedback", json={"user": "amira", "answer": told["id"], "wrong": True})
    (one,) = store.of("amira").interactions()
    assert {one.response, told["answer"]} == {"yes", "no"}


def test_a_text_that_was_changed_more_counts_more(client, store, book):
    book.says["text"] = nine = "See you tomorrow at nine."
    book.says["json"] = lambda asked: {"answer": nine, "actions": []}
    asked = {"user": "amira", "task": "reply", "query": "when?"}
    for edited in ("See you tomorrow at ten.", "No."):
        told = client.post("/v1/answers", json=asked).json()
        assert told["answer"] == nine
        said = {"user": "amira", "answer": told["id"], "edited": edited}
        assert client.post("/v1/feedback", json=said).status_code == 201
    little, much = store.of("amira").interactions()
    assert 0.5 <= little.weight < much.weight <= 1


def test_an_answer_that_was_not_to_be_kept_takes_no_feedback(client, store):
    told = client.post("/v1/answers", json=ASKED | {"store": False}).json()
    assert told["id"] is None
    assert len(store.of("amira").journal("answers")) == 0
    said = {"user": "amira", "answer": "ans-unknown", "right": True}
    assert client.post("/v1/feedback", json=said).status_code == 404


def test_answers_are_erased_with_their_user_who_need_not_have_anything_else(client, store):
    client.post("/v1/answers", json=ASKED)
    erasure = {"user": "amira", "everything": True}
    receipt = client.post("/v1/erasures", json=erasure)
    assert receipt.status_code == 200
    assert len(store.of("amira").journal("answers")) == 0
    assert client.post("/v1/erasures", json=erasure).status_code == 404
