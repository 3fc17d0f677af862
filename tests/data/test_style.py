"""How a user writes is told from a few texts, with examples, and without secrets."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from personaagent.data import Interaction
from personaagent.data.items import Item
from personaagent.data.style import (
    FEWEST,
    TOPICS,
    examples_of,
    restyled,
    style_items,
    traits_of,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def wrote(*texts, query="How are you?"):
    return [
        Interaction(f"t{n}", "zoe", "replies", query, text, NOON + timedelta(days=n))
        for n, text in enumerate(texts)
    ]


SIGNED = wrote(
    "yep, be there at 8 – Z",
    "sent it just now – Z",
    "sounds good, noon works – Z",
    "not really, too long – Z",
)


def said(texts, topic, **options):
    return [one.text for one in traits_of(texts, **options) if one.topic == topic]


def test_four_short_replies_tell_the_sign_off_the_length_and_the_form():
    assert said(SIGNED, "sign-off") == ["ends with “– Z” (in 4 of 4 texts)"]
    assert said(SIGNED, "length") == ["writes 5 words, in 1 sentence (median of 4 texts)"]
    assert said(SIGNED, "form") == ["writes on one line (in 4 of 4 texts)"]
    assert "writes in lower case (in 4 of 4 texts)" in said(SIGNED, "punctuation")


def test_a_name_at_the_end_is_no_sentence_without_a_full_stop():
    signs = ["Hector", "H.", "Your brother, Hector", "Hector", "Hector Diaz", "", "Hector", "H"]
    letters = wrote(*(f"Dear Ann,\nthat will do for all of us, I think.\n{sign}" for sign in signs))
    assert not [one for one in said(letters, "punctuation") if "full stop" in one]
    bare = wrote(*(f"Dear Ann,\nthat will do for all of us, I think\n{sign}" for sign in signs))
    assert "leaves out the full stop at the end (in 8 of 8 texts)" in said(bare, "punctuation")


def test_headlines_begin_most_words_with_a_capital_and_sentences_do_not():
    headlines = (
        "Don't Let Nikki Haley Fool You",
        "The Oldest Trick of the Senate",
        "Good Night, Moon",
    )
    assert said(wrote(*headlines), "punctuation")[0] == (
        "begins most words with a capital letter (in 3 of 3 texts)"
    )
    sentences = "Die Katze sitzt auf dem alten Dach", "We met Anna in Paris last week", "So it goes"
    assert not any("capital" in one for one in said(wrote(*sentences), "punctuation"))
    shouted = "WHERE ARE YOU", "CALL ME BACK", "OK", "THIS IS IMPORTANT"
    assert "writes in capitals (in 3 of 4 texts)" in said(wrote(*shouted), "punctuation")


def test_fewer_than_three_texts_tell_nothing():
    assert traits_of(SIGNED[: FEWEST - 1]) == ()
    assert style_items(SIGNED[: FEWEST - 1]) == ()
    assert traits_of(wrote("", " ", "one", "two")) == ()


def test_letters_tell_greeting_sign_off_and_lines():
    letters = wrote(
        "Dear Anna,\n\nThe report is attached.\n\nKind regards\nTom Berg",
        "Dear Mr Wu,\n\nThank you! We will come at nine.\n\nKind regards\nTom Berg",
        "Dear team,\n\n- first the plan\n- then the rest\n\nKind regards\nTom Berg",
    )
    assert said(letters, "greeting") == ["opens with “Dear” (in 3 of 3 texts)"]
    assert said(letters, "sign-off") == ["ends with “Kind regards Tom Berg” (in 3 of 3 texts)"]
    assert said(letters, "form") == ["breaks the text into lines (in 3 of 3 texts)"]


def test_a_common_word_at_the_beginning_is_no_greeting():
    texts = wrote("The train was late.", "The food is cold.", "The film bored me.")
    assert said(texts, "greeting") == []


def test_punctuation_emoji_and_words_are_told_with_how_often():
    texts = wrote(
        "Lovely! See you there 😊",
        "Great! Bring the tent 😊",
        "Lovely! And the dog? 😊",
        "Lovely, as ever...",
    )
    assert "uses exclamation marks (in 3 of 4 texts)" in said(texts, "punctuation")
    assert said(texts, "emoji") == ["uses emoji, mostly 😊 (in 3 of 4 texts)"]
    assert said(texts, "words") == ["often writes “lovely” (3 of 4)"]


def test_what_a_user_never_writes_is_said_only_of_many_texts():
    few, many = (wrote(*(f"It is number {n}." for n in range(count))) for count in (4, 9))
    assert not any("no emoji" in text for text in said(few, "emoji"))
    assert said(many, "emoji") == ["uses no emoji (in 9 texts)"]
    assert "uses no exclamation marks and no dots (...) (in 9 texts)" in said(many, "punctuation")


def test_words_of_the_query_are_not_the_users_own():
    texts = wrote("tent? yes", "the tent again", "tent, fine", query="Where is the tent?")
    assert said(texts, "words") == []


def test_texts_without_spaces_are_measured_in_characters():
    texts = wrote("今天很好。", "明天见。", "我喜欢茶。")
    assert said(texts, "length")[0].startswith("writes 5 characters")


def test_examples_are_of_the_usual_length_each_once_and_never_secret():
    texts = wrote(
        "ok",
        "my card is 4111 1111 1111 1111",
        "see you at the old mill",
        "See you at the old mill",
        "bring the red tent with you",
        "word " * 60,
    )
    assert [one.id for one in examples_of(texts)] == ["t4", "t3", "t0"]


def test_no_trait_and_no_example_has_a_secret_or_what_is_to_be_left_out():
    texts = wrote(*(f"password: hunter{n} \n\n sent from my diabetes app" for n in range(4)))
    for policy in ("keep", "mask", "leave-out"):
        everything = " ".join(one.text for one in style_items(texts, policy))
        assert "hunter" not in everything
    assert "diabetes" not in " ".join(one.text for one in style_items(texts, "leave-out"))
    assert "diabetes" not in " ".join(one.text for one in style_items(texts, "mask"))


def test_items_name_what_supports_them_and_an_example_only_itself():
    items = style_items(SIGNED)
    assert {one.kind for one in items} == {"style"}
    assert {one.topic for one in items} <= set(TOPICS)
    (signed,) = (one for one in items if one.topic == "sign-off")
    assert signed.support == ("t0", "t1", "t2", "t3")
    assert signed.last == SIGNED[-1].time
    examples = [one for one in items if one.topic == "example"]
    texts = {one.id: one.response for one in SIGNED}
    assert len(examples) == 3
    for one in examples:
        (id,) = one.support
        assert texts[id] in one.text


def test_an_example_tells_where_its_lines_end():
    texts = [replace(one, response=f"Hi Bo,\n\n{one.response}\nZ") for one in SIGNED]
    first, *_ = (one for one in style_items(texts) if one.topic == "example")
    assert first.text.startswith("wrote, for example (/ ends a line): “Hi Bo, / ")
    assert first.text.endswith(" / Z”")


def test_counting_anew_replaces_what_was_counted_and_leaves_all_else():
    other = Item("style", "prefers British spelling", "spelling", support=("t0",))
    need = Item("need", "wants answers before nine", support=("t1",))
    before = restyled([other, need], SIGNED, "keep")
    after = restyled(before, [*SIGNED, *wrote("No.", "Yes.", "Fine.", "Perhaps.")], "keep")
    assert {other, need} <= {*before} & {*after}
    assert restyled(after, [*SIGNED, *wrote("No.", "Yes.", "Fine.", "Perhaps.")], "keep") == after
    assert sum(one.topic == "length" for one in after) == 1


@given(st.lists(st.text(max_size=40), max_size=12))
def test_any_texts_are_told_the_same_every_time(texts):
    past = wrote(*texts)
    once = style_items(past)
    assert style_items(past) == once
    ids = {one.id for one in past}
    assert all(one.support and set(one.support) <= ids for one in once)
