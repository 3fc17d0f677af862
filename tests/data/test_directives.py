"""Merging and resolving directives."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import Directive, contradict, merge, net, resolve

CUES = ["dog", "car", "Dog", ""]
ids = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=4).map(tuple)


def rule(cue, answer="travel", support=(), oppose=(), reach=0.5):
    text = f"If the message mentions {cue}, answer {answer}."
    return Directive(text, cue, reach, tuple(support), tuple(oppose))


rules = st.builds(
    rule,
    st.sampled_from(CUES),
    st.sampled_from(["travel", "family"]),
    ids,
    ids,
    st.sampled_from([0.1, 0.3, 0.5]),
)
sides = st.lists(rules, max_size=5)


@given(sides, sides, sides)
def test_merging_is_commutative_associative_and_idempotent(a, b, c):
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge(a, b, c)
    assert merge(merge(a), merge(a)) == merge(a)


@given(sides, sides)
def test_merging_loses_no_directive_and_no_evidence_and_widens_no_reach(a, b):
    merged = {(one.cue, one.text): one for one in merge(a, b)}
    for one in (*a, *b):
        kept = merged[one.cue, one.text]
        assert {*one.support} <= {*kept.support}
        assert {*one.oppose} <= {*kept.oppose}
        assert kept.reach >= one.reach
    assert {(one.cue, one.text) for one in (*a, *b)} == set(merged)


@given(sides, sides, st.integers(0, 4), st.permutations("abcdefgh"))
def test_what_is_kept_does_not_depend_on_the_order_of_the_sides(a, b, cap, order):
    kept = resolve(merge(a, b), cap=cap, order=order)
    assert kept == resolve([*reversed(b), *a], cap=cap, order=order)
    assert kept == resolve(kept, cap=cap, order=order)


@given(sides, st.integers(0, 4))
def test_what_is_kept_is_within_the_cap_and_contradicts_nothing(a, cap):
    kept = resolve(a, cap=cap)
    assert len(kept) <= cap
    assert not any(contradict(one, two) for one, two in itertools.combinations(kept, 2))


@given(sides, st.integers(1, 4))
def test_nothing_is_dropped_that_is_better_supported_than_all_that_stays(a, cap):
    kept = resolve(a, cap=cap)
    best = max(map(net, merge(a)), default=None)
    assert not a or max(map(net, kept)) == best
    for one in merge(a):
        if one in kept:
            continue
        rivals = [better for better in kept if contradict(one, better)] or kept
        assert rivals is kept or max(map(net, rivals)) >= net(one)
        assert rivals is not kept or (len(kept) == cap and min(map(net, kept)) >= net(one))


def test_of_two_that_contradict_each_other_the_better_supported_stays():
    old, new = rule("dog", "travel", "ab"), rule("dog", "family", "cde")
    assert resolve([old, new], cap=9) == (new,)
    opposed = rule("dog", "family", "cde", "ab")
    assert resolve([old, opposed], cap=9) == (old,)


def test_of_equals_the_one_with_the_latest_support_stays():
    one, two = rule("dog", "travel", "ab"), rule("dog", "family", "cd")
    assert resolve([one, two], cap=9, order="abcd") == (two,)
    assert resolve([one, two], cap=9, order="cdab") == (one,)


def test_without_time_the_content_decides_and_always_alike():
    one, two = rule("dog", "travel"), rule("dog", "family")
    assert resolve([one, two], cap=9) == resolve([two, one], cap=9)
    assert len(resolve([one, two], cap=9)) == 1


def test_different_answers_to_mostly_the_same_interactions_contradict():
    assert contradict(rule("dog", "travel", "abc"), rule("puppy", "family", "d", "abc"))
    assert not contradict(rule("dog", "travel", "abc"), rule("puppy", "travel", "abc"))
    assert not contradict(rule("dog", "travel", "abc"), rule("car", "family", "cde"))
    assert not contradict(rule("", "travel"), rule("", "family"))


def test_an_exception_inside_a_wider_directive_is_no_contradiction():
    wide, narrow = rule("car", "money", "abcdef", "gh"), rule("car insurance", "work", "gh")
    assert resolve([wide, narrow], cap=9) == merge([wide, narrow])


def test_over_the_cap_the_least_supported_goes():
    many = [rule(f"cue {n}", support="abcdefgh"[:n]) for n in range(1, 6)]
    assert [one.cue for one in resolve(many, cap=3)] == ["cue 3", "cue 4", "cue 5"]
