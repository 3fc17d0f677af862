"""Tenants share a store and see nothing of each other, whatever they ask."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personaagent.data import Directive, Persona
from personaagent.data.normal import normal
from personaagent.errors import DataError
from personaagent.server import Settings, tenants
from personaagent.server.keys import Keys

REQUESTS = int(os.environ.get("PERSONAAGENT_TENANT_REQUESTS", "500"))
USERS = ("amira", "bela")
TENANTS = ("", "acme", "zeta")
WHO = [(tenant, user) for tenant in TENANTS for user in (None, *USERS)]


def test_no_two_tenants_mean_one_user():
    with pytest.raises(DataError):
        tenants.stored("", "@acme/amira")
    with pytest.raises(DataError):
        tenants.stored("", "\u200b@acme/amira")  # the store would take the mark away
    assert tenants.stored("acme", "@zeta/amira") == "@acme/@zeta/amira"


@settings(max_examples=50)
@given(st.text(max_size=20), st.sampled_from(TENANTS), st.text(max_size=20))
def test_an_id_is_one_users_of_one_tenant_in_the_form_that_the_store_has(one, tenant, other):
    found: dict[str, str] = {}
    for whose in TENANTS:
        for user in (one, other, f"@{tenant}/{one}"):
            try:
                stored = tenants.stored(whose, user)
            except DataError:
                continue
            assert normal(stored) == stored
            assert [name for name in TENANTS if tenants.belongs(name, stored)] == [whose]
            assert tenants.stored(whose, tenants.shown(whose, stored)) == stored
            assert found.setdefault(stored, whose) == whose


def secret_of(tenant: str, user: str) -> str:
    return f"secret-{tenant or 'own'}-{user}"


@pytest.fixture
def world(serve, store):
    """Every tenant has every user, with a text of their own in each place; all kinds of keys."""
    client = serve(Settings(rate=0))
    keys: dict[tuple[str, str | None], dict[str, str]] = {}
    for tenant, user in WHO:
        text, _ = Keys(store).add(tenant=tenant, user=user, scopes=("read", "write", "admin"))
        keys[tenant, user] = {"Authorization": f"Bearer {text}"}
    for tenant in TENANTS:
        for user in USERS:
            secret, key = secret_of(tenant, user), keys[tenant, None]
            one = {"user": user, "task": "inbox", "query": secret, "response": "money"}
            id = f"id-{secret}"
            client.post("/v1/interactions", json=one | {"id": id}, headers=key)
            asked = {"user": user, "task": "inbox", "query": secret}
            client.post("/v1/answers", json=asked, headers=key | {"Idempotency-Key": "k"})
            persona = Persona(
                tenants.stored(tenant, user), "inbox", directives=(Directive(secret),), actions=()
            )
            store.of(persona.user).publish(persona, expected=None, reason=secret)
    return client, keys


NAMES = st.sampled_from(
    [*USERS, "nobody", "@acme/amira", "@zeta/bela", "@/amira", "../amira", "AMIRA", " amira ", ""]
)
READS = [
    "/v1/interactions", "/v1/interactions/search", "/v1/interactions/quarantine", "/v1/persona",
    "/v1/persona/history", "/v1/persona/diff", "/v1/persona/blame", "/v1/export", "/v1/users",
    "/v1/alignments", "/v1/webhooks", "/v1/waiting",
]  # fmt: skip
WRITES = [
    "/v1/interactions", "/v1/answers", "/v1/feedback", "/v1/persona/rollback", "/v1/alignments",
    "/v1/interactions/quarantine/release", "/v1/persona/edit", "/v1/waiting/approve",
]  # fmt: skip


@st.composite
def requests(draw) -> tuple[tuple[str, str | None], str, str, dict[str, Any]]:
    who, user = draw(st.sampled_from(WHO)), draw(NAMES)
    foreign = draw(st.sampled_from([secret_of(t, u) for t in TENANTS for u in USERS]))
    if draw(st.booleans()):
        asked = {"user": user, "task": "inbox", "query": foreign, "before": f"id-{foreign}"}
        path = draw(st.sampled_from(READS))
        if path == "/v1/interactions" and draw(st.booleans()):
            del asked["before"]
        return who, "GET", path, asked
    path = draw(st.sampled_from(WRITES))
    body: dict[str, Any] = {"user": user}
    body |= {
        "/v1/interactions": {"task": "inbox", "query": "new", "response": "money", "id": "new"},
        "/v1/answers": {"task": "inbox", "query": "new", "trace": True},
        "/v1/feedback": {"answer": f"ans-{foreign}", "right": True},
        "/v1/persona/rollback": {"task": "inbox", "version": 0},
        "/v1/alignments": {"task": "inbox"},
        "/v1/interactions/quarantine/release": {"id": f"id-{foreign}"},
        "/v1/persona/edit": {"task": "inbox", "by": "x", "add": [str(draw(st.integers(0, 99)))]},
        "/v1/waiting/approve": {"task": "inbox", "by": "x"},
    }[path]
    return who, "POST", path, body


def reachable(who: tuple[str, str | None]) -> set[str]:
    tenant, user = who
    return {secret_of(tenant, one) for one in USERS if user in (None, one)}


def test_nobody_reads_writes_or_learns_of_anothers(world, store):
    client, keys = world
    everybody = {secret_of(tenant, user) for tenant in TENANTS for user in USERS}
    seen: dict[Any, Any] = {}
    count = 0

    @settings(max_examples=REQUESTS, database=None)
    @given(requests())
    def ask(request):
        nonlocal count
        count += 1
        (tenant, bound), method, path, asked = request
        key = keys[tenant, bound]
        told = (
            client.get(path, params=asked, headers=key)
            if method == "GET"
            else client.post(path, json=asked, headers=key)
        )
        said = told.text + json.dumps(dict(told.headers))
        # What the caller said itself may come back in a refusal.
        given = {asked.get("query"), str(asked.get("before", "")).removeprefix("id-")}
        foreign = everybody - reachable((tenant, bound)) - given
        assert not [one for one in foreign if one in said]
        if path == "/v1/users":
            mine = {
                tenants.shown(tenant, one.user)
                for one in store.users()
                if tenants.belongs(tenant, one.user)
            }
            shown = {one["user"] for one in told.json()}
            assert shown == (mine if bound is None else mine & {bound})
        assert told.status_code < 500
        if bound is not None and tenants.shown(tenant, asked["user"]).strip() != bound:
            if path in ("/v1/users", "/v1/webhooks"):
                return
            assert told.status_code in (403, 422)
            # The same words whether there is such a user, here or at another tenant.
            if told.status_code == 403:
                assert seen.setdefault(path, told.json()) == told.json()

    ask()
    assert count > REQUESTS * 0.9  # few are generated twice
    written = {one.user for one in store.users()}
    named = {tenants.stored(tenant, user) for tenant in TENANTS for user in USERS}
    strangers = {"nobody", "../amira", "AMIRA", "@acme/amira", "@zeta/bela", "@/amira"}
    for user in written - named:
        whose = [tenant for tenant in TENANTS if tenants.belongs(tenant, user)]
        assert len(whose) == 1
        assert tenants.shown(whose[0], user) in strangers


def test_an_erasure_takes_the_tenants_own_user_only(world, store):
    client, keys = world
    asked = {"user": "amira", "everything": True}
    receipt = client.post("/v1/erasures", json=asked, headers=keys["acme", None])
    assert receipt.status_code == 200
    left = {one.user for one in store.users()}
    assert left == {"amira", "bela", "@acme/bela", "@zeta/amira", "@zeta/bela"}
    for user in ("amira", "@zeta/amira"):
        assert store.of(user).persona("inbox") is not None
        assert len(store.of(user).journal("answers")) == 1


def test_messages_are_in_the_tenants_own_names(world):
    client, keys = world
    changed = {"user": "amira", "task": "inbox", "query": "other", "response": "travel"}
    id = f"id-{secret_of('acme', 'amira')}"
    said = client.post("/v1/interactions", json=changed | {"id": id}, headers=keys["acme", None])
    assert said.status_code == 422
    assert "user 'amira'" in said.json()["detail"]
    assert "@acme" not in said.text


def test_only_the_operator_sees_what_concerns_every_tenant(world):
    client, keys = world
    assert client.get("/metrics", headers=keys["", None]).status_code == 200
    for who in (("acme", None), ("", "amira")):
        assert client.get("/metrics", headers=keys[who]).status_code == 403
