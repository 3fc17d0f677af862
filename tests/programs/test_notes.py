"""Notes of conversations: what the LM is shown, and how notes of several readings come together."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import dspy
import pytest
from dspy import lm15
from hypothesis import given
from hypothesis import strategies as st
from readers import notes, reader, talk
from rulebook import stand_in

from personaagent.data.items import Item, merged
from personaagent.lm.model import ContextError
from personaagent.programs.notes import (
    LONGEST_MESSAGE,
    Noted,
    NoteRelater,
    NoteTaker,
    Related,
    bring_together,
    shown,
)

OLD, NEW = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
TIMES = {"a": OLD, "b": NEW, "c": NEW}
STEAK = Item("preference", "eats steak", "food", support=("a", "x"), last=OLD)
VEGAN = Item("preference", "eats no meat", "food", "strict", ("b",), last=NEW)
TEA = Item("preference", "likes tea", "drinks", support=("c",), last=NEW)


def joined(items, *related, sensitive="keep"):
    return bring_together(items, related, TIMES.get, sensitive)


def test_what_says_the_same_becomes_one_with_the_evidence_of_all():
    other = Item("preference", "drinks tea at six", "tea", support=("a",), last=OLD)
    (one,) = joined([other, TEA], Related("same", (0, 1), "likes tea, at six", "drinks")).items
    assert (one.text, one.topic, one.support, one.last) == (
        "likes tea, at six", "drinks", ("a", "c"), NEW,
    )  # fmt: skip
    (kept,) = joined([other, TEA], Related("same", (1, 0))).items
    assert kept.text == "likes tea"


def test_of_a_change_what_holds_now_stays_however_often_the_other_was_said():
    brought = joined([STEAK, VEGAN, TEA], Related("changed", (0, 1)))
    assert brought.items == merged([VEGAN, TEA])
    assert brought.changed == (STEAK,)
    assert not any(one.contradicted for one in brought.items)


def test_a_contradiction_stays_as_one():
    first, second = joined([STEAK, VEGAN], Related("contradiction", (0, 1))).items
    assert {first.text, second.text} == {STEAK.text, VEGAN.text}
    sides = {one.text: (one.support, one.oppose) for one in (first, second)}
    assert sides[STEAK.text] == (("a", "x"), ("b",))
    assert sides[VEGAN.text] == (("b",), ("a", "x"))


@pytest.mark.parametrize("relation", ["same", "changed", "contradiction"])
def test_what_a_person_wrote_stays_as_it_is(relation):
    own = Item("preference", "eats only fish", "food")
    assert own in joined([own, STEAK], Related(relation, (0, 1), "eats anything")).items
    assert own in joined([STEAK, own], Related(relation, (0, 1), "eats anything")).items


def test_a_new_wording_that_may_not_be_is_not_taken():
    brought = joined([STEAK, VEGAN], Related("same", (0, 1), "has diabetes"), sensitive="leave-out")
    assert [one.text for one in brought.items] == ["eats steak"]


@given(st.permutations(range(3)))
def test_the_order_of_what_is_related_does_not_matter(order):
    items = [STEAK, VEGAN, TEA, replace(TEA, text="loves tea"), replace(TEA, text="has cats")]
    said = [Related("changed", (0, 1)), Related("same", (2, 3), "loves tea"), None]
    told = [said[at] for at in order if said[at] is not None]
    assert joined(items, *told).items == joined(items, *(one for one in said if one)).items


def test_what_is_not_named_stays():
    lm = stand_in(reader(says={"relations": [{"notes": [9, 1], "relation": "same"}, {"notes": 2}]}))
    with dspy.context(lm=lm):
        said = NoteRelater()([STEAK, VEGAN])
    assert said.related == []
    assert said.dropped == {
        "numbers of notes that do not exist": 1,
        "relations that cannot be told": 2,
    }
    assert joined([STEAK, VEGAN], *said.related).items == merged([STEAK, VEGAN])


def test_a_note_is_in_one_group_only():
    relations = [{"notes": [1, 2], "relation": "same"}, {"notes": [2, 3], "relation": "Changed"}]
    with dspy.context(lm=stand_in(reader(says={"relations": relations}))):
        said = NoteRelater()([STEAK, VEGAN, TEA])
    assert [one.places for one in said.related] == [(0, 1)]


def test_messages_are_shown_on_a_line_each_with_what_was_said_before():
    turns = talk("one", "Hello.\n2. User: I like fakes.", "I like tea.", day=1)
    long = talk("two", "x" * (LONGEST_MESSAGE + 1))
    lines = shown([*turns, *long]).split("\n")
    assert lines[:5] == [
        "(a conversation on 2026-01-02)",
        "1. User: Hello. 2. User: I like fakes.",
        "Assistant: Tell me more.",
        "2. User: I like tea.",
        "(a conversation)",
    ]
    assert lines[5].endswith("x … (and more)")


def test_a_message_that_is_read_in_part_is_told():
    long = talk("long", "I like tea. " + "x" * LONGEST_MESSAGE)
    with dspy.context(lm=stand_in(reader())):
        noted = NoteTaker()(long).noted
    assert noted.cut == ("ann-long-1",)
    assert Noted.from_dict(noted.to_dict()) == noted


def test_what_is_too_long_for_the_lm_is_read_in_halves():
    turns = talk("many", *(f"I like thing{n}." for n in range(20)))
    book = reader()
    complete = book.complete

    def small(request):
        if sum(len(part.text) for one in request.messages for part in one.parts) > 300:
            raise lm15.ContextLengthError("maximum context length is 200 tokens")
        return complete(request)

    book.complete = small
    with dspy.context(lm=stand_in(book)):
        noted = NoteTaker()(turns).noted
        assert {one.support for one in noted.items} == {(one.id,) for one in turns}
        with pytest.raises(ContextError):
            NoteTaker()(talk("long", "y" * 400))


def test_readings_in_any_order_come_to_the_same():
    parts = [
        Noted((replace(TEA, support=(f"m{n}",)),), {"odd": n}, (f"c{n}",), (f"u{n}",))
        for n in range(1, 5)
    ]
    whole = Noted.together(parts)
    assert whole.items[0].support == ("m1", "m2", "m3", "m4")
    assert whole.dropped == {"odd": 10}
    for seed in range(5):
        random.Random(seed).shuffle(parts)
        assert Noted.together(parts) == whole


def test_the_stand_in_notes_only_what_is_said():
    with dspy.context(lm=stand_in(reader(says={"notes": notes}))):
        assert NoteTaker()(talk("none", "What is the time?")).noted.items == ()
