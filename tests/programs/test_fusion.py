"""The fused answer and its weights."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import FusionWeights
from personaagent.programs.fusion import fit_trust, fuse

LABELS = ("work", "family", "travel")
shares = st.lists(st.floats(1e-9, 1), min_size=3, max_size=3).map(
    lambda w: {label: x / sum(w) for label, x in zip(LABELS, w, strict=True)}
)
trusts = st.builds(FusionWeights, st.floats(0, 2), st.floats(0, 2))
truths = st.sampled_from(LABELS)


def loss(replayed, trust):
    return sum(-math.log(fuse(lm, habit, trust)[true]) for lm, habit, true in replayed)


@given(shares, st.none() | shares, trusts)
def test_the_fused_answer_is_a_distribution_over_the_same_labels(lm, habit, trust):
    fused = fuse(lm, habit, trust)
    assert list(fused) == list(lm)
    assert sum(fused.values()) == pytest.approx(1)
    assert all(0 <= p <= 1 for p in fused.values())


@given(shares, st.none() | shares)
def test_trust_of_one_and_zero_is_the_lm_alone(lm, habit):
    assert fuse(lm, habit, FusionWeights(1.0, 0.0)) == pytest.approx(lm)


@given(shares, shares)
def test_trust_of_zero_and_one_is_habit_alone(lm, habit):
    assert fuse(lm, habit, FusionWeights(0.0, 1.0)) == pytest.approx(habit)


@given(shares, shares, st.floats(0.1, 2))
def test_equal_trust_does_not_care_which_is_which(lm, habit, weight):
    both = FusionWeights(weight, weight)
    assert fuse(lm, habit, both) == pytest.approx(fuse(habit, lm, both))


@given(trusts)
def test_without_evidence_the_weights_stay_at_the_prior(prior):
    assert fit_trust([], prior) == prior


@given(st.lists(st.tuples(shares, st.none() | shares, truths), max_size=8), trusts)
def test_fitted_weights_are_never_worse_on_replay_than_the_prior(replayed, prior):
    assert loss(replayed, fit_trust(replayed, prior)) <= loss(replayed, prior) + 1e-9


@given(truths, truths, st.integers(6, 20))
def test_habit_is_trusted_when_it_is_right_and_the_lm_wrong(true, wrong, count):
    def sure(label):
        return {one: 0.9 if one == label else 0.05 for one in LABELS}

    prior = FusionWeights()
    fitted = fit_trust([(sure(wrong), sure(true), true)] * count, prior)
    if true == wrong:
        assert loss([(sure(wrong), sure(true), true)], fitted) <= 0.2
    else:
        assert fitted.habit > prior.habit
        assert fitted.lm < prior.lm
        fused = fuse(sure(wrong), sure(true), fitted)
        assert max(fused, key=fused.get) == true


@given(truths, st.integers(1, 20))
def test_habit_is_not_trusted_when_it_is_wrong(true, count):
    wrong = {one: 0.01 if one == true else 0.495 for one in LABELS}
    right = {one: 0.9 if one == true else 0.05 for one in LABELS}
    assert fit_trust([(right, wrong, true)] * count, FusionWeights()).habit == 0


def test_one_surprise_hardly_moves_trust():
    lm = {"work": 0.6, "family": 0.2, "travel": 0.2}
    habit = {"work": 0.3, "family": 0.4, "travel": 0.3}
    fitted = fit_trust([(lm, habit, "family")], FusionWeights())
    assert fitted.habit < 0.1
    fused = fuse(lm, habit, fitted)
    assert max(fused, key=fused.get) == "work"


@given(truths, truths, st.integers(20, 40))
def test_a_lean_corrects_a_label_that_the_lm_always_names(true, named, count):
    says = {one: 0.8 if one == named else 0.1 for one in LABELS}
    fitted = fit_trust([(says, None, true)] * count, FusionWeights(), lean=True)
    fused = fuse(says, None, fitted)
    assert max(fused, key=fused.get) == true
    assert not fit_trust([(says, None, true)] * count, FusionWeights()).lean


@given(st.lists(st.tuples(shares, st.none() | shares, truths), max_size=8), trusts)
def test_a_lean_stays_the_priors_unless_it_is_asked_for(replayed, prior):
    leaning = FusionWeights(prior.lm, prior.habit, {"work": 0.5})
    assert fit_trust(replayed, leaning).lean == leaning.lean
