"""Repetitions, sources and days: none of them decides alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import Interaction
from personaagent.data.influence import (
    capped,
    consolidated,
    corroborated,
    faded,
    strength,
    weighed,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def one(n: int, query: str = "", response: str = "yes", **fields) -> Interaction:
    plain = {"time": NOON + timedelta(days=n)} | fields
    return Interaction(f"i{n}", "ann", "films", query or f"film {n}", response, **plain)


weights = st.floats(0.01, 100)
histories = st.lists(
    st.tuples(st.sampled_from(["a", "A ", "b"]), st.sampled_from(["yes", "no"]), weights),
    max_size=12,
).map(lambda drawn: [one(n, q, r, weight=w) for n, (q, r, w) in enumerate(drawn)])


@given(st.lists(weights, min_size=1, max_size=20), weights)
def test_repetition_strengthens_and_does_not_multiply(given, another):
    before = strength(given)
    assert max(given) <= before * (1 + 1e-9)
    assert before <= sum(given) * (1 + 1e-9)
    assert before * (1 - 1e-9) <= strength([*given, another])


def test_ten_repetitions_weigh_about_three():
    assert strength([1.0]) == 1.0
    assert strength([1.0] * 10) == pytest.approx(3.3, abs=0.01)


@given(histories)
def test_consolidating_keeps_what_was_said_once_each_and_is_done_once(history):
    merged = consolidated(history)
    assert consolidated(merged) == merged
    said = [(one.query.strip().lower(), one.response) for one in history]
    assert sorted((one.query.strip().lower(), one.response) for one in merged) == sorted(set(said))
    assert [one.id for one in merged] == sorted(
        (one.id for one in merged), key=lambda id: int(id[1:])
    )


@given(histories)
def test_votes_and_learning_agree_on_what_repetitions_weigh(history):
    voted = {}
    for vote in weighed(history, lambda one: 1.0):
        key = (vote.query.strip().lower(), vote.response)
        voted[key] = voted.get(key, 0.0) + vote.weight
    learned = {
        (one.query.strip().lower(), one.response): one.weight for one in consolidated(history)
    }
    assert voted == pytest.approx(learned)


def test_the_same_words_of_another_task_are_no_repetition():
    books = Interaction("i9", "ann", "books", "film 1", "yes")
    assert len(consolidated([one(1), books])) == 2


def test_one_day_that_floods_a_history_is_thinned():
    days = [one(n) for n in range(20)]
    flood = [one(100 + n, time=NOON + timedelta(days=30, minutes=n)) for n in range(40)]
    kept = capped([*days, *flood])
    assert [one for one in kept if one in days] == days
    assert len(kept) - len(days) == 20  # a third of sixty


def test_one_source_that_floods_a_history_is_thinned_and_the_users_acts_are_not():
    acts = [one(n) for n in range(60)]
    given = [one(100 + n, source="crm") for n in range(100)]
    kept = capped([*acts, *given])
    assert [one for one in kept if one.source == "user"] == acts
    assert sum(one.source == "crm" for one in kept) == 80


@pytest.mark.parametrize(
    "history",
    [
        [one(n, time=NOON + timedelta(minutes=n)) for n in range(40)],
        [one(n, source="crm") for n in range(40)],
        [one(n, time=datetime(2019 + n // 30, 1, 1, tzinfo=UTC)) for n in range(40)],
        [one(n, time=None) for n in range(40)],
        [one(n, time=NOON + timedelta(days=n // 8)) for n in range(16)],
    ],
    ids=["one day", "one source", "years", "no times", "small days"],
)
def test_nothing_is_thinned_that_crowds_out_nobody(history):
    assert capped(history) == history


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 10))
def test_no_day_has_more_than_its_share(days, least):
    history = [
        one(n, time=NOON + timedelta(days=day, minutes=n)) for n, day in enumerate(sorted(days))
    ]
    kept = capped(history, least=least)
    assert [one for one in history if one in kept] == kept
    if len(set(days)) > 1:
        counts = [
            sum(one.time.date() == day for one in kept) for day in {o.time.date() for o in kept}
        ]
        assert max(counts) <= max(least, len(history) / 3)
        assert len(counts) == len(set(days))


def test_what_contradicts_older_evidence_needs_two_days_or_two_sources():
    old = one(0, response="no")
    today = [one(9, time=NOON + timedelta(days=9, minutes=n)) for n in range(4)]
    assert not corroborated([old, *today], "yes")
    assert corroborated([old, *today, one(10)], "yes")
    assert corroborated([old, *today[:3], one(9, source="feedback")], "yes")
    assert corroborated(today, "yes")  # nothing speaks against it
    assert corroborated([*today, one(20, response="no")], "yes")  # nothing older does


def test_what_is_older_than_a_change_halves_with_every_half_life():
    assert [faded(n, 5.0) for n in (0, 5, 10)] == [1.0, 0.5, 0.25]
