"""Counting calls: across threads, scopes, failures and the response cache; and budgets."""

import asyncio
import contextvars
import time
from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest
from dspy import lm15
from stand_in import StandIn

from personaagent.errors import BudgetError, LMError
from personaagent.lm import Budget, Meter, Usage


class Ask(dspy.Module):
    def __init__(self, lm):
        super().__init__()
        self.answer = lm

    def forward(self, question):
        return dspy.Prediction(answer=self.answer(question)[0])


def test_a_call_is_counted_with_its_tokens_and_seconds(make_lm):
    lm = make_lm(StandIn(seconds=0.05))
    lm("hi")
    used = lm.meter.snapshot()
    assert (used.calls, used.failed, used.hits, used.retries) == (1, 0, 0, 0)
    assert (used.input_tokens, used.cached_tokens, used.output_tokens) == (10, 4, 2)
    assert used.tokens == 12
    assert 0.05 <= used.seconds < 1
    assert used.busy_seconds == pytest.approx(used.seconds, abs=0.05)


def test_async_calls_are_counted_too(make_lm):
    lm = make_lm()

    async def both():
        return await asyncio.gather(lm.acall("a"), lm.acall("b"))

    assert asyncio.run(both()) == [["yes"], ["yes"]]
    assert lm.meter.snapshot().calls == 2


def test_usage_subtracts_and_becomes_plain_data(make_lm):
    lm = make_lm()
    lm("one")
    before = lm.meter.snapshot()
    lm("two")
    used = lm.meter.snapshot() - before
    assert used.calls == 1
    assert used.to_dict()["input_tokens"] == 10
    assert set(used.to_dict()) >= {"calls", "failed", "hits", "money", "busy_seconds"}


def test_threads_do_not_lose_counts_and_busy_time_is_not_summed(make_lm):
    lm = make_lm(StandIn(seconds=0.02))
    start = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lm, [f"q{i}" for i in range(40)]))
    wall = time.monotonic() - start
    used = lm.meter.snapshot()
    assert used.calls == 40
    assert used.input_tokens == 400
    assert used.seconds >= 0.8
    assert used.busy_seconds <= wall + 0.01


def test_a_response_cache_hit_is_a_call_without_tokens(make_lm):
    engine = StandIn()
    lm = make_lm(engine, cache=True)
    lm("the same")
    lm("the same")
    used = lm.meter.snapshot()
    assert (used.calls, used.hits, used.input_tokens) == (2, 1, 10)
    assert len(engine.requests) == 1


def test_counting_does_not_depend_on_dspys_history(make_lm):
    lm = make_lm()
    with dspy.context(disable_history=True):
        lm("hi")
    assert lm.meter.snapshot().calls == 1


def test_a_block_is_measured_alone(make_lm):
    lm = make_lm()
    lm("before")
    with lm.meter.measure() as used:
        lm("within")
        with lm.meter.measure() as inner:
            lm("deeper")
    lm("after")
    assert used.snapshot().calls == 2
    assert inner.snapshot().calls == 1
    assert lm.meter.snapshot().calls == 4


def test_a_block_measures_its_own_meter_only(make_lm):
    first, second = make_lm(), make_lm()
    with first.meter.measure() as used:
        second("hi")
    assert used.snapshot().calls == 0


def test_parallel_users_are_each_measured_through_dspy_parallel(make_lm):
    lm = make_lm(StandIn(seconds=0.01))
    module = Ask(lm)

    def user(count):
        with lm.meter.measure() as used:
            questions = [dspy.Example(question=f"{count}-{i}") for i in range(count)]
            examples = [q.with_inputs("question") for q in questions]
            dspy.Parallel(num_threads=3, disable_progress_bar=True)([(module, e) for e in examples])
        return used.snapshot().calls

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(user, (5, 9))) == [5, 9]
    assert lm.meter.snapshot().calls == 14


def test_a_block_reaches_a_plain_thread_only_with_its_context(make_lm):
    lm = make_lm()
    with lm.meter.measure() as used, ThreadPoolExecutor(1) as pool:
        pool.submit(lm, "without").result()
        pool.submit(contextvars.copy_context().run, lm, "with").result()
    assert used.snapshot().calls == 1
    assert lm.meter.snapshot().calls == 2


def test_a_meter_can_be_shared_and_copies_of_an_lm_share_it(make_lm):
    meter = Meter()
    first, second = make_lm(meter=meter), make_lm(meter=meter)
    first("a")
    second("b")
    second.copy(temperature=1.0)("c")
    Ask(second).deepcopy()(question="d")
    assert meter.snapshot().calls == 4


def test_a_failed_call_is_counted_as_failed(make_lm):
    lm = make_lm(StandIn(failures=(lm15.InvalidRequestError("no"),)))
    with pytest.raises(LMError):
        lm("hi")
    used = lm.meter.snapshot()
    assert (used.calls, used.failed, used.retries) == (1, 1, 0)


def test_a_budget_of_calls_stops_before_the_next_call(make_lm):
    engine = StandIn()
    lm = make_lm(engine, budget=Budget(calls=2))
    lm("a")
    lm("b")
    with pytest.raises(BudgetError, match=r"budget of 2 calls is used up \(2 used\)"):
        lm("c")
    assert len(engine.requests) == 2
    assert lm.meter.snapshot().calls == 2


def test_a_budget_of_calls_is_exact_with_several_threads(make_lm):
    engine = StandIn(seconds=0.02)
    lm = make_lm(engine, budget=Budget(calls=5))

    def ask(i):
        try:
            lm(f"q{i}")
        except BudgetError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(20))) == 5
    assert len(engine.requests) == 5


def test_a_budget_of_tokens_counts_input_and_output(make_lm):
    lm = make_lm(budget=Budget(tokens=20))
    lm("a")
    lm("b")
    with pytest.raises(BudgetError, match=r"20 tokens is used up \(24 used\)"):
        lm("c")


def test_a_response_cache_hit_is_free(make_lm):
    lm = make_lm(cache=True, budget=Budget(calls=2))
    for _ in range(3):
        lm("the same")
    lm("another")


def test_a_budget_of_money_refuses_a_model_without_a_price(make_lm):
    lm = make_lm(price=None, budget=Budget(money=1.0))
    lm("a")
    with pytest.raises(BudgetError, match="price of 1 calls is unknown"):
        lm("b")


def test_a_budget_of_money_is_kept(make_lm):
    lm = make_lm(price=0.3, budget=Budget(money=0.5))
    lm("a")
    lm("b")
    with pytest.raises(BudgetError, match="money"):
        lm("c")
    assert lm.meter.snapshot().money == pytest.approx(0.6)


def test_no_limit_is_no_limit():
    Budget().check(Usage(calls=10**9, input_tokens=10**9, money=1e9, unpriced=3))
