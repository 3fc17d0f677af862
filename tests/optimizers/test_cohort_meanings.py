"""What a cohort means by the labels, and when its users are better off for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from standins import HashEmbedder
from worlds_of_mail import INBOX, mail, remembering

from personaagent.data import Interaction, Query, Rating
from personaagent.optimizers.cohort_meanings import cohort_habits, learn_meanings
from personaagent.programs import PersonaAgent

EMBEDDER = HashEmbedder(dimensions=512)
COHORT = tuple(f"user{n}" for n in range(12))
SAYS = {"piano": "family", "boat": "travel", "tax": "work"}


def history(user: str, habits=SAYS, count: int = 6) -> list[Interaction]:
    words = sorted(habits)
    return [
        mail(n, f"{words[n % len(words)]} {user}-{n}", habits[words[n % len(words)]], user)
        for n in range(count)
    ]


def learned(interactions):
    texts = sorted({one.query for one in interactions}.union(INBOX.labels))
    vectors = dict(zip(texts, EMBEDDER.encode(texts), strict=True))
    return learn_meanings(INBOX, interactions, vectors, EMBEDDER.fingerprint)


def means(meanings, text: str) -> str:
    said = meanings.likelihoods(EMBEDDER.encode([text])[0])
    return max(said, key=said.get)


def test_labels_mean_what_the_cohort_gives_them_for():
    meanings = learned([one for user in COHORT for one in history(user)])
    assert {word: means(meanings, f"{word} never-seen") for word in SAYS} == SAYS


def test_where_nothing_was_learned_names_are_what_labels_mean():
    meanings = learned([one for user in COHORT for one in history(user, {"tax": "work"}, 2)])
    assert means(meanings, "family") == "family"
    assert means(meanings, "travel") == "travel"


def test_what_two_users_mean_is_theirs_and_not_the_cohorts():
    shared = [one for user in COHORT for one in history(user, {"tax": "work"}, 2)]
    private = [one for user in COHORT[:2] for one in history(user, {"secret": "travel"}, 2)]
    assert learned(shared + private) == learned(shared)
    third = history(COHORT[2], {"secret": "travel"}, 2)
    assert means(learned(shared + private + third), "secret") == "travel"


def test_a_label_that_too_few_gave_teaches_nothing():
    assert learned([one for user in COHORT[:2] for one in history(user)]) is None


def test_a_user_who_floods_counts_no_more_than_one_who_does_not():
    others = [one for user in COHORT for one in history(user)]
    modest = [mail(n, "boat", "work", "mallory") for n in range(6)]
    flood = [mail(n, "boat", "work", "mallory") for n in range(300)]
    vector = EMBEDDER.encode(["boat"])[0]
    said = [learned(others + some).likelihoods(vector) for some in (modest, flood)]
    assert said[1] == pytest.approx(said[0], abs=0.02)
    assert means(learned(others + flood), "boat") == "travel"


def asked() -> list[Query]:
    return [
        Query(f"q-{user}", user, "inbox", f"{word} asked-{user}", label)
        for user in COHORT
        for word, label in list(SAYS.items())
    ]


def of_cohort(memory, queries, owners=None):
    owners = owners or [one.user for one in queries]
    return cohort_habits(PersonaAgent(INBOX, memory), queries, owners)


def test_a_user_with_little_history_is_better_off_for_the_cohort(tmp_path):
    with remembering(tmp_path, *(one for user in COHORT for one in history(user, count=3))) as own:
        habits, meanings, losses = of_cohort(own, asked())
    assert losses["cohort"] < losses["names"]
    assert meanings is not None
    for habit, query in zip(habits, asked(), strict=True):
        assert max(habit, key=habit.get) == query.gold


def test_a_users_own_answers_teach_nothing_about_that_user(tmp_path):
    """Everybody means something else: what the others mean helps nobody, so names stay."""
    dice = np.random.default_rng(0)
    past = [
        mail(n, f"word{user} thing{n} {user}", str(dice.choice(INBOX.labels)), user)
        for user in COHORT
        for n in range(9)
    ]
    queries = [Query(f"q-{one.user}{n}", one.user, "inbox", one.query, one.response)
               for n, one in enumerate(past)]  # fmt: skip
    with remembering(tmp_path, *past) as own:
        _, meanings, losses = of_cohort(own, queries)
    assert losses["cohort"] > losses["names"] - 0.1
    assert meanings is None


def test_a_user_of_several_memories_is_one_user_of_the_cohort(tmp_path):
    """Everyone's words are their own, and each memory lacks the one that it is asked about."""
    past, queries, owners = [], [], []
    for at, user in enumerate(COHORT[:3]):
        for lacks in range(4):
            past += [
                mail(n, f"{user}word{n}", INBOX.labels[(at + n) % 3], f"{user}/{lacks}")
                for n in range(4)
                if n != lacks
            ]
            label = INBOX.labels[(at + lacks) % 3]
            queries.append(
                Query(past[-1].user, past[-1].user, "inbox", f"{user}word{lacks}", label)
            )
            owners.append(user)
    with remembering(tmp_path, *past) as own:
        _, strangers, taught = of_cohort(own, queries)
        _, meanings, losses = of_cohort(own, queries, owners)
    assert strangers is not None  # each memory knows what another one lacks
    assert taught["cohort"] < losses["names"] < losses["cohort"] + 0.05
    assert meanings is None


def test_numbers_are_no_words_that_could_mean_something(tmp_path):
    stars = Rating("inbox", "How many stars?")
    with remembering(tmp_path, mail(1, "fine", "4", "ann")) as own:
        queries = [Query("q", "ann", "inbox", "fine too", "4")]
        habits, meanings, losses = cohort_habits(PersonaAgent(stars, own), queries, ["ann"])
    assert (meanings, losses) == (None, {})
    assert max(habits[0], key=habits[0].get) == "4"


def test_an_unknown_response_does_not_disturb():
    past = [one for user in COHORT for one in history(user)]
    strange = [replace(past[0], id="x", response=""), replace(past[0], id="y", response="spam")]
    assert learned(past + strange) == learned(past)
