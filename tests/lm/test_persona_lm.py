"""Retries, the last failure, time-outs and saving, with a stand-in engine."""

import asyncio
from types import SimpleNamespace

import dspy
import pytest
from dspy import lm15
from stand_in import StandIn

from personaagent.errors import LMError
from personaagent.lm import model

SOON = {"retry_after": 0.001}


@pytest.mark.parametrize(
    "failure",
    [
        lm15.ServerError("boom", status=503, **SOON),
        lm15.TimeoutError("slow", **SOON),
        lm15.RateLimitError("wait", **SOON),
    ],
)
def test_a_passing_failure_is_retried_and_counted(make_lm, failure):
    engine = StandIn(failures=(failure, failure))
    lm = make_lm(engine, retries=2)
    assert lm("hi") == ["yes"]
    assert len(engine.requests) == 3
    used = lm.meter.snapshot()
    assert (used.calls, used.retries, used.failed) == (1, 2, 0)


def test_retries_work_for_async_calls(make_lm):
    lm = make_lm(StandIn(failures=(lm15.ServerError("boom", **SOON),)))
    assert asyncio.run(lm.acall("hi")) == ["yes"]
    assert lm.meter.snapshot().retries == 1


def test_the_pauses_grow_exponentially(make_lm, monkeypatch):
    pauses = []
    monkeypatch.setattr(model, "time", SimpleNamespace(sleep=pauses.append))
    lm = make_lm(StandIn(failures=(lm15.ServerError("boom"),) * 9), retries=8)
    with pytest.raises(LMError):
        lm("hi")
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_last_failure_is_an_lm_error_that_says_what_where_and_the_remedy(make_lm):
    lm = make_lm(StandIn(failures=(lm15.ServerError("boom", **SOON),) * 3))
    with pytest.raises(LMError, match=rf"^{lm.spec}: .*attempts: 3.*boom.*Remedy: ") as info:
        lm("hi")
    assert isinstance(info.value, dspy.LMError)
    assert isinstance(info.value.__cause__, dspy.LMServerError)
    used = lm.meter.snapshot()
    assert (used.calls, used.retries, used.failed) == (1, 2, 1)


def test_a_lasting_failure_is_not_retried(make_lm):
    engine = StandIn(failures=(lm15.AuthError("no key"),))
    with pytest.raises(LMError, match="check the API key"):
        make_lm(engine)("hi")
    assert len(engine.requests) == 1


def test_a_bug_in_an_engine_is_an_lm_error_too(make_lm):
    with pytest.raises(LMError, match="oops"):
        make_lm(StandIn(failures=(KeyError("oops"),)))("hi")


def test_a_prompt_that_does_not_fit_is_recognised_by_dspys_agents(make_lm):
    lm = make_lm(StandIn(failures=(lm15.ContextLengthError("9000 tokens"),)))
    with pytest.raises(dspy.ContextWindowExceededError, match="shorten the prompt") as info:
        lm("hi")
    assert isinstance(info.value, LMError)


def test_a_program_reads_a_typed_answer_through_the_lm(make_lm):
    lm = make_lm(StandIn(say='{"answer": 3}'))
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        assert dspy.Predict("question -> answer: int")(question="1+2").answer == 3


def test_a_final_assistant_message_reaches_the_engine(make_lm):
    engine = StandIn()
    lm = make_lm(engine)
    messages = (lm15.Message.user("label?"), lm15.Message.assistant("sci"))
    lm(lm15.Request(model=lm.model, messages=messages))
    assert [m.role for m in engine.requests[0].messages] == ["user", "assistant"]


def test_callbacks_see_the_call(make_lm):
    seen = []

    class Listener(dspy.utils.BaseCallback):
        def on_lm_start(self, call_id, instance, inputs):
            seen.append(instance)

    lm = make_lm()
    with dspy.context(callbacks=[Listener()]):
        lm("hi")
    assert seen == [lm]


def test_equal_names_at_different_addresses_do_not_share_cached_answers(make_lm):
    first, second = make_lm(StandIn("one"), cache=True), make_lm(StandIn("two"), cache=True)
    second.model = first.model
    assert [first("hi"), second("hi")] == [["one"], ["two"]]
