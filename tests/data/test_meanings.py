"""What labels mean to a cohort, as a value."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from personaagent.data import FusionWeights, Meanings, Persona
from personaagent.errors import DataError

LABELS = ("work", "family", "travel")
weights = arrays.arrays(np.float64, (3, 5), elements=st.floats(-20, 20)).filter(
    lambda learned: np.abs(learned).max() > 1e-3
)
vectors = arrays.arrays(np.float32, 4, elements=st.floats(-1, 1, width=32))


@given(weights, vectors)
def test_a_byte_a_weight_is_enough(learned, vector):
    said = Meanings.of("space", LABELS, learned).likelihoods(vector)
    logits = learned @ np.append(vector, 1)
    assert sum(said.values()) == pytest.approx(1)
    assert tuple(said) == LABELS
    # rounding moves a logit by half a step for every weight at most
    off = np.abs(learned).max() / 127 / 2 * (np.abs(vector).sum() + 1)
    p = np.exp(logits - logits.max())
    ratio = np.array(list(said.values())) / (p / p.sum())
    assert np.all(ratio[p > 1e-30] == pytest.approx(1, rel=np.expm1(2 * off) + 1e-3))


def test_a_persona_carries_them_and_older_hashes_stay_valid():
    learned = Meanings.of("space", LABELS, np.eye(3, 5))
    plain, taught = (
        Persona("ann", "inbox", trust=FusionWeights(1, 1, {}, one)) for one in (None, learned)
    )
    assert "meanings" not in plain.to_dict()["trust"]
    assert taught.hash != plain.hash
    assert Persona.from_dict(json.loads(json.dumps(asdict(plain)))) == plain  # as logs have it
    again = Persona.from_dict(json.loads(json.dumps(taught.to_dict())))
    assert again == taught
    assert again.hash == taught.hash


@pytest.mark.parametrize(
    "wrong",
    [{"space": 1}, {"scale": "a"}, {"labels": []}, {"labels": {"work": 1}}, {"more": 1}],
)
def test_malformed_ones_are_refused(wrong):
    data = Persona("ann", "inbox", trust=FusionWeights(1, 1, {}, Meanings("s", 1.0, {}))).to_dict()
    data["trust"]["meanings"] |= wrong
    with pytest.raises(DataError, match="persona: malformed field"):
        Persona.from_dict(data)


@pytest.mark.parametrize(
    ("scale", "labels"),
    [
        (1.0, {"work": "no base64!"}),
        (1.0, {"work": "AAAA", "family": "AAA="}),
        (0.0, {"work": "AAAA"}),
        (float("nan"), {"work": "AAAA"}),
    ],
)
def test_weights_that_say_nothing_are_refused(scale, labels):
    with pytest.raises(DataError, match="meanings"):
        Meanings("space", scale, labels)


def test_vectors_of_another_length_are_refused():
    learned = Meanings.of("space", LABELS, np.eye(3, 5))
    with pytest.raises(DataError, match="weights of 5 numbers, not 7"):
        learned.likelihoods(np.ones(6, dtype=np.float32))
