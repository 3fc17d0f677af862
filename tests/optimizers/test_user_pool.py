"""Many users' work on the LM's slots."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import closing

import dspy
import pytest
from rulebook import RuleBook, stand_in
from worlds_of_mail import INBOX

from personaagent.errors import BudgetError, LMError
from personaagent.lm import Budget
from personaagent.optimizers.replay import parallel
from personaagent.optimizers.slots import Slots, within_slots
from personaagent.optimizers.user_pool import side_by_side


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


def test_slots_that_one_user_leaves_idle_are_used_by_another():
    together, busy = threading.Barrier(4, timeout=20), threading.Event()

    class Meeting(RuleBook):
        def complete(self, request):
            together.wait()  # passes only when four calls of the one user are under way at once
            return super().complete(request)

    def work(user):
        if user == "thinks":
            return busy.wait(20)
        parallel(ask, [f"{user} {n}" for n in range(8)], dspy.settings.lm.slots)
        busy.set()
        return True

    done = list(side_by_side(work, ["thinks", "asks"], stand_in(Meeting(INBOX), slots=4)))
    assert [(one.error, one.result) for one in done] == [(None, True)] * 2


def test_a_free_slot_goes_to_the_user_with_the_fewest_calls_and_then_to_who_waits_longest():
    slots, order = Slots(2), []

    def call(user):
        slots.take(user)
        order.append(user)

    slots.take("a")
    slots.take("a")
    threads = []
    for user in ("a", "b", "a", "b", "c"):
        threads.append(threading.Thread(target=call, args=(user,)))
        threads[-1].start()
        while len(slots._waiting) < len(threads):
            time.sleep(0.001)
    for held in ("a", "a", "b", "a", "b"):
        seen = len(order)
        slots.give(held)
        while len(order) == seen:
            time.sleep(0.001)
    assert order == ["b", "a", "b", "a", "c"]
    for thread in threads:
        thread.join()


def test_one_user_s_own_calls_never_exceed_the_slots_whatever_the_number_of_threads():
    rules = Crowded(INBOX, 2)
    lm = stand_in(rules, slots=2)
    with dspy.context(lm=lm), within_slots(), within_slots():
        parallel(ask, [str(n) for n in range(12)], 12)
    assert (len(rules.asked), rules.most) == (12, 2)


def test_an_lm_of_dspy_s_own_gets_one_call_at_a_time():
    rules = Crowded(INBOX, 1)
    lm = dspy.LM("sim/rules", engine=rules, cache=False)
    with dspy.context(lm=lm), within_slots():
        parallel(lambda text: lm(text), [str(n) for n in range(6)], 6)
    assert (len(rules.asked), rules.most) == (6, 1)


def test_an_lm_that_asks_another_one_needs_no_second_slot():
    second = stand_in(RuleBook(INBOX))

    class Falling(RuleBook):
        def complete(self, request):
            second("instead")
            return super().complete(request)

    rules = Falling(INBOX)
    with dspy.context(lm=stand_in(rules, slots=2)), within_slots():
        parallel(ask, [str(n) for n in range(8)], 8)
    assert len(rules.asked) == second.meter.snapshot().calls == 8


def test_calls_of_an_event_loop_do_not_hold_each_other_up():
    lm = stand_in(RuleBook(INBOX), slots=1)

    async def several():
        return await asyncio.gather(*(lm.acall(str(n)) for n in range(4)))

    with dspy.context(lm=lm), within_slots():
        assert len(asyncio.run(asyncio.wait_for(several(), 20))) == 4


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
