"""The benchmark of long histories: what is kept gives the table, every arm is what it is called."""

from __future__ import annotations

from pathlib import Path

import dspy
import pytest
from rulebook import RuleBook, stand_in
from worlds_of_mail import INBOX, book, habitual, remembering

from benchmarks.kept import Kept, OverUsers
from benchmarks.long_arms import (
    ABLATIONS,
    AFTER,
    ARMS,
    BEFORE,
    COUNTED,
    MEMORIES,
    OTHERS,
    PAPERS,
    RIVAL,
    SUMMARY,
    Arms,
)
from benchmarks.long_histories import ask, learn, learn_by_gepa, summarize, table
from personaagent.data import Action, Persona, Query, Text
from personaagent.experiments.cohort import Sample

ROOT = Path(__file__).parents[2]
FILMS = "films", "embedded", "memories", "films-again", "portable", "portable-back"
LABELS = "lamp-1", "lamp-2n-style", "lamp-2m-style", "lamp-2m-style-again", "lamp-3-style"
REPLIES = "replies", "replies-again", "replies-unquoted", "replies-default"
TEXTS = *REPLIES, "lamp-4", "lamp-4-first", "lamp-5", "lamp-4-embedded"
FOLDERS = [
    *(f"long-histories/{one}" for one in FILMS),
    *(f"labels/{one}" for one in LABELS),
    *(f"texts/{one}" for one in TEXTS),
]
# Two are learned each by itself, others write or think of their own before they answer.
OURS = [one for one in ARMS if one not in (PAPERS, RIVAL, *OTHERS)]
LATER = [Sample(Query(f"q{n}", "ann", "inbox", f"dog {n}", "travel"), "ann") for n in range(3)]


@pytest.fixture
def kept(tmp_path):
    """By name, the files of a run."""
    return {
        name: Kept(tmp_path / f"{name}.jsonl")
        for name in ("answers", "learned", "personas", "texts")
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_published_tables_are_computed_from_what_is_kept(folder):
    kept = ROOT / "results" / folder
    made = table(Kept(kept / "answers.jsonl"), Kept(kept / "learned.jsonl"))
    page = f"results-{folder.partition('/')[0]}.md"
    assert made in (ROOT / "docs" / page).read_text(encoding="utf-8")


def run(tmp_path, kept, lms, arms=OURS):
    with remembering(tmp_path, *habitual()) as memory:
        learn("ours", memory, INBOX, ["ann"], lms[0], kept["learned"], kept["personas"])
        answer = Arms(INBOX, memory, kept["personas"])
        ask(arms, answer, INBOX, LATER, lms, kept["answers"], kept["texts"], side_by_side=2)


def test_every_arm_answers_under_what_it_is_called(tmp_path, kept):
    shown = {}
    with remembering(tmp_path, *habitual()) as memory:
        lm = stand_in(book())
        learn("ours", memory, INBOX, ["ann"], lm, kept["learned"], kept["personas"])
        summarize(memory, INBOX, ["ann"], lm, kept["personas"])
        answer = Arms(INBOX, memory, kept["personas"])
        for arm in (*OURS, *COUNTED):
            rules = book()
            with dspy.context(lm=stand_in(rules)):
                answer(arm, LATER[0])
            (asked,) = rules.asked
            shown[arm] = (asked.text.count("the folder for the message"), asked.everything)
    counts = [shown[arm][0] for arm in ("none", "rag, k=4", "rag, k=16", "latest 60", BEFORE)]
    assert counts == [0, 4, 16, 36, 0]
    assert [shown[arm][0] for arm in (*MEMORIES, SUMMARY, *COUNTED)] == [4, 16, 4, 12, 16]
    assert "About this user" in shown[SUMMARY][1]
    assert ("answer travel" in shown[BEFORE][1], "answer travel" in shown[AFTER][1]) == (
        False,
        True,
    )
    without = [shown[arm] for arm in ABLATIONS]
    assert [count for count, _ in without] == [0, 0, 4]
    assert ["answer travel" in text for _, text in without] == [False, True, True]
    assert not answer.knows(PAPERS, "ann")


def test_other_systems_answer_too(tmp_path, kept):
    said = {"step": {"next_thought": "", "tool": "finish"}, "text": "Has a dog."}
    with remembering(tmp_path, *habitual()) as memory:
        answer = Arms(INBOX, memory, kept["personas"])
        rules = book(says=said)
        ask([*OTHERS], answer, INBOX, LATER, [stand_in(rules)], kept["answers"], kept["texts"], 1)
    assert {arm for arm, _ in kept["answers"].rows} == set(OTHERS)
    assert any("Has a dog." in one.everything for one in rules.asked)  # the portrait is shown


def test_the_table_says_what_arms_are_worth_and_what_an_update_was_worth_later(tmp_path, kept):
    run(tmp_path, kept, [stand_in(book())])
    made = table(kept["answers"], kept["learned"])
    assert made.startswith("3 questions of 1 users")
    assert "| none | 3 | 0.000 [0.000, 0.000] |" in made
    assert f"| {AFTER} | 3 | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] |" in made
    assert "| directive | 2 | 1 | 1 | 0 | +0.500 |" in made  # of dogs, and of cars
    assert "| ours | 1 |" in made


def test_whoever_answers_a_question_under_one_arm_answers_it_under_no_other(tmp_path, kept):
    books = [book() for _ in range(5)]
    arms = ("none", "rag, k=4", "rag, k=16", "latest 60")
    run(tmp_path, kept, [stand_in(one) for one in books], arms)
    for one in books[1:]:  # the first one has written the persona
        asked = [word for each in one.asked for word in ("dog 0", "dog 1", "dog 2")
                 if word in each.text]  # fmt: skip
        assert len(asked) == len(set(asked))
    assert sum(len(one.asked) for one in books[1:]) >= 9


def test_a_run_goes_on_where_it_was(tmp_path, kept):
    run(tmp_path, kept, [stand_in(book())])
    again = {name: Kept(tmp_path / f"{name}.jsonl") for name in kept}
    assert again["answers"].rows == kept["answers"].rows
    rules = book()
    run(tmp_path, again, [stand_in(rules)])
    assert rules.asked == []


def test_where_alignment_changed_nothing_the_answer_before_it_stands(tmp_path, kept):
    chain = [Persona("ann", "inbox", profile="Loves dogs.", actions=()).to_dict()]
    kept["personas"].add({"arm": "ours", "id": "ann", "chain": chain})
    rules = book()
    with remembering(tmp_path, *habitual()) as memory:
        answer = Arms(INBOX, memory, kept["personas"])
        lms = [stand_in(rules, likelihoods=False)]
        ask((BEFORE, AFTER), answer, INBOX, LATER, lms, kept["answers"], kept["texts"], 2)
    assert len(rules.asked) == len(LATER)
    rows = kept["answers"].rows
    assert all(rows[AFTER, f"q{n}"] == rows[BEFORE, f"q{n}"] | {"arm": AFTER} for n in range(3))


def test_a_text_that_stands_is_kept_under_both_arms(tmp_path, kept):
    task = Text("inbox", "Write the reply.", item="message")
    chain = [Persona("ann", "inbox", profile="Is short.", actions=()).to_dict()]
    kept["personas"].add({"arm": "ours", "id": "ann", "chain": chain})
    lms = [stand_in(RuleBook(task, says={"text": "Yes."}), likelihoods=False)]
    with remembering(tmp_path, *habitual()) as memory:
        answer = Arms(task, memory, kept["personas"])
        ask((BEFORE, AFTER), answer, task, LATER, lms, kept["answers"], kept["texts"], 2)
    assert {arm for arm, _ in kept["texts"].rows} == {BEFORE, AFTER}
    assert {row["answer"] for row in kept["texts"].rows.values()} == {"Yes."}


def test_where_nothing_is_left_out_ours_is_not_asked_again(tmp_path, kept):
    bare = Persona("ann", "inbox", actions=(Action("recall", {"k": 16}),))
    kept["personas"].add({"arm": "ours", "id": "ann", "chain": [bare.to_dict()]})
    rules = book()
    with remembering(tmp_path, *habitual()) as memory:
        answer = Arms(INBOX, memory, kept["personas"])
        arms = (BEFORE, AFTER, "ours without persona", "ours without memory")
        ask(arms, answer, INBOX, LATER, [stand_in(rules)], kept["answers"], kept["texts"], 2)
    assert len(rules.asked) == 2 * len(LATER)
    assert len(kept["answers"].rows) == len(arms) * len(LATER)


def test_gepa_begins_with_our_first_persona_and_its_calls_are_counted(tmp_path, kept):
    first = Persona("ann", "inbox", profile="Loves dogs.")
    kept["personas"].add({"arm": "ours", "id": "ann", "chain": [first.to_dict(), first.to_dict()]})
    kept["learned"].add({"arm": "ours", "id": "ann", "calls": 12})
    rules = book(says={"new_instruction": "If the message mentions dog, answer travel."})
    with remembering(tmp_path, *habitual()) as memory:
        files = kept["learned"], kept["personas"]
        learn_by_gepa(memory, INBOX, ["ann"], stand_in(rules), *files)
        assert kept["learned"].rows[RIVAL, "ann"]["calls"] == len(rules.asked) > 12
        assert first.render() in rules.asked[0].everything
        answer = Arms(INBOX, memory, kept["personas"])
        ask([RIVAL], answer, INBOX, LATER, [stand_in(rules)], kept["answers"], kept["texts"], 2)
    (chain,) = [row["chain"] for (arm, _), row in kept["personas"].rows.items() if arm == RIVAL]
    assert all(chain[0]["profile"] in one.everything for one in rules.asked[-len(LATER) :])
    assert {id for arm, id in kept["answers"].rows if arm == RIVAL} == {"q0", "q1", "q2"}


def test_means_are_of_questions_and_intervals_of_users():
    over = OverUsers(["a"] * 3 + ["b"])
    assert over.mean([1.0, 1.0, 1.0, 0.0])[0] == 0.75
    low, high = over.mean([1.0, 1.0, 1.0, 0.0])[1:]
    assert (low, high) == (0.0, 1.0)  # a resample may hold one user alone
    assert OverUsers(["a", "b"]).said([2, 2]) == "2.00 [2.00, 2.00]"
