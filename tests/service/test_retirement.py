"""Items go with the last interaction that they rest on, also where it only expired."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from personaagent.data import Classification, Interaction, Item, Persona
from personaagent.memory import Store
from personaagent.memory.erasure import erase
from personaagent.service.retirement import retire

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
FILMS = Classification("films", "Was it good?", labels=("good", "bad"))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.day = 0

    def __call__(self) -> datetime:
        return NOON + timedelta(days=self.day)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    with Store(tmp_path / "memory.db", now=clock) as store:
        store.add(
            Interaction(
                f"i{n}", "ann", "films", f"film {n}", "good",
                NOON - timedelta(days=9 - n), expires=NOON + timedelta(days=1) if n < 2 else None,
            )
            for n in range(4)
        )  # fmt: skip
        yield store


def published(store, *items):
    persona = Persona("ann", "films", items=items, words=90)
    store.of("ann").publish(persona, expected=None, reason="", made_of=["i0"])
    return persona


def test_an_item_goes_when_all_that_speaks_for_it_has_expired(store, clock):
    brief = Item("need", "needs short films", support=("i0", "i1"))
    both = Item("habit", "watches at night", support=("i1", "i2"), last=clock())
    doubted = Item("fact", "owns a cinema", support=("i3",), oppose=("i0", "i1"))
    elsewhere = Item("fact", "has a cat", support=("another-device",))
    by_hand = Item("fact", "is called Ann")
    first = published(store, brief, both, doubted, elsewhere, by_hand)
    mine = store.of("ann")
    assert retire(mine, FILMS) == 0
    assert mine.persona("films") == first
    clock.day = 2
    assert retire(mine, FILMS) == 1
    after = mine.persona("films")
    watches, owns, *others = after.items
    assert (watches.support, watches.last) == (("i2",), NOON - timedelta(days=7))
    assert (owns.support, owns.oppose) == (("i3",), ())
    assert others == [elsewhere, by_hand]
    assert (after.version, after.parent, after.words) == (1, first.hash, 90)
    assert mine.history("films")[-1].reason == (
        "interactions that expired: 2; items that went with them: 1"
    )
    assert retire(mine, FILMS) == 0


def test_a_persona_without_items_is_left_alone(store, clock):
    first = published(store)
    clock.day = 2
    assert retire(store.of("ann"), FILMS) == 0
    assert store.of("ann").persona("films") == first


def test_what_was_retired_still_rests_on_what_it_was_made_of(store, clock):
    published(store, Item("habit", "watches at night", support=("i1", "i2")))
    clock.day = 2
    retire(store.of("ann"), FILMS)
    assert len(erase(store, "ann", ids=["i0"]).personas) == 2
