"""What an alignment costs, and that nothing finished is lost when it is interrupted."""

import threading
import time
from dataclasses import replace
from typing import ClassVar

import pytest
from aligning import align, content
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rulebook import RULE, RuleBook, stand_in
from worlds_of_mail import INBOX, READINGS, book, habitual, remembering

from personaagent.errors import BudgetError, LMError
from personaagent.lm import Budget
from personaagent.optimizers import (
    AlwaysAccept,
    FullRewrite,
    HardBatch,
    ItemisedEdits,
    LatestBatch,
    Patience,
    PersonaAlignment,
)
from personaagent.optimizers.worklog import MemoryWorkLog
from personaagent.programs import PersonaAgent


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


def learned(memory, history, slots, **options):
    """What came of it, and everything that the LM was asked."""
    rules = book()
    lm = stand_in(rules, slots=slots, likelihoods=options.pop("likelihoods", True))
    log = align(PersonaAgent(INBOX, memory), history, lm=lm, **options)
    return content(log), sorted((one.kind, one.everything) for one in rules.asked)


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"likelihoods": False},
        {"update": FullRewrite()},
        {"acceptance": AlwaysAccept()},
        {"stopping": Patience(1)},
        {"simulate": 4, "iterations": 6},
    ],
)
def test_slots_change_neither_what_is_asked_nor_what_is_learned(tmp_path, seed, options):
    history = habitual(seed=seed)
    with remembering(tmp_path, *history) as memory:
        alone = learned(memory, history, 1, seed=seed, **options)
        assert learned(memory, history, 16, seed=seed, **options) == alone


COUNTED = {"likelihoods": False, "sampler": HardBatch(), "update": ItemisedEdits()}


@pytest.mark.parametrize(
    ("seed", "options", "asked"),
    [
        (2, {}, 91),
        (2, COUNTED, 91),
        (2, {"update": FullRewrite()}, 92),
        (2, {"acceptance": AlwaysAccept()}, 78),
        (3, {}, 99),
        (3, COUNTED, 99),
        (5, {}, 95),
        (5, {"acceptance": AlwaysAccept()}, 80),
    ],
)
def test_nothing_is_asked_that_was_not_when_all_was_asked_in_turn(tmp_path, seed, options, asked):
    """The numbers are of the version that replayed one persona after the other."""
    history = habitual(seed=seed)
    with remembering(tmp_path, *history) as memory:
        found, questions = learned(memory, history, 16, seed=seed, **options)
    assert len(questions) == len(set(questions)) == asked
    rewritten = isinstance(options.get("update"), FullRewrite)
    cues = {one["cue"] for one in found["last"]["directives"]}
    assert cues == (set() if rewritten else {"dog", "car"})


class Meeting(RuleBook):
    """Lets the first `parties` requests of a kind pass only when all of them are under way."""

    def __init__(self, kind, parties):
        super().__init__(INBOX, READINGS)
        self.kind, self.left = kind, parties
        self.barrier = threading.Barrier(parties, timeout=20)
        self.turn = threading.Lock()

    def complete(self, request):
        with self.turn:
            waits = self.left > 0 and self.kind(request)
            self.left -= waits
        if waits:
            self.barrier.wait()
        return super().complete(request)


def all_meet(agent, history, kind, parties):
    rules = Meeting(kind, parties)
    align(agent, history, lm=stand_in(rules, slots=16), iterations=1)
    return rules.left == 0 and not rules.barrier.broken


def test_no_profile_is_replayed_while_the_profile_is_written(agent, history):
    assert all_meet(agent, history, lambda _: True, 13)  # a profile, and the twelve that judge


def test_a_cue_does_not_wait_for_the_gradients(agent, history):
    profile = iter([True])

    def writes(request):
        return request.config.logprobs is None and not next(profile, False)

    assert all_meet(agent, history, writes, 5)  # a cue, and four gradients


def test_candidates_are_replayed_together(agent, history):
    seen = set()

    def first_of_a_directive(request):
        told = RULE.findall(repr(request))
        new = bool(told) and told[0] not in seen
        seen.update(told)
        return new

    assert all_meet(agent, history, first_of_a_directive, 2)


# Going on after an interruption


def test_a_record_makes_a_second_run_free_of_lm_calls(agent, history):
    rules, record = book(), MemoryWorkLog()
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
    rules, record = book(), MemoryWorkLog()
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


def test_what_an_lm_of_this_process_writes_is_written_alone(tmp_path):
    """Its calls are computed in one batch, and a text comes out otherwise beside another call."""
    history = habitual(seed=2)
    together = []

    class Watched(RuleBook):
        running: ClassVar[list[str]] = []

        def complete(self, request):
            kind = "read" if request.config.logprobs is not None else "write"
            self.running.append(kind)
            time.sleep(0.002)
            together.append(set(self.running))
            try:
                return super().complete(request)
            finally:
                self.running.remove(kind)

    with remembering(tmp_path, *history) as memory:
        lm = stand_in(Watched(INBOX), texts=True, slots=4)
        align(PersonaAgent(INBOX, memory), history, lm=lm, iterations=2)
    assert {"read", "write"} not in together
    assert {"write"} in together
