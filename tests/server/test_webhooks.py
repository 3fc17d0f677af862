from __future__ import annotations

import json
import socket
import time
from http.server import BaseHTTPRequestHandler

import pytest
from inbox import until
from loopback import answering

from personaagent.client import webhook_event
from personaagent.data import Interaction, Persona
from personaagent.errors import DataError
from personaagent.memory import waiting
from personaagent.memory.schema import deliveries
from personaagent.server import tenants, webhooks
from personaagent.server.webhooks import signature


@pytest.fixture
def hook():
    """A webhook's address that is this test's and that nobody listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield {"url": f"http://127.0.0.1:{bound.getsockname()[1]}/hooks"}


@pytest.fixture
def receiver(monkeypatch):
    """A server that notes what it is told, and refuses as often as it is asked to."""
    monkeypatch.setattr(webhooks, "EVERY", 0.02)
    told: list[tuple[dict[str, str], bytes]] = []
    refuse = [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((dict(self.headers), body))
            refuse[0] -= 1
            self.send_response(500 if refuse[0] >= 0 else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with answering(Handler) as address:
        yield f"{address}/", told, refuse


def publish(store, user: str) -> Persona:
    persona = Persona(user, "inbox", profile="Secretive.", actions=())
    store.of(user).publish(persona, expected=None, reason="x")
    return persona


def states(store) -> list[str]:
    with store.database.read() as connection:
        return list(connection.scalars(deliveries.select().with_only_columns(deliveries.c.state)))


def test_what_is_published_is_told_once_signed_and_without_a_text(client, store, receiver):
    url, told, _ = receiver
    publish(store, "before")
    made = client.post("/v1/webhooks", json={"url": url}).json()
    persona = publish(store, "amira")
    publish(store, tenants.stored("acme", "amira"))  # another tenant's
    until(lambda: "told" in states(store), 10)
    time.sleep(0.2)
    ((headers, body),) = told
    event = json.loads(body)
    assert (event["type"], event["user"], event["hash"]) == (
        "persona.published", "amira", persona.hash,
    )  # fmt: skip
    assert b"Secretive" not in body
    t, v1 = (part.split("=")[1] for part in headers["Personaagent-Signature"].split(","))
    assert v1 == signature(made["secret"], int(t), body)
    assert v1 != signature(made["secret"], int(t) + 1, body)
    assert abs(time.time() - int(t)) < 60
    assert webhook_event(body, headers["Personaagent-Signature"], made["secret"]) == event


@pytest.mark.parametrize(
    ("header", "body", "later"),
    [
        ("t=1000,v1={}", b"{}", 301),  # sent again by somebody who has seen it
        ("t=1200,v1={}", b"{}", 301),  # with a newer time
        ("t=1000,v1={}", b'{"id": 2}', 1),
        ("t=1000,v1=", b"{}", 1),
        ("t=1000", b"{}", 1),
        ("v1={}", b"{}", 1),
        ("", b"{}", 1),
        ("t=1000,v1=\u00e9", b"{}", 1),
    ],
)
def test_a_webhook_that_is_forged_changed_or_replayed_is_refused(header, body, later):
    signed = signature("whsec_x", 1_000, b"{}")
    good = f"t=1000,v1={signed}"
    assert webhook_event(b"{}", good, "whsec_x", now=1_001) == {}
    with pytest.raises(DataError, match="refuse it"):
        webhook_event(b"{}", good, "whsec_y", now=1_001)
    with pytest.raises(DataError, match="refuse it"):
        webhook_event(body, header.format(signed), "whsec_x", now=1_000 + later)


def test_what_waits_and_what_is_rejected_are_told_where_that_is_wanted(client, store, receiver):
    url, told, _ = receiver
    client.post("/v1/webhooks", json={"url": url})
    client.post("/v1/webhooks", json={"url": url, "events": ["persona.published"]})
    memory = store.of("amira")
    store.add([Interaction("mail-1", "amira", "inbox", "the car", "money")])
    proposed = Persona("amira", "inbox", profile="Secretive.")
    waiting.put_to_wait(
        memory, proposed, over=None, reason="x", made_of=["mail-1"], answers=[], days=1
    )
    until(lambda: states(store) == ["told"], 10)
    waiting.reject(memory, "inbox", "Amira")
    until(lambda: states(store) == ["told", "told"], 10)
    events = [json.loads(body) for _, body in told]
    assert [one["type"] for one in events] == ["persona.waiting", "persona.rejected"]
    assert {(one["user"], one["task"]) for one in events} == {("amira", "inbox")}
    assert events[0]["hash"] == proposed.hash


def test_what_is_not_taken_is_told_again_with_the_same_id(client, store, receiver, monkeypatch):
    from datetime import timedelta

    url, told, refuse = receiver
    monkeypatch.setattr(webhooks, "_PAUSE", timedelta(milliseconds=50))
    refuse[0] = 2
    client.post("/v1/webhooks", json={"url": url})
    publish(store, "amira")
    until(lambda: states(store) == ["told"], 10)
    assert len(told) == 3
    assert len({json.loads(body)["id"] for _, body in told}) == 1


def test_what_is_never_taken_is_given_up(client, store, receiver, monkeypatch):
    from datetime import timedelta

    url, told, refuse = receiver
    monkeypatch.setattr(webhooks, "_PAUSE", timedelta(0))
    monkeypatch.setattr(webhooks, "ATTEMPTS", 3)
    refuse[0] = 99
    client.post("/v1/webhooks", json={"url": url})
    publish(store, "amira")
    until(lambda: states(store) == ["given up"], 10)
    assert len(told) == 3


def test_a_webhook_is_listed_without_its_secret_and_removed(client, store, hook):
    made = client.post("/v1/webhooks", json=hook).json()
    (one,) = client.get("/v1/webhooks").json()
    assert (one["id"], one["secret"]) == (made["id"], None)
    assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 204
    assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 404
    assert client.get("/v1/webhooks").json() == []


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://", "https://a:b@example.org", "ftp://example.org", "x"]
)
def test_an_address_that_is_none_is_refused(client, url):
    assert client.post("/v1/webhooks", json={"url": url}).status_code == 422


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]"])
def test_a_tenant_cannot_have_the_servers_own_network_called(client, bearer, host):
    key = bearer(tenant="acme", scopes=["admin"])
    said = client.post("/v1/webhooks", json={"url": f"http://{host}/"}, headers=key)
    assert said.status_code == 422


def test_a_key_for_one_user_has_no_webhooks(client, bearer, hook):
    key = bearer(user="amira", scopes=["admin"])
    assert client.post("/v1/webhooks", json=hook, headers=key).status_code == 403
    assert client.get("/v1/webhooks", headers=key).status_code == 403
