"""Intervals, tests and corrections keep their promises on random inputs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from personaagent.data import Classification, Rating
from personaagent.experiments.comparison import compare
from personaagent.experiments.formatting import could_have_shown
from personaagent.experiments.metrics import statistics, widest
from personaagent.experiments.results import Row
from personaagent.experiments.statistics import (
    difference,
    holm,
    interval,
    mcnemar,
    resamples,
    smallest_effect,
)

TASK = Classification("t", "Which?", labels=("a", "b", "c"))
STARS = Rating("s", "How many?")
answers = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from("abc"), st.sampled_from("abcx")),
    min_size=1,
    max_size=20,
)
rights = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40)
ps = st.lists(st.floats(0, 1), max_size=12)


@given(answers)
def test_an_interval_holds_its_value(triples):
    users, golds, said = zip(*triples, strict=True)
    weights = resamples(users, count=50)
    for statistic in statistics(TASK, golds, said).values():
        found = interval(statistic, weights)
        assert 0 <= found.low <= found.value <= found.high <= 1 + 1e-9


def test_a_users_samples_are_drawn_together():
    weights = resamples(["ann", "bob", "ann", "cat"], count=200)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 3] == 3).all()
    assert (weights == resamples(["ann", "bob", "ann", "cat"], count=200)).all()


def test_alike_samples_of_a_user_make_the_interval_wider():
    golds, said = ["a"] * 40, ["a"] * 20 + ["b"] * 20
    (accuracy, _) = statistics(TASK, golds, said).values()
    alone = interval(accuracy, resamples([str(n) for n in range(40)]))
    pairs = interval(accuracy, resamples([str(n // 4) for n in range(40)]))
    assert pairs.high - pairs.low > 1.5 * (alone.high - alone.low)


def test_an_interval_has_about_the_width_of_theory():
    golds, said = ["a"] * 100, ["a"] * 50 + ["b"] * 50
    found = interval(
        statistics(TASK, golds, said)["accuracy"], resamples(list(map(str, range(100))))
    )
    assert found.low == pytest.approx(0.5 - 0.098, abs=0.015)
    assert found.high == pytest.approx(0.5 + 0.098, abs=0.015)


def apart(count):
    return [str(n) for n in range(count)]


@given(rights)
def test_mcnemar_of_single_samples_is_the_textbooks(pairs):
    ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    only_ours, only_theirs = pairs.count((True, False)), pairs.count((False, True))
    found = mcnemar(ours, theirs, apart(len(pairs)))
    if only_ours + only_theirs:
        assert found == pytest.approx(binomtest(only_ours, only_ours + only_theirs).pvalue)
    else:
        assert found == 1
    assert found == mcnemar(theirs, ours, apart(len(pairs)))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abcde")), max_size=25))
def test_mcnemar_of_several_samples_turns_every_user_round(triples):
    """Against all 2 ** users ways to turn users' balances round."""
    ours, theirs, users = ([one[at] for one in triples] for at in range(3))
    balances = [sum(a - b for a, b, user in triples if user == name) for name in "abcde"]
    sums = [abs(np.dot(signs, balances)) for signs in itertools.product((-1, 1), repeat=5)]
    assert mcnemar(ours, theirs, users) == pytest.approx(np.mean(np.array(sums) >= sums[-1]))


def test_mcnemar_counts_discordant_users_only():
    assert mcnemar([True] * 30, [True] * 30, apart(30)) == 1
    assert mcnemar([True] * 6, [False] * 6, apart(6)) == pytest.approx(2 * 0.5**6)
    ours, theirs = [True] * 36, [True] * 30 + [False] * 6
    assert mcnemar(ours, theirs, apart(36)) == pytest.approx(2 * 0.5**6)
    assert mcnemar(ours, theirs, ["ann"] * 36) == 1


@given(ps)
def test_holm_never_lowers_and_keeps_the_order(given_ps):
    corrected = holm(given_ps)
    assert all(p <= after <= 1 for p, after in zip(given_ps, corrected, strict=True))
    order = np.argsort(given_ps, kind="stable")
    ordered = [corrected[at] for at in order]
    assert ordered == sorted(ordered)


def test_holm_is_the_textbooks():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_paired_bootstrap_finds_a_clear_difference_and_no_other():
    golds = ["3"] * 60
    weights = resamples([str(n) for n in range(60)])
    ours = statistics(STARS, golds, ["3"] * 50 + ["4"] * 10)["mae"]
    theirs = statistics(STARS, golds, ["5"] * 50 + ["3"] * 10)["mae"]
    found = difference(ours, theirs, weights, users=60)
    assert found.value == pytest.approx(-1.5)
    assert found.low <= found.value <= found.high < 0
    assert found.p < 0.01
    same = difference(ours, ours, weights, users=60)
    assert (same.value, same.p) == (0, 1)


def test_a_handful_of_users_can_show_little():
    golds = ["3"] * 60
    weights = resamples([str(n % 3) for n in range(60)])
    ours, theirs = (statistics(STARS, golds, [said] * 60)["mae"] for said in ("3", "5"))
    assert difference(ours, theirs, weights, users=3).p == 0.25


@given(answers)
def test_a_difference_turned_round_has_the_same_p(triples):
    users, golds, said = zip(*triples, strict=True)
    weights = resamples(users, count=50)
    ours = statistics(TASK, golds, said)["accuracy"]
    theirs = statistics(TASK, golds, golds[::-1])["accuracy"]
    one = difference(ours, theirs, weights, users=3)
    other = difference(theirs, ours, weights, users=3)
    assert one.p == other.p
    assert one.value == pytest.approx(-other.value)


@pytest.mark.parametrize(
    ("task", "answers", "smallest"),
    [
        (TASK, ["b", "a", "a", "b"], None),  # McNemar's test finds nothing in four samples
        (TASK, ["a"] * 20, 6 / 20),
        (STARS, ["5", "1"], None),  # two samples, each wrong by all that there is
    ],
)
def test_no_difference_is_said_to_be_found_that_is_larger_than_there_can_be(
    task, answers, smallest
):
    right = answers[0] if task is STARS else "a"
    ours, theirs = (
        [
            Row("r", "s", str(n), str(n), *pair)
            for n, pair in enumerate(zip([right] * len(some), some, strict=True))
        ]
        for some in (answers, answers[::-1] if task is STARS else [right] * len(answers))
    )
    found = compare(task, "other", ours, theirs)
    assert found.smallest == pytest.approx(smallest)
    too_few = f"{len(answers)} samples are too few to show any difference"
    assert (widest(TASK), widest(STARS)) == (1, 4)
    assert (could_have_shown(found) == too_few) == (smallest is None)


def test_few_samples_could_have_shown_large_effects_only():
    assert smallest_effect(0.0, 40, labels=True) == 6 / 40
    assert smallest_effect(0.1, 40, labels=True) == pytest.approx(0.28, abs=0.01)
    assert smallest_effect(0.1, 40, labels=False) == pytest.approx(0.28, abs=0.01)
    assert smallest_effect(0.01, 40, labels=False) == pytest.approx(0.028, abs=0.001)
