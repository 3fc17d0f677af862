"""The contest with DSPy's optimizers: one student, one budget, one reading, each outcome once."""

from contextlib import contextmanager

import dspy
import pytest
from contest import inbox
from rivalry import RULE, proposing
from rulebook import stand_in
from standins import HashEmbedder
from worlds_of_mail import INBOX, book

from benchmarks.rivals.budget import Stopped, ration, spent
from benchmarks.rivals.contest import FRACTIONS, Contest, Setup
from benchmarks.rivals.job import Arm
from benchmarks.rivals.optimizers import ARMS
from benchmarks.rivals.program import (
    Ledger,
    LedgerAdapter,
    Prompt,
    assistant,
    feedback,
    prompt_of,
    question,
)
from personaagent.data import Persona, Text
from personaagent.errors import BudgetError, LMError
from personaagent.memory import EpisodicMemory, Store
from personaagent.programs import Answerer

ASKED = question(INBOX, "dinner with the dog")
PERSONA = Persona("ann", "inbox", profile="A person.").render()


@contextmanager
def contest(folder, arms, *, lm=None, calls=60, data=None, **options):
    chosen = data or inbox(history=24, questions=3)
    with Store(folder / "memory.db") as store:
        memory = EpisodicMemory(store, HashEmbedder(dimensions=256))
        yield Contest(
            chosen,
            [ARMS[one] if isinstance(one, str) else one for one in arms],
            lm or proposing()[1],
            memory,
            setup=Setup(calls=calls),
            log=folder / "optimizers.log",
            **options,
        )


# The student


def test_the_student_asks_what_persona_agents_answerer_asks():
    ours, theirs = book(), book()
    with dspy.context(lm=stand_in(ours)):
        Answerer(INBOX)(query="dinner with the dog", persona=PERSONA)
    ledger = Ledger(INBOX, {})
    with dspy.context(lm=stand_in(theirs), adapter=LedgerAdapter(INBOX, ledger)):
        said = assistant(INBOX, Prompt(PERSONA))(question=ASKED)
    assert said.answer == "family"
    assert theirs.asked == ours.asked


def test_a_prompt_with_demos_comes_back_from_the_program_and_is_shown():
    rules = book()
    prompt = Prompt("Be Ann.", ((question(INBOX, "dog walk"), "travel"),))
    program = assistant(INBOX, prompt)
    assert prompt_of(program.deepcopy()) == prompt
    with dspy.context(lm=stand_in(rules), adapter=LedgerAdapter(INBOX, Ledger(INBOX, {}))):
        program(question=ASKED)
    assert "message: dog walk\ntravel\n" in rules.asked[0].text


def test_a_hot_lm_draws_its_label_with_the_rollout_as_the_seed():
    lm = stand_in(book())
    program = assistant(INBOX, Prompt(PERSONA))

    def drawn(rollout):
        program.set_lm(lm.copy(temperature=1.0, rollout_id=rollout))
        return program(question=question(INBOX, "nothing known")).answer

    ledger = Ledger(INBOX, {question(INBOX, "nothing known"): "work"})
    with dspy.context(lm=lm, adapter=LedgerAdapter(INBOX, ledger)):
        once, again = ([drawn(n) for n in range(30)] for _ in range(2))
    assert once == again
    assert set(once) == {"work", "family", "travel"}
    assert ledger.best(99, {question(INBOX, "nothing known")}, 1) is None  # draws are no score


def test_feedback_says_what_the_user_answered():
    gold = dspy.Example(question=ASKED, answer="travel")
    wrong = feedback(INBOX, gold, dspy.Prediction(answer="family"))
    assert wrong.score == 0
    assert "the user answered 'travel'" in wrong.feedback
    assert feedback(INBOX, gold, dspy.Prediction(answer="travel")).score == 1
    with pytest.raises(LMError):
        feedback(INBOX, gold, None)


# The ledger


def test_the_best_so_far_is_the_best_on_enough_of_what_decides():
    ledger = Ledger(INBOX, {"a": "work", "b": "work", "c": "work"})
    good, early, thin = Prompt("good"), Prompt("early"), Prompt("thin")
    ledger.note(1, early, "a", "work")
    ledger.note(2, early, "b", "family")
    ledger.note(3, thin, "a", "work")
    ledger.note(4, good, "a", "work")
    ledger.note(5, good, "b", "work")
    ledger.note(6, thin, "c", "work")
    ledger.note(7, thin, "nobody knows", "work")
    assert ledger.best(1, {"a", "b"}, 2) is None
    assert ledger.best(4, {"a", "b"}, 2) == early
    assert ledger.best(9, {"a", "b"}, 2) == good
    assert ledger.best(9, {"c"}, 1) == thin


# The ration


def test_a_ration_counts_by_itself_and_repeats_are_free_within_it():
    rules = book()
    lm = stand_in(rules)
    one, two = ration(lm, 2), ration(lm, 2)
    for _ in range(3):
        one("the same")
    assert (spent(one), len(rules.asked)) == (1, 1)
    two("the same")
    assert (spent(two), len(rules.asked)) == (1, 2)
    one("another")
    with pytest.raises(BudgetError):
        one("a third")
    assert lm.meter.snapshot().calls == 0


def test_an_optimizer_that_swallows_every_exception_is_stopped_all_the_same():
    lm = ration(stand_in(book()), 2)
    program = assistant(INBOX, Prompt(PERSONA))

    def optimize():
        for n in range(5):
            try:
                program(question=question(INBOX, f"message {n}"))
            except Exception:
                continue

    adapter = LedgerAdapter(INBOX, Ledger(INBOX, {}))
    with dspy.context(lm=lm, adapter=adapter), pytest.raises(Stopped):
        optimize()
    assert spent(lm) == 2


# The contest


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contest")
    rules, lm = proposing()
    with contest(folder, list(ARMS), lm=lm) as made:
        outcomes = made()
        yield made, outcomes, rules, folder


def test_every_arm_stays_within_the_budget_and_answers_every_question(played):
    made, outcomes, _, _ = played
    assert [(one.user, one.arm) for one in outcomes] == [
        (user, arm) for user in made.samples for arm in ARMS
    ]
    for one in outcomes:
        assert [point.fraction for point in one.points] == list(FRACTIONS)
        for point in one.points:
            assert point.calls <= point.fraction * 60
            assert set(point.answers) == {s.query.id for s in made.samples[one.user]}
            assert set(point.answers.values()) <= set(INBOX.labels)
        assert not one.stopped.startswith("by an error"), log_of(played, one)


def log_of(played, one):
    said = (played[3] / "optimizers.log").read_text()
    return said[said.find(f"{one.arm} failed for {one.user}") :][:2000]


def test_what_an_optimizer_finds_is_what_is_served(played):
    _, outcomes, _, _ = played
    final = {one.arm: one.points[-1] for one in outcomes if one.user == "ann"}
    assert final["non-personalized"].product == {}
    assert final["non-personalized"].calls == 0
    assert final["profile"].calls == 1
    assert "About this user" in final["profile"].product["instruction"]
    assert final["gepa"].product["instruction"] == RULE
    assert final["mipro-v2"].product["instruction"] == RULE
    assert len(final["bootstrap-few-shot"].product["demos"]) == 16
    texts = [one["text"] for one in final["persona-alignment"].product["directives"]]
    assert RULE in texts


def test_early_points_are_what_stopping_there_would_have_served(played):
    _, outcomes, _, _ = played
    gepa = next(one for one in outcomes if one.arm == "gepa")
    start = next(one for one in outcomes if one.arm == "profile")
    assert gepa.points[0].product == start.points[0].product
    assert gepa.points[-1].product != start.points[0].product


def test_a_second_run_asks_nothing_and_finds_the_same(played):
    _, outcomes, rules, folder = played
    before = len(rules.asked)
    with contest(folder, list(ARMS), lm=played[0].lm.copy()) as again:
        assert again.left() == dict.fromkeys(ARMS, 0)
        found = again()
    assert len(rules.asked) == before
    assert [(o.arm, [p.answers for p in o.points]) for o in found] == [
        (o.arm, [p.answers for p in o.points]) for o in outcomes
    ]


def test_what_is_left_is_estimated_without_a_call(tmp_path):
    rules, lm = proposing()
    with contest(tmp_path, ["non-personalized", "gepa"], lm=lm) as made:
        assert made.left() == {"non-personalized": 2 * 3, "gepa": 2 * (60 + 3 * 3)}
    assert rules.asked == []


def test_an_lm_that_dies_ends_the_run_and_the_next_one_goes_on(tmp_path):
    rules, lm = proposing(dies_after=40)
    arms = ["profile", "bootstrap-few-shot", "gepa"]
    with contest(tmp_path, arms, lm=lm) as made, pytest.raises(LMError, match="gone"):
        made()
    rules.dies_after = None
    watched = []
    with contest(tmp_path, arms, lm=lm, watch=lambda *now: watched.append(now)) as made:
        outcomes = made()
    assert len(outcomes) == 6
    assert 0 < len(watched) < 6
    assert watched[0] != ("ann", "profile")


def test_an_optimizer_that_fails_is_taken_with_its_best_so_far(tmp_path):
    def learn(lesson):
        lesson.trail.append((1, Prompt(RULE)))
        raise AssertionError("no such thing")

    broken = Arm("broken", "fails", learn)
    with contest(tmp_path, [broken]) as made:
        (one, _) = made()
    assert one.stopped == "by an error: AssertionError"
    assert one.points[-1].product["instruction"] == RULE
    assert "no such thing" in (tmp_path / "optimizers.log").read_text()


def test_no_arm_sees_a_held_out_answer(played):
    made, _, rules, _ = played
    held = {s.query.query for some in made.samples.values() for s in some}
    shown = [one.everything for one in rules.asked if one.kind != "labels"]
    assert shown
    assert not [text for text in shown for query in held if query in text]


def test_texts_are_written_and_scored_by_overlap(tmp_path):
    titles = Text("inbox", "Write a title.", item="message", answer="title")
    data = inbox(history=12, questions=2)
    rules, _ = proposing()
    rules.task = titles
    rules.says["text"] = "travel"
    arms = ["bootstrap-few-shot", "gepa", "persona-alignment"]
    data = type(data)(titles, data.name, data.digest, data.samples, data.histories)
    with contest(tmp_path, arms, lm=stand_in(rules), data=data, calls=40) as made:
        outcomes = made()
    assert {a for o in outcomes for p in o.points for a in p.answers.values()} == {"travel"}
    assert not [o for o in outcomes if o.stopped.startswith("by an error")]
