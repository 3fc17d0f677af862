"""LMs behind the chat endpoint that speak otherwise: in this process, and through LiteLLM."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from dspy import lm15
from servers import anthropic, serving

from personaagent.lm import Budget, PersonaLM, connect
from personaagent.lm.capabilities import Known
from personaagent.lm.meter import Meter
from personaagent.lm.model import Identity
from personaagent.server.upstream import Upstream

HI: dict[str, Any] = {"messages": [{"role": "user", "content": "How do I get to Bern?"}]}


class Engine:
    """Says what it was asked."""

    supports_response_schema = True
    asked: list[lm15.Request] = []  # noqa: RUF012

    def complete(self, request: lm15.Request) -> lm15.Response:
        self.asked.append(request)
        scored = lm15.TokenLogprob("By", -0.1, (66, 121), None, (lm15.TopLogprob("By", -0.1),))
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant("By train."),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=10, output_tokens=2, cache_read_tokens=4),
            logprobs=None if request.config.logprobs is None else (scored,),
        )


class AsyncEngine:
    async def complete(self, request: lm15.Request) -> lm15.Response:
        return Engine().complete(request)


def here(budget: Budget | None = None) -> PersonaLM:
    identity = Identity("here", None, "here", 2, 5.0, 0, 0.0)
    known = Known({"alternatives": 20}, name="here", fixed=True)
    return PersonaLM(
        "sim/here", identity, known=known, meter=Meter(), budget=budget, cache=False,
        engine=Engine(), async_engine=AsyncEngine(),
    )  # fmt: skip


def ask(lm: PersonaLM, **body: Any) -> tuple[int, Any]:
    """The status and the body of an answer; of a stream, its events."""

    async def work() -> tuple[int, Any]:
        upstream = Upstream(lm)
        try:
            reply = await upstream.complete({**HI, **body})
            content = reply.content
            if isinstance(content, AsyncIterator):
                content = b"".join([part async for part in content])
        finally:
            await upstream.aclose()
        if reply.media.startswith("text/event-stream"):
            lines = [line.removeprefix("data: ") for line in content.decode().split("\n\n")]
            assert lines[-2:] == ["[DONE]", ""]
            return reply.status, [json.loads(line) for line in lines[:-2]]
        return reply.status, json.loads(content)

    return anyio.run(work)


def test_an_lm_in_this_process_answers_in_openais_form():
    lm = here()
    system = {"role": "developer", "content": "Sell tickets."}
    status, said = ask(
        lm, messages=[system, *HI["messages"]], max_tokens=7, stop="!", logprobs=True,
        top_logprobs=1, model="gpt-4o", user="amira", store=False,
    )  # fmt: skip
    assert status == 200
    (choice,) = said["choices"]
    assert choice["message"] == {"role": "assistant", "content": "By train."}
    assert choice["logprobs"]["content"][0]["top_logprobs"][0]["token"] == "By"
    assert said["usage"]["total_tokens"] == 12
    asked = Engine.asked[-1]
    assert asked.system == "Sell tickets."
    assert (asked.config.max_tokens, asked.config.stop) == (7, ("!",))
    assert lm.meter.snapshot().calls == 1


def test_an_lm_in_this_process_streams_in_one_piece():
    status, chunks = ask(here(), stream=True, stream_options={"include_usage": True})
    said = [one["choices"][0]["delta"].get("content") for one in chunks if one["choices"]]
    assert (status, said) == (200, ["By train.", None])
    assert chunks[-1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 4


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"n": 2}, "n"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "images"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "tools"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
    ],
)
def test_what_an_lm_in_this_process_cannot_do_is_refused_by_name(body: Any, named: str):
    asked = len(Engine.asked)
    status, said = ask(here(), **body)
    assert (status, said["error"]["param"]) == (400, named)
    assert len(Engine.asked) == asked


def test_a_budget_that_is_used_up_is_an_error_of_the_server():
    lm = here(Budget(calls=1))
    assert ask(lm)[0] == 200
    status, said = ask(lm)
    assert (status, said["error"]["type"]) == (503, "budget_exceeded")


def test_other_providers_are_asked_through_litellm():
    with serving(anthropic) as server:
        address = server.address.removesuffix("/v1")
        lm = connect("anthropic/claude-test", api_base=address, api_key="secret-key")
        status, said = ask(lm, max_tokens=50)
        assert (status, said["choices"][0]["message"]["content"]) == (200, "car")
        assert lm.meter.snapshot().input_tokens >= 7
        assert server.paths[-1].endswith("/messages")
        status, said = ask(lm, max_tokens=50, tools="none of them")
        assert (status, "secret-key" in str(said)) == (400, False)


def test_while_the_lm_is_down_its_fallback_answers():
    lm = connect("down", api_base="http://127.0.0.1:9/v1", fallback=here())
    status, said = ask(lm)
    assert (status, said["choices"][0]["message"]["content"]) == (200, "By train.")
