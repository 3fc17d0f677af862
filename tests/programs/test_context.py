"""Prompts that are too long for the LM: the oldest memories go first, and it is said."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import Action, Interaction
from personaagent.lm.model import ContextError
from personaagent.memory import Memory
from personaagent.programs.tools import Observation, within_context


def memory(day: int | None) -> Memory:
    time = None if day is None else datetime(2026, 1, day, tzinfo=UTC)
    name = f"day {day}"
    return Memory(Interaction(name, "ann", "inbox", name, "work", time=time), 0.5)


def recalled(*days: int | None) -> Observation:
    memories = tuple(memory(day) for day in days)
    text = "\n".join(one.interaction.query for one in reversed(memories))
    return Observation(Action("recall"), text, memories)


def fitting(lines: int):
    """An answer where so many lines fit."""

    def answer(seen):
        shown = [line for one in seen for line in one.text.split("\n") if line]
        if len(shown) > lines:
            raise ContextError("too long")
        return dspy.Prediction(answer=shown)

    return answer


def test_the_oldest_half_is_left_out_until_it_fits_and_it_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        said, shown = within_context(fitting(2), [recalled(3, 1, 4, 2)])
    assert said.answer == ["day 4", "day 3"]  # as they stood: the best one last
    assert [one.interaction.query for one in shown[0].memories] == ["day 3", "day 4"]
    assert "2 of 4 memories are shown" in caplog.text


def test_a_memory_without_a_time_counts_as_the_oldest():
    _, shown = within_context(fitting(1), [recalled(None, 1)])
    assert [one.interaction.query for one in shown[0].memories] == ["day 1"]


def test_what_does_not_fit_without_memories_is_an_error():
    with pytest.raises(ContextError):
        within_context(fitting(-1), [recalled(1, 2), Observation(Action("wikipedia"), "fact")])


@given(st.lists(st.integers(1, 28), max_size=12, unique=True), st.integers(0, 12))
def test_nothing_newer_is_left_out_before_something_older(days, room):
    said, shown = within_context(fitting(room), [recalled(*days)])
    kept = {one.interaction.query for one in shown[0].memories}
    assert len(kept) <= room
    left = [day for day in days if f"day {day}" not in kept]
    assert all(day > max(left, default=0) for day in days if f"day {day}" in kept)
    assert set(said.answer) == kept
