"""PersonaAlignment on a user with two habits, with an LM that follows rules."""

import json
import math
import threading
from dataclasses import replace
from datetime import timedelta

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rulebook import RuleBook, stand_in
from worlds_of_mail import DAWN, INBOX, book, mail, remembering

from personaagent.data import Choice, Directive, Persona, Rating, Text
from personaagent.errors import BudgetError, DataError, LMError
from personaagent.lm import Budget
from personaagent.optimizers import (
    AcceptOnReplay,
    AlwaysAccept,
    FullRewrite,
    ItemisedEdits,
    LatestBatch,
    PersonaAlignment,
    Replay,
)
from personaagent.optimizers.judging import judge
from personaagent.optimizers.record import Scratch
from personaagent.programs import PersonaAgent
from personaagent.programs.consult import consult

RULES = [
    "If the message mentions dog, answer travel.",
    "If the message mentions car, answer family.",
]


def align(agent, history, rules=None, *, lm=None, valset=None, **options):
    lm = lm or stand_in(rules or book())
    with dspy.context(lm=lm):
        return PersonaAlignment(**options).compile(agent, trainset=history, valset=valset).alignment


def content(log):
    """All of a log that is not time or money."""
    return {key: value for key, value in log.to_dict().items() if key != "usage"}


class Noted(ItemisedEdits):
    """Remembers what it proposed."""

    def __init__(self):
        super().__init__()
        self.proposed = []

    def propose(self, *arguments):
        proposed = super().propose(*arguments)
        self.proposed.append(proposed)
        return proposed


def test_both_habits_are_learned_and_the_held_out_score_rises(agent, history):
    log = align(agent, history)
    assert {(one.cue, one.text.split()[-1]) for one in log.last.directives} == {
        ("dog", "travel."),
        ("car", "family."),
    }
    assert log.first_score < 0.5
    assert log.last_score > 0.9
    assert log.last_loss < log.first_loss / 4


def test_the_aligned_program_answers_by_what_it_learned(agent, history):
    with dspy.context(lm=stand_in(book())):
        aligned = PersonaAlignment().compile(agent, trainset=history)
        assert aligned(query="dinner dog amber", user="ann").answer == "travel"
        assert aligned(query="meeting car jade", user="ann").answer == "family"
        assert aligned(query="meeting jade", user="ann").answer == "work"
    assert aligned.persona.value == aligned.alignment.last


def test_the_student_stays_as_it_is(memory, history):
    mine = Persona("ann", "inbox", profile="Before.", actions=())
    student = PersonaAgent(INBOX, memory, persona=mine)
    before = json.dumps(student.dump_state(), sort_keys=True)
    with dspy.context(lm=stand_in(book())):
        aligned = PersonaAlignment().compile(student, trainset=history)
    assert json.dumps(student.dump_state(), sort_keys=True) == before
    assert student.persona.value is mine
    assert not hasattr(student, "alignment")
    assert aligned is not student
    assert aligned.memory is student.memory
    assert aligned._compiled
    assert memory.store.of("ann").persona("inbox") is None  # publishing is the caller's


def test_every_gradient_and_every_candidate_is_in_the_log(agent, history):
    noted, reported = Noted(), []
    log = align(agent, history, update=noted, report=reported.append)
    truth = {one.id: one.response for one in history}
    assert tuple(reported) == log.steps
    for step in log.steps:
        assert [one.interaction for one in step.gradients] == list(step.batch)
        assert all(one.text and one.truth == truth[one.interaction] for one in step.gradients)
    assert [[one.persona for one in step.candidates] for step in log.steps] == noted.proposed
    json.dumps(log.to_dict())


def test_what_is_accepted_is_the_candidate_that_the_champion_becomes(agent, history):
    log = align(agent, history)
    champion, loss = log.first, log.first_loss
    for step in log.steps:
        assert all(one.persona.parent == champion.hash for one in step.candidates)
        if step.accepted is not None:
            accepted = step.candidates[step.accepted]
            assert step.loss == accepted.loss <= loss
            assert accepted.saved == max(one.saved for one in step.candidates) > 0
            champion, loss = accepted.persona, accepted.loss
    assert (log.last.profile, log.last.directives) == (champion.profile, champion.directives)
    assert (log.last.version, log.last.parent) == (1, log.first.hash)  # the next of the chain


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), latest=st.booleans())
def test_judged_interactions_never_write(agent, history, seed, latest):
    rules = book()
    sampler = LatestBatch() if latest else None
    log = align(agent, history, rules, seed=seed, sampler=sampler, iterations=2)
    judged = set(log.judged)
    assert len(judged) == 12
    for step in log.steps:
        assert not judged & set(step.batch)
        for candidate in step.candidates:
            for directive in candidate.persona.directives:
                assert not judged & {*directive.support, *directive.oppose}
    writing = "".join(one.everything for one in rules.of("text"))
    assert not any(one.query in writing for one in history if one.id in judged)


def test_interactions_given_to_judge_by_never_write_though_they_are_in_the_trainset(agent, history):
    rules = book()
    log = align(agent, history, rules, valset=history[-9:])
    judged = {one.id for one in history[-9:]}
    assert set(log.judged) == judged
    assert not any(judged & set(step.batch) for step in log.steps)
    assert not any(judged & set(one.support + one.oppose) for one in log.last.directives)
    writing = "".join(one.everything for one in rules.of("text"))
    assert not any(one.query in writing for one in history[-9:])


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000))
def test_what_is_lent_to_the_judges_of_a_step_writes_nothing_that_it_judges(agent, history, seed):
    log = align(agent, history, seed=seed)
    for step in log.steps:
        lent = set(step.lent)
        assert len(lent) == 8  # a third of those that may write
        assert not lent & {*step.batch, *log.judged}
        for candidate in step.candidates:
            assert candidate.changed <= len(log.judged) + len(lent)
            for directive in candidate.persona.directives:
                assert not lent & {*directive.support, *directive.oppose}


def test_lent_interactions_judge_where_none_of_the_judging_ones_is_reached(agent, history):
    dogs = [one for one in history if "dog" in one.query]
    others = [one for one in history if one not in dogs]
    champion = Persona("ann", "inbox", actions=())
    candidate = champion.succeed(directives=(Directive(RULES[0], cue="dog", reach=0.4),))
    with dspy.context(lm=stand_in(book())):
        replay = Replay(agent, Scratch())
        on = champion, replay(champion, others), AcceptOnReplay(), replay
        alone, helped = judge([candidate], *on), judge([candidate], *on, lent=history)
    assert (alone.accepted, alone.candidates[0].changed) == (None, 0)
    assert (helped.accepted, helped.candidates[0].changed) == (0, len(dogs))
    assert helped.candidates[0].saved > helped.candidates[0].gained == len(dogs)
    assert helped.judged == alone.judged


def test_who_asks_for_no_evidence_or_names_the_judges_lends_nothing(agent, history):
    always = align(agent, history, acceptance=AlwaysAccept())
    named = align(agent, history, valset=history[-9:])
    assert not any(step.lent for log in (always, named) for step in log.steps)


def test_an_alignment_reads_nothing_of_another_user(agent, history):
    rules = book()
    align(agent, history, rules)
    assert not any("QQBOB" in one.everything for one in rules.asked)


def test_the_same_seed_gives_the_same_log_and_another_one_another_split(agent, history):
    one, two, other = (align(agent, history, seed=seed) for seed in (3, 3, 4))
    assert content(one) == content(two)
    assert one.judged != other.judged


def test_an_lm_that_ignores_rules_gets_none(agent, history):
    log = align(agent, history, book(obeys=False))
    assert log.steps
    assert any(step.candidates for step in log.steps)
    assert all(step.accepted is None for step in log.steps)
    assert log.last.directives == log.first.directives == ()
    assert log.last_loss == log.first_loss


def test_it_stops_when_steps_in_a_row_bring_nothing(agent, history):
    log = align(agent, history, book(obeys=False), iterations=9)
    assert len(log.steps) == 2
    assert log.stopped != "all iterations done"


def test_it_stops_when_nothing_surprises_any_more(agent, history):
    plain = [one for one in history if "dog" not in one.query and "car" not in one.query]
    log = align(agent, plain)
    assert log.steps == ()
    assert log.last.directives == ()


def rewriting(**options):
    return book(says={"profile": "Has habits.", "rules": RULES}, **options)


def test_the_papers_arm_rewrites_from_the_latest_and_always_accepts(agent, history):
    log = align(
        agent,
        history,
        rewriting(),
        iterations=3,
        sampler=LatestBatch(),
        update=FullRewrite(),
        acceptance=AlwaysAccept(),
    )
    assert [step.accepted for step in log.steps] == [0, 0, 0]
    assert [one.text for one in log.last.directives] == RULES
    assert log.last.profile == "Has habits."
    assert log.last_score > log.first_score
    writing = [one.id for one in history if one.id not in log.judged]
    assert [list(step.batch) for step in log.steps] == [writing[-4:]] * 3


def test_always_accepting_accepts_what_is_worse_and_replay_does_not(agent, history):
    worse = ["If the message mentions dinner, answer work."]
    rules = {"profile": "Wrong.", "rules": worse}
    always = align(
        agent, history, book(says=rules), update=FullRewrite(), acceptance=AlwaysAccept()
    )
    replayed = align(agent, history, book(says=rules), update=FullRewrite())
    assert [one.text for one in always.last.directives] == worse
    assert replayed.last_loss <= replayed.first_loss
    assert always.last_loss > replayed.last_loss


def test_with_nothing_to_judge_by_only_always_accepting_changes_the_persona(agent, history):
    kept = align(agent, history, replay=0)
    accepted = align(agent, history, replay=0, acceptance=AlwaysAccept())
    assert kept.judged == accepted.judged == ()
    assert kept.last.directives == ()
    assert {one.cue for one in accepted.last.directives} >= {"dog"}


def test_free_text_is_rewritten_and_judged_by_its_metric(tmp_path):
    letters = Text("inbox", "Write a letter.", item="topic")
    past = [mail(n, f"topic {n}", f"Dear all, number {n}. Yours, Ann") for n in range(12)]

    def write(asked):
        drawn = "Yours, Ann" in asked.system
        return "Dear all, number. Yours, Ann" if drawn else "Something else entirely."

    rules = RuleBook(letters, says={"text": write, "profile": "", "rules": ["Sign Yours, Ann"]})
    with remembering(tmp_path, *past) as memory:
        log = align(PersonaAgent(letters, memory), past, rules)
    assert [one.text for one in log.last.directives] == ["Sign Yours, Ann"]
    assert log.last_score > log.first_score + 0.3
    assert log.settings["update"] == "by task"


def test_free_text_is_judged_by_its_likelihood_where_the_lm_can_be_held_to_it(tmp_path):
    letters = Text("inbox", "Write a letter.", item="topic")
    past = [mail(n, f"topic {n}", "Kind regards, Ann") for n in range(12)]
    rules = {"text": "Something else.", "profile": "", "rules": ["Sign Kind regards, Ann"]}
    held, sampled = RuleBook(letters, says=rules), RuleBook(letters, says=rules)
    with remembering(tmp_path, *past) as memory:
        log = align(PersonaAgent(letters, memory), past, lm=stand_in(held, texts=True))
        unmoved = align(PersonaAgent(letters, memory), past, sampled)
    # What is written never changes, so its metric tells no persona from another.
    assert log.last_score == log.first_score == unmoved.last_score
    assert unmoved.last.directives == ()
    assert [one.text for one in log.last.directives] == ["Sign Kind regards, Ann"]
    assert log.first_loss == pytest.approx(-math.log(0.01))  # nats a word
    assert log.last_loss == pytest.approx(-math.log(0.5))
    assert [one.likelihood for one in log.steps[0].gradients] == [pytest.approx(0.01)] * 4


@pytest.mark.parametrize(
    ("task", "query", "responses"),
    [
        (Choice("inbox", ""), 'Which? [1]: "dog {n}" [2]: "car {n}"', ("[1]", "[2]")),
        (Rating("inbox", "Stars?"), "dog number {n}", ("1", "5")),
    ],
)
def test_every_kind_of_task_can_be_aligned(tmp_path, task, query, responses):
    past = [mail(n, query.format(n=n), responses[n % 2]) for n in range(12)]
    with remembering(tmp_path, *past) as memory:
        log = align(PersonaAgent(task, memory), past, RuleBook(task))
    assert len(log.judged) == 4
    assert 0 <= log.last_score <= 1


def test_an_lm_without_likelihoods_can_be_aligned_too(agent, history):
    rules = book()
    log = align(agent, history, lm=stand_in(rules, likelihoods=False))
    assert {one.cue for one in log.last.directives} == {"dog", "car"}
    assert log.last_score > 0.9
    assert log.last.trust == log.first.trust


def test_no_history_and_that_of_two_users_are_refused_before_any_call(agent, history):
    rules = book()
    of_bob = mail(1, "dog", "work", "bob")
    for trainset, valset in (
        ([], None),
        ([], history),
        ([*history, of_bob], None),
        (history, [of_bob]),
    ):
        with pytest.raises(DataError):
            align(agent, trainset, rules, valset=valset)
    assert rules.asked == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_short_history_is_no_error(agent, history, count):
    log = align(agent, history[:count])
    assert len(log.judged) == count // 3


def test_it_starts_from_the_published_persona(tmp_path, history):
    with remembering(tmp_path, *history) as memory:
        agent = PersonaAgent(INBOX, memory)
        first = align(agent, history)
        published = replace(first.last, version=0, parent=None)
        memory.store.of("ann").publish(published, expected=None, reason="test")
        again = align(agent, history, seed=9)
    assert again.first == published
    assert {one.cue for one in again.last.directives} == {"dog", "car"}


def test_another_lm_can_write_the_gradients_and_updates(agent, history):
    answering, writing = book(says={"text": "useless"}), book()
    lm, second = stand_in(answering), stand_in(writing)
    log = align(agent, history, lm=lm, gradient_lm=second)
    assert {one.kind for one in answering.asked} == {"labels"}
    assert {one.kind for one in writing.asked} == {"text"}
    assert {one.cue for one in log.last.directives} == {"dog", "car"}
    assert log.usage["calls"] == len(answering.asked) + len(writing.asked)


def test_what_it_cost_is_in_the_log(agent, history):
    rules = book()
    log = align(agent, history, rules)
    assert log.usage["calls"] == len(rules.asked)
    assert log.usage["failed"] == 0


def test_queries_are_answered_side_by_side_on_the_lms_slots(agent, history):
    pair = threading.Barrier(2, timeout=20)
    first = iter([True, True])

    def label(asked):
        return {"work": 0.5, "family": 0.3, "travel": 0.2}

    class Slow(RuleBook):
        def complete(self, request):
            if request.config.logprobs is not None and next(first, False):
                pair.wait()
            return super().complete(request)

    align(agent, history, Slow(INBOX, says={"label": label}), iterations=1)
    assert not pair.broken


# Going on after an interruption


def test_a_record_makes_a_second_run_free_of_lm_calls(agent, history):
    rules, record = book(), Scratch()
    one = align(agent, history, rules, record=record)
    spent = len(rules.asked)
    two = align(agent, history, rules, record=record)
    assert len(rules.asked) == spent
    assert content(one) == content(two)
    assert two.usage["calls"] == 0


@pytest.fixture(scope="module")
def uninterrupted(memory, history):
    rules = book()
    return align(PersonaAgent(INBOX, memory), history, rules), len(rules.asked)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.99), slots=st.integers(1, 3))
def test_an_lm_that_dies_half_way_costs_nothing_that_was_finished(
    agent, history, memory, uninterrupted, share, slots
):
    whole, calls = uninterrupted
    journal = memory.store.of("ann").journal(f"{share}/{slots}")
    journal.clear()
    rules = book(dies_after=int(share * calls))
    with pytest.raises(LMError, match="the LM is gone"):
        align(agent, history, lm=stand_in(rules, slots=slots), record=journal)
    assert len(rules.asked) == rules.dies_after
    rules.dies_after = None
    log = align(agent, history, lm=stand_in(rules, slots=slots), record=journal)
    assert len(rules.asked) == calls
    assert content(log) == content(whole)


@pytest.mark.parametrize("limit", [1, 7, 30])
def test_a_budget_that_runs_out_is_an_error_and_a_larger_one_goes_on(
    agent, history, uninterrupted, limit
):
    whole, calls = uninterrupted
    rules, record = book(), Scratch()
    with pytest.raises(BudgetError):
        align(agent, history, lm=stand_in(rules, budget=Budget(calls=limit)), record=record)
    assert len(rules.asked) == limit
    log = align(agent, history, lm=stand_in(rules, budget=Budget(calls=calls)), record=record)
    assert len(rules.asked) == calls
    assert content(log) == content(whole)


def test_a_budget_ends_the_gradients_too(agent, history):
    rules = book()
    writing = stand_in(rules, budget=Budget(calls=2))
    with pytest.raises(BudgetError):
        align(agent, history, gradient_lm=writing)
    assert len(rules.asked) == 2


def test_a_run_is_named_by_all_that_decides_it(agent, history):
    def key(trainset=history, lm="lm", **options):
        return PersonaAlignment(**options).key(agent, trainset, lm)

    changed = [
        key(history[1:]),
        key([replace(history[0], weight=2.0), *history[1:]]),
        key(lm="other"),
        key(seed=1),
        key(batch=5),
        key(iterations=5),
        key(replay=6),
        key(reach=20),
        key(sampler=LatestBatch()),
        key(update=FullRewrite()),
        key(acceptance=AlwaysAccept()),
    ]
    assert key() == key()
    assert len({key(), *changed}) == len(changed) + 1


def test_a_day_that_floods_the_history_neither_writes_nor_judges_beyond_its_share(agent, history):
    flood = [
        mail(100 + n, "dinner amber dog", "work", time=DAWN + timedelta(days=50, minutes=n + 1))
        for n in range(60)
    ]
    log = align(agent, [*history, *flood], iterations=1)
    flooded = {one.id for one in flood}
    judged = [id for id in log.judged if id in flooded]
    assert len(judged) <= 1  # the same sixty times is once
    assert log.settings["intake"] == "measured"


def test_what_is_known_without_an_answer_goes_into_the_first_profile(tmp_path, history):
    told = mail(3, "Ann keeps bees.", "", id="mem0-1", source="mem0")
    later = mail(90, "Ann sold the bees.", "", id="mem0-2", source="mem0")
    rules = book()
    with remembering(tmp_path, *history, told, later) as memory:
        align(PersonaAgent(INBOX, memory), history, rules, iterations=1)
    first = rules.asked[0]
    assert '"Ann keeps bees."' in first.text
    assert not any("sold the bees" in one.everything for one in rules.asked)
    assert not any("bees" in one.everything for one in rules.asked[1:])


def test_a_directive_that_fits_second_best_is_not_shown_and_costs_no_call(memory):
    past = mail(0, "dog dog amber", "travel")
    best = Directive("If the message mentions dog, answer travel.", "dog", 0.1)
    second = Directive("If the message mentions amber, answer work.", "amber", 0.1)
    one, two = (
        Persona("ann", "inbox", directives=said, actions=()) for said in ((best,), (best, second))
    )
    rules = book()
    with dspy.context(lm=stand_in(rules)):
        agent = PersonaAgent(INBOX, memory)
        assert len(consult(memory, two, past.query)) == 2
        replay = Replay(agent, Scratch())
        assert replay(one, [past]) == replay(two, [past])
    assert len(rules.of("labels")) == 1
