"""Tenants share a store and see nothing of each other, whatever they ask."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personaagent.data import Directive, Persona
from personaagent.data.normal import normal
from personaagent.errors import DataError
from personaagent.server import Settings, tenants
from personaagent.server.keys import Keys

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
