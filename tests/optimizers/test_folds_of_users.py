"""How sure a mean is, and when one is worse than another."""

from __future__ import annotations

import math
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaagent.optimizers.crossval import no_worse, standard_error

values = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


def apart(some):
    return [str(n) for n in range(len(some))]


@given(values)
def test_the_error_of_single_values_is_the_textbooks(some):
    expected = stdev(some) / math.sqrt(len(some))
    assert standard_error(some, apart(some)) == pytest.approx(expected, abs=1e-9)


@given(values)
def test_values_that_a_user_repeats_make_nothing_surer(some):
    often = [value for value in some for _ in range(4)]
    users = [user for user in apart(some) for _ in range(4)]
    once = standard_error(some, apart(some))
    assert standard_error(often, users) == pytest.approx(once, abs=1e-9)


def test_worse_is_what_loses_by_more_than_an_error():
    least = [0.0] * 4
    assert no_worse([0.0, 0.0, 0.0, 1.0], least, apart(least))
    assert not no_worse([1.0, 1.0, 0.0, 0.0], least, apart(least))
    assert no_worse([1.0, 1.0, 0.0, 0.0], least, ["ann", "ann", "bob", "bob"])
