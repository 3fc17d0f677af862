"""The floors: no LM, and still an answer."""

import dspy
import pytest
from worlds_of_mail import DAWN, INBOX, mail

from personaagent.data import Choice, Rating, Text
from personaagent.experiments.baselines import Majority, NearestNeighbour, ZeroShot
from personaagent.programs import MemoryRetriever, QueryScope
from personaagent.programs.user_label_prior import user_label_prior

STARS = Rating("inbox", "How many stars?")
PAIR = Choice("inbox", "Which one?")
LETTER = Text("inbox", "Write a letter.")


@pytest.fixture(autouse=True)
def no_lm():
    with dspy.context(lm=None):
        yield


def rated(*stars):
    return [mail(n, f"film {n}", str(one), "ria") for n, one in enumerate(stars)]


def test_the_majority_is_the_most_frequent_answer_and_its_share(memory):
    said = Majority(INBOX, memory)(query="meeting", user="ann")
    assert said.answer == "travel"
    assert said.distribution == pytest.approx({"work": 1 / 3, "family": 0, "travel": 2 / 3})


def test_of_answers_that_are_equally_frequent_the_latest_is_the_majority(memory):
    majority = Majority(INBOX, memory)
    assert majority(query="x", user="ann", exclude=("ann-3",)).answer == "work"
    memory.add([mail(9, "x", "family"), mail(10, "x", "family")])
    assert majority(query="x", user="ann").answer == "family"


@pytest.mark.parametrize(
    ("stars", "median"), [((5,), "5"), ((1, 1, 4, 5, 5), "4"), ((1, 2), "1"), ((), "3")]
)
def test_of_ratings_it_is_the_median(memory, stars, median):
    memory.add(rated(*stars))
    assert Majority(STARS, memory)(query="x", user="ria").answer == median


def test_what_is_no_label_does_not_count(memory):
    memory.add([mail(9, "x", "garden"), mail(10, "y", "garden"), mail(11, "z", "garden")])
    assert Majority(INBOX, memory)(query="x", user="ann").answer == "travel"


def test_a_choice_has_no_majority(memory):
    memory.add([mail(9, "x", "[2]"), mail(10, "y", "[2]")])
    said = Majority(PAIR, memory)(query='? [1]: "a" [2]: "b"', user="ann")
    assert said.distribution == {"[1]": 0.5, "[2]": 0.5}


def test_the_neighbours_vote_as_they_do_in_the_agent(memory):
    situation = QueryScope("ann", INBOX, "budgets meeting", DAWN.replace(day=9), ("ann-3",))
    said = NearestNeighbour(INBOX, memory)(
        query=situation.query, user="ann", before=situation.before, exclude=situation.exclude
    )
    assert said.answer == "work"
    assert said.distribution == user_label_prior(MemoryRetriever(memory), situation)
    assert said.memories[0].interaction.id == "ann-2"


@pytest.mark.parametrize(
    ("options", "answer"),
    [('[1]: "dog walk" [2]: "tax law"', "[1]"), ('[1]: "tax law" [2]: "dog walk"', "[2]")],
)
def test_the_option_nearer_to_the_users_memory_is_chosen(memory, options, answer):
    assert NearestNeighbour(PAIR, memory)(query=f"Which? {options}", user="ann").answer == answer


def test_a_text_is_the_response_to_the_nearest_query(memory):
    memory.add([mail(9, "birthday of mum", "Dear mum,")])
    said = NearestNeighbour(LETTER, memory)(query="the birthday of mum", user="ann")
    assert (said.answer, said.distribution) == ("Dear mum,", None)


def test_the_label_whose_name_is_nearest_is_chosen_whoever_asks(memory):
    said = ZeroShot(INBOX, memory)(query="a family walk", user="nobody")
    assert said.answer == "family"
    assert said.memories == []
    assert ZeroShot(STARS, memory)(query="5", user="ann").answer == "3"  # all equally likely
    assert ZeroShot(LETTER, memory)(query="mum", user="ann").distribution is None
