"""The LM judge of texts: asked in both orders, heard only where it knows the user, never a yes."""

from __future__ import annotations

import pytest
from aligning import align
from rulebook import RuleBook, stand_in
from worlds_of_mail import book as inbox_book
from worlds_of_mail import mail, remembering

from personaagent.data import Persona, Text
from personaagent.optimizers import AcceptOnReplay, Replayed
from personaagent.optimizers.lm_judge import PAIRS, TextJudge
from personaagent.optimizers.selection import Trial
from personaagent.optimizers.worklog import MemoryWorkLog
from personaagent.programs import PersonaAgent

LETTERS = Text("inbox", "Write a letter.", item="topic")
SIGNED = "Yours, Ann"
PAST = [mail(n, f"topic {n}", f"Dear all, number {n}. {SIGNED}") for n in range(6)]


def by_sign_off(asked):
    """Takes what is signed as the user signs for the user's; the first where both or none are."""
    first, second = asked.text.split("\nfirst:\n")[1].split("\nsecond:\n")
    return "second" if SIGNED in second and SIGNED not in first else "first"


def judging(written, record=None):
    book = RuleBook(LETTERS, says={"written": written})
    lm = stand_in(book, likelihoods=False)
    return TextJudge(PAST, record or MemoryWorkLog(), lm), book


def answers(*texts, score=0.5):
    return [
        Replayed(past, text, None, None, 1 - score, score, False)
        for past, text in zip(PAST, texts, strict=False)
    ]


def trial(before, after):
    persona = Persona("ann", "inbox")
    return Trial(persona, persona, answers(*before), answers(*after, score=0.9))


def test_a_text_is_taken_for_the_users_only_where_both_orders_say_so():
    text_judge, book = judging(by_sign_off)
    pairs = [
        (PAST[0], f"Hello. {SIGNED}", "Hello. Best regards"),
        (PAST[1], "Hello. Best regards", f"Hello. {SIGNED}"),
        (PAST[2], "Hello.", "Good day."),  # the first one in either order
        (PAST[3], "The same.", "The same. "),
    ]
    assert text_judge.shares(pairs) == [1.0, 0.0, 0.5, 0.5]
    assert len(book.asked) == 6  # nothing is asked of texts that are the same
    assert "topic 0" in book.asked[0].text
    assert PAST[0].response not in book.asked[0].text  # what is judged is no example
    assert PAST[5].response in book.asked[0].text


def test_what_was_said_is_kept():
    record = MemoryWorkLog()
    pairs = [(PAST[0], f"Hello. {SIGNED}", "Hello.")]
    first, _ = judging(by_sign_off, record)
    again, book = judging(by_sign_off, record)
    assert first.shares(pairs) == again.shares(pairs) == [1.0]
    assert book.asked == []


def test_it_knows_a_user_whose_own_texts_it_tells_from_the_lms():
    knowing, book = judging(by_sign_off)
    assert knowing.knows(answers(*["Hello."] * 6))
    assert len(book.asked) == 2 * PAIRS
    assert not judging("first")[0].knows(answers(*["Hello."] * 6))
    assert not knowing.knows(answers("Hello."))  # one pair says nothing
    assert not knowing.knows([])
    assert not knowing.knows(answers(*(one.response for one in PAST)))


def test_a_winner_that_is_less_like_the_user_is_refused():
    text_judge, _ = judging(by_sign_off)
    unlike = trial(["Hello. Y", f"Hello. {SIGNED}"], ["Dear all.", "Dear all, number."])
    assert AcceptOnReplay().accepts(unlike)[0]
    agrees, reason = text_judge.agrees(unlike)
    assert not agrees
    assert reason == "a judge takes it for the user's in 25% of 2 pairs"


def test_a_winner_that_is_more_like_the_user_stays_one():
    text_judge, _ = judging(by_sign_off)
    like = trial(["Hello.", "Hello you."], [f"Hello. {SIGNED}", f"Hello you. {SIGNED}"])
    agrees, reason = text_judge.agrees(like)
    assert agrees
    assert reason.endswith("in 100% of 2 pairs")


@pytest.mark.parametrize("written", ["first", "nobody", ""])
def test_a_judge_that_does_not_know_the_user_or_answers_in_no_form_is_not_heard(written):
    text_judge, _ = judging(written)
    unlike = trial(["Hello.", f"Hello. {SIGNED}"], ["Dear all.", "Dear all, number."])
    agrees, reason = text_judge.agrees(unlike)
    assert agrees
    assert reason.endswith("it does not know the user's own texts from ours")


def test_nobody_is_asked_of_equal_answers():
    text_judge, book = judging(by_sign_off)
    assert text_judge.agrees(trial(["Hello."], ["Hello. "]))[0]
    assert text_judge.agrees(trial([], []))[0]
    assert book.asked == []


def test_an_alignment_does_not_take_more_overlap_for_the_user(tmp_path):
    """A rule makes letters share more words with the user's, and leave the sign-off out."""
    past = [mail(n, f"topic {n}", f"Dear all, number {n}. {SIGNED}") for n in range(16)]

    def write(asked):
        other = f"Something else, for once and for you, my friends. {SIGNED}"
        return "Dear all, number." if "Greet all" in asked.system else other

    def by_form(asked):
        first, second = asked.text.split("\nfirst:\n")[1].split("\nsecond:\n")
        like = [2 * (SIGNED in one) + ("Dear" in one) for one in (first, second)]
        return "second" if like[1] > like[0] else "first"

    edit = {"action": "add", "rule": 0, "text": "Greet all.", "because": [1, 2]}
    says = {
        "text": write,
        "profile": "",
        "edits": [edit],
        "critique": "Greet.",
        "summary": "Greet.",
    }
    found = {}
    for name, written in (("knows", by_form), ("guesses", "first")):
        book = RuleBook(LETTERS, says={**says, "written": written})
        (tmp_path / name).mkdir()
        with remembering(tmp_path / name, *past) as memory:
            log = align(PersonaAgent(LETTERS, memory), past, lm=stand_in(book, likelihoods=False))
        found[name] = log
        assert [one for one in book.asked if "written" in one.fields]
    assert "Greet all" in found["guesses"].last.render()
    assert "Greet all" not in found["knows"].last.render()
    refused = [one.reason for step in found["knows"].steps for one in step.candidates]
    assert any("a judge takes it for the user's in 0% of" in one for one in refused)


def test_a_label_is_right_or_wrong_and_needs_no_judge(agent, history):
    rules = inbox_book()
    align(agent, history, lm=stand_in(rules, likelihoods=False))
    assert not [one for one in rules.asked if "written" in one.fields]
