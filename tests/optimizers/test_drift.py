"""Change, oscillation and noise are told apart, and only a change is followed."""

from __future__ import annotations

import random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds_of_mail import INBOX, mail, remembering

from personaagent.data import Choice
from personaagent.memory.habit_change import turn_of
from personaagent.memory.queue import newest_of, note_alignment
from personaagent.memory.tasks import save_tasks
from personaagent.optimizers import HabitsChanged, follow, tell, watch
from personaagent.optimizers.drift import HALF_LIFE, SHORTEST

LOW, HIGH = 0.1, 0.9  # how often a known and an unknown habit surprise


def losses(dice, *parts):
    """(count, share of surprises) after one another."""
    return [
        2 + dice.random() if dice.random() < share else 0.3 * dice.random()
        for count, share in parts
        for _ in range(count)
    ]


def test_a_lasting_rise_is_a_change_and_its_place_is_found():
    dice = random.Random(1)
    found = [tell(losses(dice, (60, LOW), (30, HIGH))) for _ in range(30)]
    changes = [one for one in found if one.kind == "change"]
    assert len(changes) >= 28
    assert abs(median(one.at for one in changes) - 60) <= 2


def test_a_change_is_told_within_a_bounded_number_of_interactions():
    dice = random.Random(2)
    delays = []
    for _ in range(30):
        series = losses(dice, (60, LOW), (40, HIGH))
        told = (n for n in range(1, 41) if tell(series[: 60 + n]).kind == "change")
        delays.append(next(told, 99))
    assert median(delays) <= 8
    assert sum(delay <= 20 for delay in delays) >= 27


def test_noise_of_any_height_is_mostly_noise():
    dice = random.Random(3)
    for share in (0.0, 0.2, 0.5, 0.8):
        kinds = [tell(losses(dice, (90, share))).kind for _ in range(30)]
        assert kinds.count("noise") >= 27


def test_going_back_and_forth_is_no_change():
    dice = random.Random(4)
    parts = [(30, LOW), (20, HIGH), (20, LOW), (20, HIGH)]
    kinds = [tell(losses(dice, *parts)).kind for _ in range(30)]
    assert kinds.count("oscillation") >= 20


def test_what_has_passed_is_not_followed():
    dice = random.Random(5)
    assert tell(losses(dice, (40, 0.0), (20, 1.0), (40, 0.0))).kind == "noise"


@given(st.lists(st.floats(0, 50), max_size=60))
@settings(max_examples=60)
def test_any_series_gets_an_answer_that_lies_within_it(series):
    found = tell(series)
    assert (found.at is not None) == (found.kind == "change")
    assert found.at is None or SHORTEST <= found.at < len(series)


def histories(*habits):
    """Parts of 30 messages about a dog and a car, filed as each pair of habits says."""
    dice = random.Random(6)
    past = []
    for dog, car in habits:
        for _ in range(30):
            word, label = dice.choice([("dog", dog), ("car", car)])
            filler = dice.choice(["amber", "birch", "cedar"])
            past.append(mail(len(past), f"{word} {filler} {len(past)}", label))
    return past


ONE, OTHER = ("travel", "family"), ("work", "travel")


def test_a_change_of_habits_is_followed_and_the_old_ones_fade(tmp_path):
    past = histories(ONE, ONE, OTHER)
    with remembering(tmp_path, *past) as memory:
        assert follow(memory, INBOX, "ann").kind == "change"
        turn = turn_of(memory.store.of("ann"), "inbox")
        assert turn is not None
        assert abs(int(turn.since.split("-")[1]) - 60) <= 2
        votes = memory.recall("ann", "dog amber", 90, task="inbox")
        old = [one.interaction.weight for one in votes if one.interaction.time < past[55].time]
        assert max(old) <= 2 ** (-28 / HALF_LIFE)


def test_a_user_who_comes_back_forgets_nothing(tmp_path):
    past = histories(ONE, ONE, OTHER, ONE)
    with remembering(tmp_path, *past[:90]) as memory:
        follow(memory, INBOX, "ann")
        memory.add(past[90:])
        assert follow(memory, INBOX, "ann").kind == "oscillation"
        assert turn_of(memory.store.of("ann"), "inbox") is None


def test_a_second_change_is_followed_too(tmp_path):
    past = histories(ONE, ONE, OTHER, ("family", "work"))
    with remembering(tmp_path, *past[:90]) as memory:
        follow(memory, INBOX, "ann")
        memory.add(past[90:])
        assert follow(memory, INBOX, "ann").kind == "change"
        turn = turn_of(memory.store.of("ann"), "inbox")
        assert turn is not None
        assert abs(int(turn.since.split("-")[1]) - 90) <= 2


def test_a_change_makes_an_alignment_due_once(tmp_path):
    past = histories(ONE, ONE, OTHER)
    with remembering(tmp_path, *past[:60]) as memory:
        store = memory.store
        save_tasks(store, [INBOX])
        trigger = HabitsChanged(memory.embedder)
        assert list(trigger.due(store)) == []
        memory.add(past[60:])
        assert list(trigger.due(store)) == [("ann", "inbox")]
        assert list(trigger.due(store)) == []  # nothing new since it looked
        follow(memory, INBOX, "ann")
        with store.database.write() as connection:
            note_alignment(store, connection, "ann", "inbox", newest_of(store, "ann", "inbox"))
        assert list(HabitsChanged(memory.embedder).due(store)) == []


@pytest.mark.parametrize("habits", [(ONE,), (ONE, ONE, ONE)])
def test_a_user_who_stays_the_same_is_left_alone(tmp_path, habits):
    with remembering(tmp_path, *histories(*habits)) as memory:
        assert follow(memory, INBOX, "ann").kind == "noise"
        assert turn_of(memory.store.of("ann"), "inbox") is None


def test_options_that_differ_from_query_to_query_show_no_drift(tmp_path):
    pairs = Choice("inbox", "Which one?")
    with remembering(tmp_path, *[mail(n, f"{n}", "[1]") for n in range(40)]) as memory:
        assert watch(memory, pairs, "ann")[0].kind == "noise"
