"""What is sensitive is marked in several languages, and the setting does what it says."""

import time

import pytest

from personaagent.data.items import Item
from personaagent.data.sensitive import (
    POLICIES,
    SENSITIVE,
    category_of,
    guarded,
    masked,
    prose,
    statement,
)

TELLING = [
    ("takes insulin before lunch", "health"),
    ("was diagnosed with Diabetes", "health"),
    ("ist schwanger", "health"),
    ("souffre de dépression", "health"),
    ("está embarazada", "health"),
    ("беременна", "health"),
    ("有糖尿病", "health"),
    ("うつ病です", "health"),
    ("تعاني من الاكتئاب", "health"),
    ("prays at the mosque on Fridays", "belief"),
    ("geht sonntags in die Kirche", "belief"),
    ("is gay", "orientation"),
    ("es homosexual", "orientation"),
    ("voted for the Green Party", "politics"),
    ("ist in der Gewerkschaft", "politics"),
    ("has a mortgage and student loans", "money"),
    ("hat Schulden", "money"),
    ("passport number C01X00T47", "identity"),
    ("078-05-1120", "identity"),
]
PLAIN = [
    "",
    "prefers window seats",
    "The bank of the river was steep.",
    "left the meeting early",
    "mag starken Kaffee",
    "writes short replies, signed “Z.”",
    "喜欢喝茶",
    "rates 7.1 on average (n = 120)",
]


@pytest.mark.parametrize(("text", "category"), TELLING)
def test_a_text_that_tells_something_sensitive_is_marked(text, category):
    assert category_of(text) == category


@pytest.mark.parametrize("text", PLAIN)
def test_an_ordinary_text_is_not_marked(text):
    assert category_of(text) == ""
    for policy in POLICIES:
        assert statement(text, policy) == text


def test_the_category_of_most_words_wins():
    text = "has a mortgage, debts, a loan and asthma"
    assert category_of(text) == "money"
    assert masked(text) == "has a [money], [money], a [money] and [health]"


@pytest.mark.parametrize(("text", "category"), TELLING)
def test_masking_leaves_nothing_that_is_marked_but_the_name_of_the_category(text, category):
    said = masked(text)
    assert f"[{category}]" in said
    for name in SENSITIVE:
        said = said.replace(f"[{name}]", "")
    assert category_of(said) == ""


def test_each_setting_does_what_it_says_to_a_statement():
    text = "Takes insulin before lunch"
    said = {policy: statement(text, policy) for policy in POLICIES}
    assert said == {"keep": text, "mask": "Takes [health] before lunch", "leave-out": ""}


def test_of_a_profile_only_the_sentences_that_tell_something_go():
    text = "Likes trains. Takes insulin before lunch. Writes short texts."
    assert prose(text, "keep") == text
    assert prose(text, "leave-out") == "Likes trains. Writes short texts."
    assert prose(text, "mask") == "Likes trains. Takes [health] before lunch. Writes short texts."


def test_a_statement_with_a_secret_goes_under_every_setting():
    for policy in POLICIES:
        assert statement("pays with 4111 1111 1111 1111", policy) == ""
        assert "4111" not in prose("Pays with 4111 1111 1111 1111. Likes tea.", policy)


def test_letters_that_are_folded_do_not_move_what_is_masked():
    assert masked("Ȧ́ café, ein Straßenfest, und Dépression İ") == (
        "Ȧ́ café, ein Straßenfest, und [health] İ"
    )


def test_a_long_text_is_read_in_time_that_grows_with_its_length():
    began = time.perf_counter()
    assert category_of("a quiet walk in the park with the dog " * 500) == ""
    assert time.perf_counter() - began < 5


def test_items_are_marked_and_kept_masked_or_left_out():
    items = [
        Item("need", "takes insulin before lunch", "meals", support=("a",)),
        Item("preference", "prefers window seats", support=("b",)),
        Item("fact", "pays with 4111 1111 1111 1111", support=("c",)),
        Item("fact", "told something", sensitive="belief", support=("d",)),
    ]
    kept = guarded(items, "keep")
    assert [one.sensitive for one in kept] == ["health", "", "belief"]
    assert [one.text for one in kept] == [items[0].text, items[1].text, items[3].text]
    assert [one.text for one in guarded(items, "mask")] == [
        "takes [health] before lunch",
        "prefers window seats",
        "told something",
    ]
    assert [one.text for one in guarded(items, "leave-out")] == ["prefers window seats"]
    for policy in POLICIES:
        assert guarded(guarded(items, policy), policy) == guarded(items, policy)
