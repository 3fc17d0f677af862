"""What waits for a person, in every kind of database."""

from __future__ import annotations

from datetime import timedelta

import pytest
from worlds import interaction

from personaagent.data import Persona
from personaagent.errors import ConflictError, DataError
from personaagent.memory import Store
from personaagent.memory.erasure import erase
from personaagent.memory.waiting import (
    Changed,
    approve,
    days_to_approve,
    put_to_wait,
    reject,
    require_approval,
    users_waiting,
    waiting_of,
    was_rejected,
)


def wait(store: Store, text: str, user: str = "ann", days: int = 5) -> Persona:
    memory = store.of(user)
    champion = memory.persona("films")
    persona = (
        champion.succeed(profile=text) if champion else Persona(memory.user, "films", profile=text)
    )
    put_to_wait(
        memory,
        persona,
        over=champion.hash if champion else None,
        reason="aligned",
        made_of=["i1"],
        answers=[Changed("i1", "bad", "good")],
        days=days,
    )
    return persona


@pytest.fixture
def filled(store: Store) -> Store:
    store.add([interaction(1), interaction(2), interaction(1, user="bob")])
    return store


def test_of_what_waits_the_newest_is_approved_and_then_nothing_waits(filled: Store) -> None:
    wait(filled, "First.")
    second = wait(filled, "Second.")
    wait(filled, "Bob's.", "bob")
    (found,) = waiting_of(filled.of("ann"))
    assert (found.persona, found.over, found.stale) == (second, None, False)
    assert found.answers == (Changed("i1", "bad", "good"),)
    assert users_waiting(filled) == [("ann", "films"), ("bob", "films")]
    approve(filled.of("ann"), "films", "Ann")
    assert filled.of("ann").persona("films") == second
    assert users_waiting(filled) == [("bob", "films")]


def test_what_is_rejected_is_remembered_by_its_text(filled: Store) -> None:
    persona = wait(filled, "First.")
    reject(filled.of("ann"), "films", "Ann")
    assert was_rejected(filled.of("ann"), persona)
    assert not was_rejected(filled.of("bob"), Persona("bob", "films", profile="First."))
    with pytest.raises(DataError, match="waits for approval"):
        reject(filled.of("ann"), "films", "Ann")


def test_what_has_expired_or_was_overtaken_is_not_published(filled: Store) -> None:
    wait(filled, "First.", days=1)
    first = Persona("ann", "films", profile="Another.")
    filled.of("ann").publish(first, expected=None, reason="by hand")
    with pytest.raises(ConflictError, match="has changed since"):
        approve(filled.of("ann"), "films", "Ann")
    wait(filled, "Second.", days=1)
    now = filled.now() + timedelta(days=2)
    filled.now = lambda: now
    with pytest.raises(DataError, match="it expired"):
        approve(filled.of("ann"), "films", "Ann")
    assert filled.of("ann").persona("films") == first


def test_any_erasure_of_a_user_takes_what_waits_for_that_user_alone(filled: Store) -> None:
    wait(filled, "First.")
    wait(filled, "Bob's.", "bob")
    erase(filled, "ann", ids=["i2"])
    assert users_waiting(filled) == [("bob", "films")]


def test_who_waits_is_decided_for_everyone_and_for_one(filled: Store) -> None:
    require_approval(filled, 7)
    require_approval(filled, 0, user="ann")
    assert [days_to_approve(filled, user) for user in ("ann", "bob", None)] == [0, 7, 7]
    require_approval(filled, None, user="ann")
    require_approval(filled, 3)
    assert [days_to_approve(filled, user) for user in ("ann", "bob")] == [3, 3]
