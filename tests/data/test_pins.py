"""What a person pinned, in whatever becomes of a persona."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import Directive, Item, Persona, contradict, merge, resolve
from personaagent.data.pins import barest, keeping, news

directives = st.builds(
    lambda cue, answer, reach, author, pinned: Directive(
        f"If the message mentions {cue}, answer {answer}.", cue, reach, (), (), author, pinned
    ),
    st.sampled_from(["dog", "car", "Dog", ""]),
    st.sampled_from(["travel", "family"]),
    st.sampled_from([0.1, 0.3]),
    st.sampled_from(["", "ann"]),
    st.booleans(),
)
lists = st.lists(directives, max_size=4, unique_by=lambda one: (one.cue, one.text)).map(tuple)
personas = st.builds(
    Persona,
    st.just("ann"),
    st.just("inbox"),
    st.sampled_from(["", "Likes dogs.", "Likes cars."]),
    lists,
    profile_pinned=st.booleans(),
)


def said(persona):
    return persona.profile, tuple((one.text, one.cue, one.reach) for one in persona.directives)


def pinned(persona):
    return {one for one in persona.directives if one.pinned}


@given(personas, personas)
def test_nothing_that_is_pinned_is_missing_or_changed(champion, other):
    kept = keeping(champion, other)
    assert pinned(champion) <= set(kept.directives)
    if champion.profile_pinned:
        assert (kept.profile, kept.profile_pinned) == (champion.profile, True)
    names = [(one.cue, one.text) for one in kept.directives]
    assert len(names) == len(set(names))
    assert keeping(champion, kept) == kept


@given(personas, personas)
def test_what_contradicts_a_pinned_directive_goes_and_the_rest_stays(champion, other):
    kept = keeping(champion, other).directives
    held = pinned(champion)
    names = {(one.cue, one.text) for one in held}
    for one in other.directives:
        if (one.cue, one.text) not in names:
            assert (one in kept) != any(contradict(one, pin) for pin in held)


@given(personas)
def test_without_pins_nothing_is_touched(other):
    free = replace(
        other,
        directives=tuple(replace(one, pinned=False) for one in other.directives),
        profile_pinned=False,
    )
    assert keeping(free, other) is other


@given(personas, st.lists(personas, max_size=3))
def test_what_pins_leave_nothing_new_of_is_no_candidate(champion, others):
    found = news(champion, others)
    assert all(pinned(champion) <= set(one.directives) for one in found)
    changed = [said(one) for one in found if one not in others]
    assert said(champion) not in changed
    assert len(changed) == len(set(changed))
    assert len(found) >= len({said(keeping(champion, one)) for one in others} - {said(champion)})


def test_the_items_that_a_person_wrote_stand_in_whatever_takes_the_place_of_a_persona():
    own = Item("fact", "lives in Bergen", author="Ann")
    learned, new = (Item("fact", text, support=("a",)) for text in ("likes tea", "likes trains"))
    champion = Persona("ann", "inbox", items=(own, learned))
    reworded = replace(own, text="Lives in bergen.", author="", support=("a",))
    assert keeping(champion, champion.succeed(items=(new, reworded))).items == (new, own)
    assert keeping(champion, champion.succeed(items=(new,))).items == (new, own)
    same = champion.succeed(items=(new, own))
    assert keeping(champion, same) is same
    assert champion.succeed(**barest(champion)).items == (own,)


@given(personas)
def test_the_least_that_may_be_left_is_what_is_pinned(champion):
    least = champion.succeed(**barest(champion))
    assert set(least.directives) == pinned(champion)
    assert least.profile == (champion.profile if champion.profile_pinned else "")
    assert keeping(champion, least) == least


@given(lists, st.integers(0, 2))
def test_a_cap_and_contradictions_drop_nothing_that_is_pinned(some, cap):
    kept = resolve(some, cap=cap)
    assert {one for one in some if one.pinned} <= set(kept)


@given(lists, lists, lists)
def test_merging_what_is_pinned_is_commutative_associative_and_idempotent(a, b, c):
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge(a, b, c)
    assert merge(merge(a), merge(a)) == merge(a)
    by_name = {(one.cue, one.text): one for one in merge(a, b)}
    for one in (*a, *b):
        assert by_name[one.cue, one.text].pinned or not one.pinned
