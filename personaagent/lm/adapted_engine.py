"""A user's own LM for DSPy: an open model with the user's adapter, asked as every other LM.

So what is fine-tuned is metered, budgeted and read with the same code as what it is compared with.
"""

from __future__ import annotations

from dataclasses import replace

from dspy import lm15

from personaagent.lm.adapted import AdaptedModel, Adapter, Completion
from personaagent.lm.capabilities import Known
from personaagent.lm.connection import EMBEDDED_TOP_LOGPROBS
from personaagent.lm.embedded import to_chat
from personaagent.lm.model import PersonaLM

PROVIDER = "lora"
LONGEST_ANSWER = 512


class AdaptedEngine:
    """Answers with the most probable tokens, whatever the temperature.

    Args:
        model: the open model.
        adapter: whose answers.
    """

    supports_function_calling = False
    supports_reasoning = False
    supports_response_schema = False
    supported_params = frozenset({"max_tokens", "temperature", "logprobs", "top_logprobs"})

    def __init__(self, model: AdaptedModel, adapter: Adapter) -> None:
        self.model, self.adapter = model, adapter

    def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer.

        Raises:
            lm15.UnsupportedFeatureError: native tools, or something other than text.
        """
        body = to_chat(request)
        said = self.model.complete(
            body["messages"],
            self.adapter,
            limit=body.get("max_tokens", LONGEST_ANSWER),
            alternatives=body.get("top_logprobs") or 1,
        )
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(said.text),
            finish_reason="stop" if said.ended else "length",
            usage=lm15.Usage(input_tokens=said.prompt, output_tokens=said.tokens),
            logprobs=_scored(said) if body.get("logprobs") else None,
        )


def adapted_lm(like: PersonaLM, model: AdaptedModel, adapter: Adapter) -> PersonaLM:
    """The LM of a user: it counts into the meter and budget of the LM that it stands in for, and is
    read where that one is read."""
    identity = replace(
        like.identity,
        spec=f"{PROVIDER}/{like.spec}",
        api_base=None,
        fingerprint=f"{like.fingerprint}+{adapter.key}",
        retries=0,
        price=0.0,
    )
    read = EMBEDDED_TOP_LOGPROBS if like.reads_likelihoods else 0
    return PersonaLM(
        f"{PROVIDER}/{adapter.key[:12] or 'untrained'}",
        identity,
        meter=like.meter,
        budget=like.budget,
        known=Known({"alternatives": read, "prefills": True}, name=like.spec, fixed=True),
        cache=False,
        temperature=0.0,
        max_tokens=like.kwargs.get("max_tokens"),
        engine=AdaptedEngine(model, adapter),
    )


def _scored(said: Completion) -> tuple[lm15.TokenLogprob, ...]:
    tops = [
        tuple(lm15.TopLogprob(text, p, tuple(text.encode()), n) for n, text, p in alternatives)
        for alternatives in said.scores
    ]
    return tuple(
        lm15.TokenLogprob(top[0].token, top[0].logprob, top[0].bytes, top[0].token_id, top)
        for top in tops
    )
