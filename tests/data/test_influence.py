"""Repetitions, sources and days: none of them decides alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import Interaction
from personaagent.data.influence import (
    NOWHERE,
    balanced,
    by_day,
    capped,
    consolidated,
    corroborated,
    crowding,
    faded,
    latest_first,
    spread,
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


def test_a_day_that_is_most_of_the_support_does_not_overturn_what_was_known():
    old = [one(n, response="no") for n in range(3)]
    today = [one(9, time=NOON + timedelta(days=9, minutes=n)) for n in range(6)]
    assert not corroborated([*old, *today, one(4)], "yes")
    assert corroborated([*old, *today, one(4), one(5), one(6)], "yes")


@given(st.integers(0, 6), st.integers(2, 8))
def test_who_writes_once_a_day_changes_a_habit_by_majority(against, more):
    old = [one(n, response="no") for n in range(against)]
    assert corroborated([*old, *(one(20 + n) for n in range(against + more))], "yes")


rankings = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40).map(
    lambda drawn: np.array(sorted(drawn, reverse=True))
)


@given(rankings, st.integers(1, 40), st.data())
def test_what_is_recalled_is_in_order_and_as_much_as_asked_for(scores, k, data):
    n = len(scores)
    k = min(k, n)
    origins = st.lists(st.sampled_from([NOWHERE, 1, 2, 3]), min_size=n, max_size=n)
    crowd = crowding(np.array(data.draw(origins)), np.array(data.draw(origins)), k)
    places = spread(scores, crowd, k)
    assert len(places) == k
    assert list(places) == sorted(set(places))
    passed_over = [at for at in range(n) if at not in places and at < max(places)]
    assert all(crowd[at] for at in passed_over)  # only what crowds gives way


@given(rankings, st.integers(1, 40), st.sampled_from([NOWHERE, 7]))
def test_what_has_no_day_and_what_is_of_one_day_crowds_out_nobody(scores, k, day):
    k = min(k, len(scores))
    nowhere = np.full(len(scores), NOWHERE)
    crowd = crowding(np.full(len(scores), day), nowhere, k)
    assert list(spread(scores, crowd, k)) == list(range(k))
    assert day != NOWHERE or not crowd.any()


def test_a_flooded_day_gives_way_to_what_is_about_as_near_only():
    near, far = [0.8, 0.79, 0.78, 0.75, 0.7, 0.65, 0.6], [0.2, 0.15, 0.1, 0.1, 0.1, 0.1]
    scores = np.array([*near, *far])
    nowhere = np.full(len(scores), NOWHERE)
    flooded = np.array([1, 1, 1, 1, 2, 3, 4, *range(5, 11)])
    assert list(spread(scores, crowding(flooded, nowhere, 4), 4)) == [0, 4, 5, 6]
    once = np.array([1, 5, 6, 7, 2, 3, 4, *range(8, 14)])
    assert list(spread(scores, crowding(once, nowhere, 4), 4)) == [0, 1, 2, 3]
    near, others = np.array([1, 1, 1, 2, 3, 4, 5]), np.full(7, NOWHERE)
    assert list(spread(scores[:7], crowding(near, others, 4), 4)) == [3, 4, 5, 6]
    one_day = np.array([1] * 7 + list(range(5, 11)))  # what else there is, is of something else
    assert list(spread(scores, crowding(one_day, nowhere, 4), 4)) == [0, 1, 2, 3]


dated = st.lists(st.sampled_from([None, 0, 0, 1, 2]), max_size=20).map(
    lambda days: [
        one(n, time=None if day is None else NOON + timedelta(days=day))
        for n, day in enumerate(days)
    ]
)


@given(dated)
def test_a_day_is_together_and_what_has_no_moment_is_alone(history):
    days = by_day(history)
    assert sorted(one.id for day in days for one in day) == sorted(one.id for one in history)
    for day in days:
        assert len({one.time for one in day}) == 1
        assert day[0].time is not None or len(day) == 1
    assert len({day[0].time for day in days if day[0].time}) == sum(
        day[0].time is not None for day in days
    )


@given(dated, st.integers(1, 5))
def test_of_a_day_only_its_latest_come_before_all_others(history, most):
    turns = latest_first(history, most)
    assert sorted(one.id for one in turns) == sorted(one.id for one in history)
    newest = history[::-1]
    first = [one for one in newest if _later(one, history) < most]
    assert turns == [*first, *(one for one in newest if one not in first)]


def _later(one, history):
    """How many of the same day come after."""
    day = [other for other in history if other.time == one.time] if one.time else [one]
    return len(day) - 1 - day.index(one)


ballots = st.lists(
    st.tuples(
        st.floats(0.01, 2),
        st.integers(0, 4),
        st.sampled_from(["yes", "no", "so"]),
        st.sampled_from(["user", "crm", "feedback"]),
    ),
    min_size=1,
    max_size=20,
)


def cast(drawn, time) -> tuple[list[float], list[Interaction]]:
    return [vote for vote, *_ in drawn], [
        one(n, response=response, source=source, time=time(n, day))
        for n, (_, day, response, source) in enumerate(drawn)
    ]


@given(ballots)
def test_votes_are_only_ever_lowered_and_one_always_counts(drawn):
    votes, voters = cast(drawn, lambda n, day: NOON + timedelta(days=day, minutes=n))
    fair = balanced(votes, voters)
    assert all(0 < after <= before * (1 + 1e-9) for after, before in zip(fair, votes, strict=True))
    first = [at for at, one in enumerate(voters) if one.time.day == min(v.time.day for v in voters)]
    if all(one.source == "user" for one in voters):
        assert [fair[at] for at in first] == [votes[at] for at in first]


@given(ballots, st.booleans())
def test_votes_of_histories_without_moments_stay_bit_for_bit(drawn, undated):
    years = [datetime(2015 + n, 1, 1, tzinfo=UTC) for n in range(5)]
    votes, voters = cast(drawn, lambda n, day: None if undated else years[day])
    assert balanced(votes, voters) == votes


def test_one_day_has_a_third_of_the_votes_where_it_contradicts_older_ones():
    old = [one(n, response="no") for n in range(6)]
    flood = [one(50 + n, time=NOON + timedelta(days=9, minutes=n)) for n in range(12)]
    fair = balanced([1.0] * 18, [*old, *flood])
    assert fair[:6] == [1.0] * 6
    assert sum(fair[6:]) == pytest.approx(3.0)


def test_one_source_has_half_of_the_votes_where_it_contradicts_older_ones():
    old = [one(n, response="no") for n in range(4)]
    crm = [one(50 + n, source="crm") for n in range(12)]
    assert sum(balanced([1.0] * 16, [*old, *crm])[4:]) == pytest.approx(4.0)
    acts = [one(50 + n) for n in range(12)]
    assert balanced([1.0] * 16, [*old, *acts]) == [1.0] * 16


def test_a_subject_that_came_up_on_one_day_keeps_its_votes():
    old = [one(n, response="no") for n in range(6)]
    burst = [one(50 + n, time=NOON + timedelta(days=9, minutes=n)) for n in range(5)]
    far_and_near = [0.01] * 6 + [1.0] * 5
    assert balanced(far_and_near, [*old, *burst]) == far_and_near
    agreed = [one(n) for n in range(6)]
    assert balanced([1.0] * 11, [*agreed, *burst]) == [1.0] * 11
    earlier = [one(n - 50, time=NOON - timedelta(days=9, minutes=n)) for n in range(5)]
    assert balanced([1.0] * 11, [*old, *earlier]) == [1.0] * 11  # what is newer is not older
