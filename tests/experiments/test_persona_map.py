"""The persona map: similarities, their correlation, and their projection."""

from __future__ import annotations

import json

import numpy as np
import pytest
from contest import inbox, world
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from personaagent.data import Query
from personaagent.errors import DataError
from personaagent.experiments.cohort import EvaluationData, Sample, half_of
from personaagent.experiments.lineup import entrants
from personaagent.experiments.persona_map import PersonaMap, mantel, nearest, projection, survey

DICE = np.random.default_rng(0)
HISTORIES = DICE.normal(size=(12, 8))
NAMES = [f"user {n}" for n in range(12)]


def mapped(personas, histories=HISTORIES):
    count = len(personas)
    return PersonaMap.of(NAMES[:count], [""] * count, personas, histories[:count])


def test_similarities_are_cosines():
    found = mapped(HISTORIES * 3)
    assert found.histories == pytest.approx(cosine_similarity(HISTORIES))
    assert found.personas == pytest.approx(found.histories)


def test_a_user_without_a_history_is_like_nobody():
    empty = np.vstack([np.zeros(8), HISTORIES[1:]])
    found = mapped(HISTORIES, empty)
    assert found.histories[0].tolist() == [1.0] + [0.0] * 11


def test_personas_that_follow_histories_correlate_with_them():
    found = mapped(HISTORIES + 0.3 * DICE.normal(size=HISTORIES.shape)).mantel
    assert found.r > 0.7
    assert found.p < 0.01


def test_personas_that_do_not_are_seldom_said_to():
    pairs = DICE.normal(size=(40, 2, 10, 6))
    ps = [mantel(a @ a.T, b @ b.T, permutations=199).p for a, b in pairs]
    assert sum(p < 0.05 for p in ps) <= 6
    assert np.mean(ps) == pytest.approx(0.5, abs=0.15)


def test_mantels_r_is_the_correlation_of_the_pairs():
    found = mapped(DICE.normal(size=(12, 8)))
    above = np.triu_indices(12, 1)
    expected = np.corrcoef(found.personas[above], found.histories[above])[0, 1]
    assert found.mantel.r == pytest.approx(expected)


@pytest.mark.parametrize("personas", [np.ones((12, 8)), HISTORIES[:3]])
def test_too_few_or_uniform_users_have_no_correlation(personas):
    assert mapped(personas).mantel is None


def test_the_projection_is_that_of_principal_components():
    vectors = HISTORIES / np.linalg.norm(HISTORIES, axis=1, keepdims=True)
    points, shares = projection(vectors @ vectors.T)
    reference = PCA(2).fit(vectors)
    assert np.abs(points) == pytest.approx(np.abs(reference.transform(vectors)))
    assert shares == pytest.approx(tuple(reference.explained_variance_ratio_))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_users_can_be_projected(count):
    points, shares = projection(np.eye(count))
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert 0 <= sum(shares) <= 1 + 1e-9


def test_the_nearest_is_somebody_else():
    alike = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.5], [0.1, 0.5, 1.0]])
    assert nearest(alike).tolist() == [1, 0, 1]
    assert PersonaMap(("a", "b", "c"), ("",) * 3, alike, alike).agreement == 1


def test_equal_personas_count_as_one():
    assert mapped(np.vstack([HISTORIES[:6], HISTORIES[:6]])).distinct == 6


def test_a_map_comes_back_from_json():
    found = mapped(DICE.normal(size=(12, 8)))
    again = PersonaMap.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.personas == pytest.approx(found.personas, abs=1e-4)
    assert again.to_dict() == found.to_dict()
    assert again.users == tuple(NAMES)


def test_a_survey_finds_who_has_the_same_habits(tmp_path):
    with world(tmp_path, inbox(["ann", "bob", "cem"])) as here:
        experiment = here.experiment(entrants(["personaagent"]))
        experiment()
        asked = len(here.book.asked)
        found = survey(experiment)
        assert len(here.book.asked) == asked  # the personas are there already
    assert found.users == ("ann", "bob", "cem")
    assert set(found.groups) == {"travel"}
    assert found.histories.min() > 0.9


def test_one_user_makes_no_map(tmp_path):
    with world(tmp_path, inbox(["ann"], questions=1, history=3)) as here:
        assert survey(here.experiment(entrants(["personaagent"]))) is None


def data_of(owners):
    """Two questions of an owner are two users of the store, as in LaMP's files without times."""
    samples = [Sample(Query(f"q{n}", f"{o}/{n % 2}", "t", "?"), o) for n, o in enumerate(owners)]
    return EvaluationData(inbox().task, "data", "d", tuple(samples), lambda _: iter(()))


@settings(max_examples=60)
@given(st.lists(st.sampled_from("abcdefghijklmn"), min_size=2).filter(lambda o: len(set(o)) > 1))
def test_everyone_gets_the_persona_of_somebody_else(owners):
    data = data_of(owners)
    owner_of = {one.query.user: one.owner for one in data.samples}
    found = {owner_of[user]: owner_of[other] for user, other in data.strangers.items()}
    assert set(found) == set(owners)
    assert sorted(found.values()) == sorted(set(owners))  # a derangement
    assert all(user != other for user, other in found.items())
    halves = [{o for o in owners if half_of(o) == half} for half in ("dev", "report")]
    if all(len(half) != 1 for half in halves):
        assert all(half_of(user) == half_of(other) for user, other in found.items())


def test_a_stranger_hangs_on_the_data_alone():
    one, other = (
        {user[0]: stranger[0] for user, stranger in data_of(owners).strangers.items()}
        for owners in ("abcdef", "fdbaceab")
    )
    assert one == other


def test_nobody_is_a_stranger_to_oneself():
    with pytest.raises(DataError, match="cannot be swapped"):
        _ = data_of("aaa").strangers
