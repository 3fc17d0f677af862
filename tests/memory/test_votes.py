"""Recalled interactions carry the weights of their votes."""

from __future__ import annotations

from pathlib import Path

import pytest
from standins import HashEmbedder
from worlds import interaction

from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.habit_change import forget_turn, save_turn, turn_of


@pytest.fixture
def memory(tmp_path: Path):
    with Store(tmp_path / "memory.db") as store:
        yield EpisodicMemory(store, HashEmbedder())


def weights(memory, **options):
    found = memory.recall("ann", "film", 20, task="films", **options)
    return {one.interaction.id: one.interaction.weight for one in found}


def test_a_source_that_is_trusted_less_votes_less(memory):
    memory.add([interaction(1), interaction(2, source="derived", weight=2.0)])
    assert weights(memory) == pytest.approx({"i1": 1.0, "i2": 0.6})
    assert memory.store.of("ann").get(["i2"])[0].weight == 2.0  # what is stored stays


def test_repetitions_share_a_vote(memory):
    memory.add([interaction(n, query="film one") for n in range(10)])
    assert sum(weights(memory).values()) == pytest.approx(3.3, abs=0.01)


def test_after_a_turn_what_is_older_fades_with_every_interaction(memory):
    memory.add([interaction(n) for n in range(6)])
    save_turn(memory.store.of("ann"), "films", "i4", 2.0)
    assert weights(memory) == pytest.approx({f"i{n}": 1.0 if n >= 4 else 0.5 for n in range(6)})
    memory.add([interaction(n) for n in (6, 7)])
    assert weights(memory)["i0"] == pytest.approx(0.25)
    forget_turn(memory.store.of("ann"), "films")
    assert set(weights(memory).values()) == {1.0}


def test_a_turn_is_unknown_before_it_happened(memory):
    memory.add([interaction(n) for n in range(6)])
    save_turn(memory.store.of("ann"), "films", "i4", 1.0)
    before = interaction(4).time
    assert set(weights(memory, before=before).values()) == {1.0}


def test_what_has_no_time_is_before_every_turn(memory):
    memory.add([interaction(0, time=None), interaction(1, time=None), interaction(2)])
    save_turn(memory.store.of("ann"), "films", "i1", 1.0)
    assert weights(memory) == pytest.approx({"i0": 0.25, "i1": 1.0, "i2": 1.0})


def test_a_turn_belongs_to_its_user_and_task(memory):
    memory.add([interaction(1), interaction(1, user="bob"), interaction(2, task="books")])
    save_turn(memory.store.of("bob"), "films", "i1", 1.0)
    assert turn_of(memory.store.of("ann"), "films") is None
    assert turn_of(memory.store.of("bob"), "books") is None
    turn = turn_of(memory.store.of("bob"), "films")
    assert turn is not None
    assert (turn.since, turn.half_life) == ("i1", 1.0)
