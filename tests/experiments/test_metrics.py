"""Metrics against scikit-learn and the official definitions, on random inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, root_mean_squared_error

from personaagent.data import LAMP_TASKS, Classification, Rating, Text
from personaagent.errors import DataError
from personaagent.experiments.metrics import error, loss, metrics, metrics_of, statistics, values

LABELS = ("one", "two", "three", "four")
TASK = Classification("t", "Which?", labels=LABELS)
STARS = Rating("s", "How many?")
labelled = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, "none of them", ""])),
    min_size=1,
    max_size=30,
)
rated = st.lists(st.tuples(st.integers(1, 5), st.integers(-3, 9)), min_size=1, max_size=30)


@given(labelled)
def test_labels_are_scored_as_scikit_learn_does(pairs):
    golds, answers = zip(*pairs, strict=True)
    found = metrics(TASK, golds, answers)
    assert found["accuracy"] == pytest.approx(accuracy_score(golds, answers))
    assert found["f1"] == pytest.approx(
        f1_score(golds, answers, labels=LABELS, average="macro", zero_division=0)
    )


@given(rated)
def test_ratings_are_scored_as_scikit_learn_does(pairs):
    golds, answers = zip(*pairs, strict=True)
    found = metrics(STARS, [str(one) for one in golds], [str(one) for one in answers])
    assert found["mae"] == pytest.approx(mean_absolute_error(golds, answers))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(golds, answers))


@given(labelled, st.data())
def test_weights_are_repetitions(pairs, data):
    golds, answers = zip(*pairs, strict=True)
    counts = data.draw(
        st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs)).filter(any)
    )
    repeated = [pair for pair, n in zip(pairs, counts, strict=True) for _ in range(n)]
    again = metrics(TASK, *zip(*repeated, strict=True))
    for name, statistic in statistics(TASK, golds, answers).items():
        assert statistic(np.array([counts], float))[0] == pytest.approx(again[name])


@pytest.mark.parametrize(("gold", "worst"), [("1", 4), ("2", 3), ("3", 2), ("4", 3), ("5", 4)])
@pytest.mark.parametrize("answer", ["", "great", "nan", "inf", "4 stars"])
def test_what_is_no_rating_is_as_wrong_as_can_be(gold, worst, answer):
    assert error(STARS, gold, answer) == worst


def test_a_rating_may_be_written_with_a_point():
    assert error(STARS, "4", " 4.0 ") == 0


def test_answers_are_stripped_and_otherwise_compared_exactly():
    assert metrics(TASK, ["one", "one"], [" one\n", "One"])["accuracy"] == 0.5


def test_a_class_that_nobody_names_counts_zero():
    assert metrics(TASK, ["one"], ["one"])["f1"] == 0.25


def test_texts_are_scored_by_rouge():
    found = metrics(LAMP_TASKS["lamp-4"], ["the cat sat down", "a b"], ["the cat ran", "c d"])
    assert found["rouge_1"] == pytest.approx(2 * 2 / 7 / 2)
    assert found["rouge_l"] == pytest.approx(2 * 2 / 7 / 2)


def test_words_are_not_stemmed():
    assert metrics(Text("t", "Write."), ["running"], ["run"])["rouge_1"] == 0


@given(labelled)
def test_the_first_metric_is_the_mean_of_the_samples_values(pairs):
    golds, answers = zip(*pairs, strict=True)
    first = metrics_of(TASK)[0].name
    assert values(TASK, golds, answers).mean() == pytest.approx(
        metrics(TASK, golds, answers)[first]
    )


def test_a_loss_is_finite_and_falls_with_the_likelihood():
    certain, half, never = ({"one": p, "two": 1 - p} for p in (1.0, 0.5, 0.0))
    losses = [loss(TASK, "one", "one", one) for one in (certain, half, never)]
    assert losses == sorted(losses)
    assert losses[0] == 0
    assert math.isfinite(losses[2])
    assert loss(TASK, "one", "two") == 1
    assert loss(STARS, "1", "3") == 0.5


def test_nothing_cannot_be_scored():
    with pytest.raises(DataError):
        metrics(TASK, [], [])
