"""From outcomes to the table, the tests and the account; what is learned from and held out."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from contest import inbox
from hypothesis import given
from hypothesis import strategies as st
from rivalry import outcome, proposing
from standins import HashEmbedder
from worlds_of_mail import INBOX, mail

from benchmarks.optimizers import main
from benchmarks.rivals.comparison import Played, compare
from benchmarks.rivals.contest import Setup
from benchmarks.rivals.dataset import hold_out, material, well_known
from benchmarks.rivals.report import verdicts, write_account
from personaagent.data import Choice, Rating
from personaagent.errors import DataError
from personaagent.experiments.cohort import EvaluationData
from personaagent.memory import EpisodicMemory, Store

USERS = [f"user{n}" for n in range(12)]


def played(shares, task=INBOX, users=USERS):
    """By arm, the share of right answers of every user after a quarter, half and all calls."""
    data = inbox(users, questions=10, history=1)
    samples = {user: [s for s in data.samples if s.owner == user] for user in users}

    def answers(user, share):
        wrong = {"work": "family", "family": "travel", "travel": "work"}
        return {
            one.query.id: one.gold if n < share * 10 else wrong[one.gold]
            for n, one in enumerate(samples[user])
        }

    outcomes = [
        outcome(user, arm, *(answers(user, share) for share in of))
        for user in users
        for arm, of in shares.items()
    ]
    return Played(task, samples, outcomes)


def test_the_table_holds_quality_and_calls_after_every_fraction():
    found = compare([played({"gepa": (0.2, 0.4, 0.6), "persona-alignment": (0.5, 0.8, 0.9)})])
    assert (found.users, found.samples) == (12, 120)
    half = found.standing("persona-alignment", 0.5)
    assert half.quality.value == pytest.approx(0.8)
    assert half.calls == 50
    assert found.stopped["gepa"] == {"by itself": 12}


def test_ours_at_half_is_compared_with_the_rivals_whole_budget():
    found = compare([played({"gepa": (0.2, 0.4, 0.6), "persona-alignment": (0.5, 0.8, 0.9)})])
    half, whole = found.versus
    assert (half.fraction, whole.fraction) == (0.5, 1.0)
    assert half.difference.value == pytest.approx(0.2)
    assert whole.difference.value == pytest.approx(0.3)
    assert half.corrected < 0.05
    (said,) = verdicts(found)
    assert "at least as good as 1 of 1 optimizers" in said


def test_a_rival_that_is_ahead_is_named():
    found = compare([played({"simba": (0.2, 0.8, 0.9), "personaagent": (0.5, 0.8, 0.9)})])
    (said,) = verdicts(found)
    assert "0 of 1" in said
    assert "behind simba" in said


def test_arms_that_do_not_optimize_are_no_rivals_of_the_verdict():
    shares = {"profile": (0.9,) * 3, "gepa": (0.1,) * 3, "personaagent": (0.5,) * 3}
    (said,) = verdicts(compare([played(shares)]))
    assert "1 of 1" in said


def test_an_answer_that_cannot_be_used_is_wrong_and_counted():
    one = played({"gepa": (1.0, 1.0, 1.0)}, users=["ann"])
    (only,) = one.outcomes
    last = replace(only.points[-1], answers=dict.fromkeys(only.points[-1].answers))
    spoilt = replace(only, points=(*only.points[:-1], last))
    found = compare([replace(one, outcomes=[spoilt])])
    assert found.standing("gepa", 1.0).quality.value == 0
    assert found.standing("gepa", 1.0).unusable == 10


def test_users_of_several_tasks_are_taken_together_and_stay_apart():
    shares = {"gepa": (0.5,) * 3, "personaagent": (1.0,) * 3}
    other = replace(INBOX, name="other")
    both = compare([played(shares, users=["ann"]), played(shares, other, users=["ann"])])
    assert (both.users, both.samples) == (2, 20)


@given(st.lists(st.integers(0, 10), min_size=3, max_size=3))
def test_quality_lies_in_its_interval(shares):
    found = compare([played({"gepa": tuple(n / 10 for n in shares)}, users=["ann", "bob"])])
    for one in found.standings:
        assert 0 <= one.quality.low <= one.quality.value <= one.quality.high <= 1


def test_the_account_says_who_failed_and_draws_every_arm(tmp_path):
    one = played({"gepa": (0.2, 0.4, 0.6), "persona-alignment": (0.5, 0.8, 0.9)})
    failed = [
        replace(o, stopped="by an error: ValueError") if o.arm == "gepa" else o
        for o in one.outcomes
    ]
    lm = proposing()[1]
    page, twin = write_account([replace(one, outcomes=failed)], Setup(calls=100), lm, tmp_path)
    text = twin.read_text()
    assert "gepa: by an error: ValueError (12 users)" in text
    assert "a budget of 100 calls" in text
    drawn = (tmp_path / "optimizers-all.svg").read_text()
    assert "gepa" in drawn
    assert "persona-alignment" in drawn
    assert drawn in page.read_text()


# What is learned from


@pytest.fixture
def memory(tmp_path):
    with Store(tmp_path / "m.db") as store:
        yield EpisodicMemory(store, HashEmbedder())


def test_arms_learn_from_the_latest_before_the_first_question_and_memory_holds_no_more(memory):
    data = inbox(history=20, questions=4)
    found = material(data, memory, ["ann"], latest=12)
    first = data.cutoffs["ann"]
    assert len(found["ann"]) == 12
    assert all(one.time < first for one in found["ann"])
    assert first - found["ann"][-1].time == timedelta(days=1)
    assert memory.store.of("ann").interactions("inbox") == found["ann"]
    assert memory.store.of("bob").count() == 0


def test_a_user_with_next_to_nothing_is_refused(memory):
    with pytest.raises(DataError, match=r"'ann' has 5 .* needs 6"):
        material(inbox(history=5), memory, ["ann"], latest=40)


def test_only_users_with_enough_before_their_questions_are_well_known():
    data = inbox(history=8, questions=3)
    few = list(data.histories({"ann"}))[:5] + list(data.histories({"bob"}))
    made = replace(data, histories=lambda _: iter(few))
    assert {one.owner for one in well_known(made, 8).samples} == {"bob"}
    with pytest.raises(DataError, match="no user has 9"):
        well_known(made, 9)


def test_for_a_choice_questions_are_made_of_papers(memory):
    pick = Choice("pick", "Which?", item="paper", answer="reference")
    papers = [
        mail(n, f"{user} paper {n}", "", user, task="pick", time=None)
        for user in ("ann", "bob")
        for n in range(8)
    ]
    data = inbox()
    samples = tuple(replace(one, query=replace(one.query, time=None)) for one in data.samples)
    made = EvaluationData(pick, "p", "d", samples, lambda _: iter(papers))
    found = material(made, memory, ["ann", "bob"], latest=40)
    assert {one.response for one in found["ann"]} <= {"[1]", "[2]"}
    assert len(found["ann"]) == 8


def test_held_out_interactions_become_questions_and_leave_their_history():
    data = inbox(history=20, questions=1)
    held = hold_out(data, 5, {"ann"})
    fresh = held.samples[len(data.samples) :]
    assert [s.owner for s in fresh] == ["ann"] * 5
    left = {one.id for one in held.histories({"ann", "bob"})}
    assert not left & {s.query.id for s in fresh}
    assert len(left) == 40 - 5
    assert max(one.time for one in held.histories({"ann"})) < min(s.query.time for s in fresh)
    assert held.cutoffs["ann"] == min(s.query.time for s in fresh)
    assert held.digest != data.digest


# The command


def test_the_estimate_asks_nothing_and_names_every_arm(tmp_path, capsys):
    rules, lm = proposing()
    options = ["--task", "inbox,stars", "--estimate", "--db", str(tmp_path / "o.db")]
    main(options, lm, HashEmbedder())
    said = capsys.readouterr().out
    assert said.startswith("8 users; at most")
    assert f"gepa: {8 * (200 + 3 * 10):,}" in said
    assert rules.asked == []


def test_the_command_writes_its_account_and_goes_on_where_it_was(tmp_path, capsys):
    rules, lm = proposing()
    rules.task = Rating("stars", "How many stars?")
    options = ["--task", "stars", "--users", "2", "--calls", "20", "--db", str(tmp_path / "o.db")]
    options += ["--report", str(tmp_path / "out"), "--arms", "profile,gepa,personaagent"]
    main(options, lm, HashEmbedder())
    asked = len(rules.asked)
    assert "optimizers.md" in capsys.readouterr().out
    main(options, lm, HashEmbedder())
    assert len(rules.asked) == asked
    assert "at most 0 LM calls" in capsys.readouterr().out
    assert (tmp_path / "out" / "optimizers.html").is_file()
    kept = json.loads((tmp_path / "out" / "optimizers.json").read_text())
    assert [one["arm"] for one in kept["standings"][::3]] == ["profile", "gepa", "personaagent"]


@pytest.mark.parametrize(
    "options", [["--arms", "gepaa"], ["--task", "lamp-9"], ["--questions", "q.json"]]
)
def test_a_wrong_name_is_said(options, tmp_path):
    with pytest.raises(SystemExit, match=r"gepaa|lamp-9|LaMP"):
        main([*options, "--db", str(tmp_path / "o.db")], proposing()[1], HashEmbedder())
