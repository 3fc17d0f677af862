"""Many users' work on the LM's slots."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import dspy
import pytest
from rulebook import RuleBook, stand_in
from worlds_of_mail import INBOX

from personaagent.errors import BudgetError, LMError
from personaagent.lm import Budget
from personaagent.optimizers.fleet import side_by_side
from personaagent.optimizers.replay import parallel


class Crowded(RuleBook):
    """Counts the calls that are under way at once, each of which waits until there were `slots`."""

    def __init__(self, task, slots):
        super().__init__(task)
        self.slots, self.now, self.most, self.full = slots, 0, 0, threading.Event()

    def complete(self, request):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        if self.now >= self.slots:
            self.full.set()
        self.full.wait(10)  # never so long, unless the slots are not filled
        time.sleep(0.01)
        try:
            return super().complete(request)
        finally:
            with self.lock:
                self.now -= 1


def ask(text):
    return dspy.settings.lm(text)


def asking(user):
    """Ten calls, as many side by side as the user has slots."""
    parallel(ask, [f"{user} {n}" for n in range(10)], dspy.settings.lm.slots)
    return user.upper()


@pytest.mark.parametrize(("slots", "users"), [(1, 3), (2, 5), (3, 2), (5, 3), (4, 4)])
def test_the_slots_are_full_and_never_more_than_full(slots, users):
    rules = Crowded(INBOX, slots)
    names = [f"user-{n}" for n in range(users)]
    done = list(side_by_side(asking, names, stand_in(rules, slots=slots)))
    assert {one.user: one.result for one in done} == {name: name.upper() for name in names}
    assert len(rules.asked) == 10 * users
    assert rules.most == slots


def test_the_last_user_gets_all_slots():
    seen, first_is_done = [], threading.Event()

    def work(user):
        if user == "quick":
            seen.append(dspy.settings.lm.slots)
            return
        deadline = time.monotonic() + 20
        while dspy.settings.lm.slots < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        seen.append(dspy.settings.lm.slots)
        first_is_done.set()

    list(side_by_side(work, ["slow", "quick"], stand_in(RuleBook(INBOX), slots=4)))
    assert first_is_done.is_set()
    assert sorted(seen) == [2, 4]


def test_one_that_fails_does_not_stop_the_rest():
    def work(user):
        if user == "b":
            raise LMError("gone")
        return user

    done = {one.user: one for one in side_by_side(work, list("abcd"), stand_in(RuleBook(INBOX)))}
    assert {user for user, one in done.items() if one.result == user} == set("acd")
    assert isinstance(done["b"].error, LMError)


def test_who_stops_early_gets_no_further_calls():
    rules = Crowded(INBOX, slots=1)
    with closing(side_by_side(asking, [f"u{n}" for n in range(20)], stand_in(rules))) as coming:
        next(coming)
    spent = len(rules.asked)
    assert spent <= 30  # the first user's, and what was under way
    time.sleep(0.1)
    assert len(rules.asked) == spent
    assert threading.active_count() < 10


def test_the_budget_and_the_meter_are_the_lms_own():
    lm = stand_in(RuleBook(INBOX), budget=Budget(calls=15))
    done = list(side_by_side(asking, list("abc"), lm))
    assert sum(isinstance(one.error, BudgetError) for one in done) >= 1
    assert lm.meter.snapshot().calls == 15
    assert lm.slots == 2
