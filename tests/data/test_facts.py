"""What is counted is right, said with its n, and the same every time."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personaagent.data import Choice, Classification, Interaction, Rating, Text
from personaagent.data.facts import FEWEST, as_lines, facts_of

FILMS = Rating("films", "How?", item="film", answer="rating", low=1, high=10)
INBOX = Classification(
    "inbox", "Which?", labels=("work", "family", "travel"), item="message", answer="folder"
)
MORNING = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)  # a Monday


def past(n, query, response, time=None, **metadata):
    return Interaction(f"i{n}", "ann", "any", query, str(response), time, metadata=metadata)


def said(task, history, **options):
    return as_lines(facts_of(task, history, **options))


def rated(count=40):
    """Horror always 2, else 8; what is newer is the same."""
    return [
        past(
            n,
            f"Title{n} ({1990 + n % 3}) [{'Horror' if n % 4 == 0 else 'Drama'}]",
            2 if n % 4 == 0 else 8,
        )
        for n in range(count)
    ]


def test_ratings_give_mean_spread_and_the_share_of_every_level():
    text = said(FILMS, rated())
    assert (
        "mean rating 6.5 on a scale from 1 to 10, standard deviation 2.6, median 8, the middle "
        "half 6 to 8 (n = 40)" in text
    )
    assert "1: 0%, 2: 25%, 3: 0%" in text
    assert "8: 75%" in text


def test_topics_that_differ_are_told_with_their_mean_and_n():
    text = said(FILMS, rated())
    assert "rated higher than the mean: drama 8.0 (n = 30)" in text
    assert "rated lower than the mean: horror 2.0 (n = 10)" in text


def test_topics_come_from_metadata_and_decades_too():
    history = [
        past(n, f"Title{n} ({1975 if n % 2 else 2005})", 9 if n % 2 else 3, genre=f"g{n % 2}")
        for n in range(24)
    ]
    assert "1970s 9.0 (n = 12)" in said(FILMS, history)  # genre g1 are the same ones: said once
    history = [past(n, "A title", 9 if n % 2 else 3, genre=f"g{n % 2}") for n in range(24)]
    assert "genre g1 9.0 (n = 12)" in said(FILMS, history)


def test_what_changed_between_the_earlier_and_the_latest_half_is_told():
    history = [past(n, f"Title{n}", 9 if n < 20 else 5) for n in range(40)]
    assert "mean rating 5.0 in the latest half, 9.0 before (n = 40)" in said(FILMS, history)
    assert "latest half" not in said(FILMS, rated())


def test_ratings_without_any_pattern_seldom_have_topics_that_differ():
    wrong = 0
    for seed in range(40):
        dice = random.Random(seed)
        history = [
            past(
                n,
                " ".join(dice.sample(["red", "green", "blue", "gold", "pink"], 2)),
                dice.randint(1, 10),
            )
            for n in range(60)
        ]
        wrong += "than the mean" in said(FILMS, history)
    assert wrong <= 8


def test_labels_give_shares_and_the_words_that_come_with_them():
    history = [
        past(
            n,
            f"the dog {n}" if n % 3 == 0 else f"a letter {n}",
            "travel" if n % 3 == 0 else "work",
        )
        for n in range(30)
    ]
    text = said(INBOX, history)
    assert "share of each folder: work 67%, travel 33% (n = 30)" in text
    assert "never gave the folder family (n = 30)" in text
    assert "“dog”: travel in 10 of 10" in text
    assert "“letter”: work in 20 of 20" in text


def test_labels_that_depend_on_the_time_are_told():
    history = [
        past(n, f"message {n}", "family" if n % 7 >= 5 else "work", MORNING + timedelta(days=n))
        for n in range(56)
    ]
    text = said(INBOX, history)
    assert "on weekends family is 100% of the folders, 29% at all times (n = 16)" in text
    moved = [past(n, f"message {n}", "work" if n < 20 else "travel") for n in range(40)]
    assert "in the latest half travel is 100% of the folders, 50% at all times" in said(
        INBOX, moved
    )


def test_hours_and_days_are_told_where_they_are_a_habit():
    history = [
        past(n, f"message {n}", "work", MORNING + timedelta(weeks=n // 2, days=n % 2))
        for n in range(32)
    ]
    text = said(INBOX, history)
    assert "100% of it from 3 to 9 h UTC (n = 32)" in text
    assert "mostly on Monday 50%, Tuesday 50% (n = 32)" in text
    midnights = [past(n, "m", "work", datetime(2026, 1, 1 + n % 28, tzinfo=UTC)) for n in range(32)]
    assert "h UTC" not in said(INBOX, midnights)  # a date has no hour


def test_texts_give_length_and_form():
    history = [past(n, "How?", f"fine, see number {n} – Z") for n in range(6)]
    text = said(Text("replies", "Reply."), history)
    assert "ends with “– Z” (in 6 of 6 texts)" in text
    assert "writes 5 words, in 1 sentence (median of 6 texts)" in text


@pytest.mark.parametrize("task", [FILMS, INBOX])
def test_too_few_interactions_give_no_facts(task):
    answers = ["3", "9"] if task is FILMS else ["work", "travel"]
    history = [past(n, f"query {n}", answers[n % 2]) for n in range(FEWEST - 1)]
    assert facts_of(task, history) == ()
    assert facts_of(task, []) == ()


def test_positions_of_a_choice_and_evidence_without_answers_are_not_counted():
    choice = Choice("cite", "Which?")
    assert facts_of(choice, [past(n, f'a [1]: "x{n}" [2]: "y"', "[1]") for n in range(20)]) == ()
    papers = [past(n, f"paper {n}", "") for n in range(20)]
    assert facts_of(INBOX, papers) == ()


def test_secrets_are_in_no_fact_and_what_is_sensitive_follows_the_setting():
    history = [
        past(
            n,
            f"insulin {n}" if n % 2 else "sk-" + "proj-" + "a1B2" * 8,
            "work" if n % 2 else "travel",
        )
        for n in range(30)
    ]
    assert "insulin" in said(INBOX, history)
    assert "insulin" not in said(INBOX, history, policy="leave-out")
    assert "[health]" in said(INBOX, history, policy="mask")
    assert "a1b2" not in said(INBOX, history).lower()


@settings(max_examples=30)
@given(st.lists(st.tuples(st.text(max_size=30), st.integers(1, 10)), max_size=40))
def test_any_history_is_counted_the_same_every_time(answers):
    history = [past(n, query, rating) for n, (query, rating) in enumerate(answers)]
    facts = facts_of(FILMS, history)
    assert facts_of(FILMS, history) == facts
    assert all(fact.n > 0 and "n = " in fact.text for fact in facts)
