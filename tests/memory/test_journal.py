from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personaagent.errors import DataError
from personaagent.memory import Store

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from("abc"), values), max_size=10))
def test_the_first_write_of_a_key_wins(
    new_database: Callable[[], str], writes: list[tuple[str, object]]
) -> None:
    with Store(new_database()) as store:
        journal = store.of("ann").journal("run")
        first: dict[str, object] = {}
        for key, value in writes:
            first.setdefault(key, value)
            assert journal.put(key, value) == first[key]
        assert {key: journal.get(key) for key in first} == first
        assert len(journal) == len(first)


def test_runs_and_users_do_not_see_each_others_journals(store: Store) -> None:
    store.of("ann").journal("one").put("key", 1)
    assert store.of("ann").journal("two").get("key") is None
    assert store.of("bob").journal("one").get("key") is None


def test_a_journal_is_true_before_its_first_entry(store: Store) -> None:
    assert store.of("ann").journal("run")


def test_clearing_forgets_one_run_only(store: Store) -> None:
    one, two = (store.of("ann").journal(run) for run in ("one", "two"))
    one.put("key", 1)
    two.put("key", 2)
    one.clear()
    assert (len(one), one.get("key"), two.get("key")) == (0, None, 2)


@pytest.mark.parametrize(
    ("prefix", "keys"),
    [
        ("", ["A/1", "a%b/1", "a/1", "a/2", "a_b/1", "axb/1"]),
        ("a/", ["a/1", "a/2"]),
        ("a%", ["a%b/1"]),
        ("a_b", ["a_b/1"]),
        ("nothing", []),
    ],
)
def test_entries_are_those_whose_key_starts_so_in_order(
    store: Store, prefix: str, keys: list[str]
) -> None:
    journal = store.of("ann").journal("run")
    for key in ("a/2", "a/1", "A/1", "axb/1", "a%b/1", "a_b/1"):
        journal.put(key, [key])
    store.of("bob").journal("run").put("a/3", 1)
    store.of("ann").journal("other").put("a/4", 1)
    assert list(journal.entries(prefix).items()) == [(key, [key]) for key in keys]


@pytest.mark.parametrize("value", [math.nan, object(), {1, 2}])
def test_what_is_not_json_is_refused(store: Store, value: object) -> None:
    with pytest.raises(DataError, match=r"key 'step'.*not a JSON value"):
        store.of("ann").journal("run").put("step", value)
