"""The answer: read as a distribution, in both orders for a pair, or typed."""

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rulebook import RuleBook, in_turn, stand_in
from worlds_of_mail import INBOX, book

from personaagent.data import Choice, FusionWeights, Rating, Text
from personaagent.errors import DataError, LMError
from personaagent.experiments.baselines import RAG, NonPersonalized
from personaagent.lm.capabilities import Known
from personaagent.programs import Answerer
from personaagent.programs.fusion import serve

PAIR = Choice("papers", "Which paper?")
PAPERS = 'Which did he cite? [1]: "On dogs" [2]: "On cars"'
STARS = Rating("stars", "How many stars?")
LETTER = Text("letter", "Write a letter.", item="topic")


@given(position=st.floats(0.01, 0.99))
def test_the_position_bias_of_an_lm_cancels(position):
    with dspy.context(lm=stand_in(RuleBook(PAIR, position=position))):
        said = Answerer(PAIR)(query=PAPERS)
    assert said.distribution == pytest.approx({"[1]": 0.5, "[2]": 0.5})


def test_a_choice_is_asked_in_both_orders():
    rules = RuleBook(PAIR)
    with dspy.context(lm=stand_in(rules)):
        Answerer(PAIR)(query=PAPERS)
    assert [one.kind for one in rules.asked] == ["labels", "labels"]
    for one, query in zip(rules.asked, (PAPERS, PAIR.swapped(PAPERS)), strict=True):
        assert query in one.text


@given(bias=st.floats(0.05, 0.95))
def test_an_opinion_survives_the_position_bias(bias):
    def label(asked):
        dogs_first = asked.text.index("On dogs") < asked.text.index("On cars")
        odds = (bias / (1 - bias)) * (4 if dogs_first else 0.25)
        return {"[1]": odds / (1 + odds), "[2]": 1 / (1 + odds)}

    with dspy.context(lm=stand_in(RuleBook(PAIR, says={"label": label}))):
        answer = Answerer(PAIR)
        one, two = answer(query=PAPERS), answer(query=PAIR.swapped(PAPERS))
    assert (one.answer, two.answer) == ("[1]", "[2]")
    assert one.distribution["[1]"] == pytest.approx(0.8)


def test_a_choice_without_options_is_refused():
    with dspy.context(lm=stand_in(RuleBook(PAIR))), pytest.raises(DataError, match="options"):
        Answerer(PAIR)(query="Which did he cite?")


def test_a_rating_is_what_the_lm_would_write_until_its_likelihoods_are_calibrated():
    believed = {"1": 0.40, "2": 0.05, "3": 0.2, "4": 0.25, "5": 0.1}
    with dspy.context(lm=stand_in(RuleBook(STARS, says={"label": believed}))):
        said = Answerer(STARS)(query="Good enough.")
    assert said.answer == "1"
    assert said.distribution == pytest.approx(believed)
    assert serve(STARS, said.distribution, None, FusionWeights())[0] == "1"
    assert (
        serve(STARS, said.distribution, None, FusionWeights(lm=1.001))[0] == "3"
    )  # then the median


@given(st.lists(st.floats(0.001, 1), min_size=5, max_size=5))
def test_the_decided_rating_has_the_least_expected_error(weights):
    shares = {str(n + 1): weight / sum(weights) for n, weight in enumerate(weights)}

    def expected(answer):
        return sum(p * abs(int(answer) - int(label)) for label, p in shares.items())

    assert expected(STARS.decide(shares)) <= min(map(expected, STARS.labels)) + 1e-9


def test_an_lm_without_likelihoods_answers_by_a_json_schema_of_the_labels():
    rules = book()
    with dspy.context(lm=stand_in(rules, likelihoods=False)):
        said = Answerer(INBOX)(query="dinner at eight")
    assert (said.answer, said.distribution) == ("family", None)
    assert [one.kind for one in rules.asked] == ["json"]


def test_typed_answers_know_one_label_by_its_case():
    with dspy.context(lm=stand_in(RuleBook(STARS, says={"answer": "4"}), likelihoods=False)):
        assert Answerer(STARS)(query="Good.").answer == "4"


@pytest.mark.parametrize(
    "nonsense",
    ["gibberish", "", {"answer": "garden"}, {"answer": None}, {"other": "dog"}, {}, [], "null"],
)
@pytest.mark.parametrize("task", [INBOX, STARS, PAIR])
def test_a_typed_answer_in_no_usable_form_is_an_error_and_never_a_default(task, nonsense):
    rules = RuleBook(task, says={"json": nonsense})
    with (
        dspy.context(lm=stand_in(rules, likelihoods=False)),
        pytest.raises((LMError, DataError)),
    ):
        Answerer(task)(query=PAPERS)


def test_free_text_is_the_completion_as_it_stands():
    rules = RuleBook(LETTER, says={"text": "  Dear all,\n\n{it} is late.\n"})
    with dspy.context(lm=stand_in(rules)):
        said = Answerer(LETTER)(query="delays", persona="Be brief.")
    assert (said.answer, said.distribution) == ("Dear all,\n\n{it} is late.", None)
    assert [(one.kind, one.system) for one in rules.asked] == [("text", "Be brief.")]


def test_evidence_comes_before_the_query_and_a_directive_after_it():
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        Answerer(INBOX)(query="QUERY", evidence="EVIDENCE", directive="DIRECTIVE")
    text = rules.asked[0].text
    assert text.index("EVIDENCE") < text.index("QUERY") < text.index("DIRECTIVE")


def test_demos_are_turns_of_the_conversation_before_the_query():
    rules = book()
    answer = Answerer(INBOX)
    answer.predict.demos = [{"question": "message: DEMO", "answer": "family"}]
    with dspy.context(lm=stand_in(rules)):
        answer(query="dinner")
    with dspy.context(lm=stand_in(rules, likelihoods=False)):
        answer(query="dinner")
    for asked in rules.asked:
        answer_at = asked.text.index("family", asked.text.index("DEMO"))
        assert answer_at < asked.text.index("dinner")


def test_the_baselines_answer_with_the_users_memories_or_with_nothing(memory):
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        plain = NonPersonalized(INBOX)(query="dinner", user="ann")
        rag = RAG(INBOX, memory, k=1)(query="dinner dog", user="ann", exclude=("ann-3",))
    assert (plain.answer, rag.answer) == ("family", "family")
    assert "travel" not in rules.asked[0].text.replace(INBOX.system, "")
    assert "dinner with the dog" in rules.asked[1].text
    assert [one.interaction.id for one in rag.memories] == ["ann-1"]


def test_labels_of_which_one_is_all_that_is_listed_still_have_a_probability():
    sure = {"work": 1.0}
    lm = stand_in(book(says={"label": sure}))
    lm.known = Known({"alternatives": 1, "prefills": True}, fixed=True)
    with dspy.context(lm=lm):
        said = Answerer(INBOX)(query="dinner")
    assert sum(said.distribution.values()) == pytest.approx(1)
    assert said.answer == "work"


def test_an_lm_that_begins_with_none_of_the_labels_is_asked_once_more_in_a_form():
    rules = book(says={"label": {"Sorry": 0.9, "I": 0.1}})
    with dspy.context(lm=stand_in(rules)):
        said = Answerer(INBOX)(query="dinner")
    assert (said.answer, said.distribution) == ("family", None)
    assert [one.kind for one in rules.asked] == ["labels", "json"]


def test_an_lm_that_never_says_a_label_is_an_error_that_quotes_it():
    rules = book(says={"label": {"Sorry": 0.9}, "json": {"answer": "garden"}})
    with dspy.context(lm=stand_in(rules)), pytest.raises(LMError, match="garden"):
        Answerer(INBOX)(query="dinner")
    assert len(rules.asked) == 2


def test_an_answer_under_another_name_is_read():
    rules = RuleBook(INBOX, says={"json": {"folder": "Travel"}})
    with dspy.context(lm=stand_in(rules, likelihoods=False)):
        assert Answerer(INBOX)(query="dinner").answer == "travel"
    assert len(rules.asked) == 1


def test_an_answer_in_no_form_is_asked_for_once_more():
    rules = RuleBook(INBOX, says={"json": in_turn("I am not sure.", {"answer": "travel"})})
    with dspy.context(lm=stand_in(rules, likelihoods=False)):
        assert Answerer(INBOX)(query="dinner").answer == "travel"
    first, second = rules.asked
    assert "I am not sure." in second.text
    assert first.text in second.text
