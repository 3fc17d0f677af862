from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from personaagent.data import Directive, Persona
from personaagent.errors import ConflictError, DataError, StoreError
from personaagent.memory import Store


def first(user: str = "ann") -> Persona:
    evidence = Directive("prefer old", support=("i1",))
    return Persona(user, "films", profile="likes noir", directives=(evidence,))


def test_before_the_first_there_is_no_champion(store: Store) -> None:
    assert store.of("ann").persona("films") is None
    assert store.of("ann").personas("films") == []


def test_the_published_persona_is_read_back_equal(store: Store) -> None:
    mine = store.of("ann")
    mine.publish(first(), expected=None, reason="start")
    assert mine.persona("films") == first()
    assert mine.persona("books") is None
    assert store.of("bob").persona("films") is None


def test_the_chain_keeps_every_persona_with_its_reason(store: Store) -> None:
    mine = store.of("ann")
    second = first().succeed(profile="likes jazz")
    mine.publish(first(), expected=None, reason="start")
    mine.publish(second, expected=first().hash, reason="better on replay")
    assert mine.personas("films") == [first(), second]
    assert [entry.reason for entry in mine.history("films")] == ["start", "better on replay"]
    assert mine.persona("films") == second


def test_publishing_a_persona_twice_is_publishing_it_once(store: Store) -> None:
    mine = store.of("ann")
    mine.publish(first(), expected=None, reason="start")
    mine.publish(first(), expected=None, reason="again")
    assert [entry.reason for entry in mine.history("films")] == ["start"]


def test_who_read_an_older_champion_gets_a_conflict(store: Store) -> None:
    mine = store.of("ann")
    mine.publish(first(), expected=None, reason="start")
    mine.publish(first().succeed(profile="one"), expected=first().hash, reason="one")
    with pytest.raises(ConflictError, match="read it and try again"):
        mine.publish(first().succeed(profile="two"), expected=first().hash, reason="two")
    assert [persona.profile for persona in mine.personas("films")] == ["likes noir", "one"]


def test_an_old_text_comes_back_as_a_new_version(store: Store) -> None:
    mine = store.of("ann")
    second = first().succeed(profile="worse")
    third = second.succeed(profile=first().profile)
    for persona, expected in ((first(), None), (second, first().hash), (third, second.hash)):
        mine.publish(persona, expected=expected, reason="")
    assert mine.persona("films") == third


def test_a_persona_of_another_user_is_refused(store: Store) -> None:
    with pytest.raises(DataError, match="'bob' published for 'ann'"):
        store.of("ann").publish(first("bob"), expected=None, reason="")


def test_a_persona_that_does_not_continue_the_chain_is_refused(store: Store) -> None:
    mine = store.of("ann")
    with pytest.raises(DataError, match="version 0 of parent none"):
        mine.publish(first().succeed(), expected=None, reason="")
    mine.publish(first(), expected=None, reason="")
    for broken in (
        replace(first().succeed(), version=5),
        replace(first().succeed(), parent="0" * 64),
    ):
        with pytest.raises(DataError, match="succeed"):
            mine.publish(broken, expected=first().hash, reason="")
    assert mine.personas("films") == [first()]


def test_a_persona_that_was_changed_in_the_file_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "memory.db"
    with Store(file) as store:
        store.of("ann").publish(first(), expected=None, reason="")
        connection = sqlite3.connect(file)
        connection.execute("UPDATE personas SET body = replace(body, 'noir', 'spam')")
        connection.commit()
        connection.close()
        with pytest.raises(StoreError, match="behind"):
            store.of("ann").persona("films")
