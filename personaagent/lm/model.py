"""The LM that PersonaAgent hands to DSPy: a `dspy.LM` that is metered, budgeted and retried, and
that asks for no more than what the LM can do.

Whatever the provider, a call passes `__call__` or `acall` here, once; so this is the one place that
counts. Retries are made here rather than by DSPy, because only so they can be seen and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import dspy
from dspy import lm15
from dspy.clients.base_lm import LM_CLASS_STATE_KEY
from dspy.clients.call_result import CallResult
from dspy.clients.execution import (
    PreparedCall,
    _canonical,
    aexecute,
    execute,
    finalize,
    prepare,
)
from dspy.utils.callback import with_callbacks
from dspy.utils.exceptions import is_retryable_lm_error

from personaagent.errors import LMError
from personaagent.lm.capabilities import Capabilities, Known, is_context
from personaagent.lm.connection import dialect, refuses_settings
from personaagent.lm.meter import Budget, Call, Meter, Usage
from personaagent.lm.written import apart

logger = logging.getLogger(__name__)

TURN = "personaagent_turn"
"""The setting of DSPy, and so of a context, that gives a block in which a call has its turn: where
many share an LM's slots (`personaagent.optimizers.slots`)."""
LONGEST_PAUSE = 60.0
REST = 60.0
"""Seconds that an LM which is down is left alone, where there is another to fall back to."""
UNSAVED = frozenset({"api_key", "api_base", "headers", "extra_headers"})
SHORTEST_SECRET = 6  # letters; a placeholder such as "x" is no secret, and hiding it hides words


class CallError(LMError, dspy.LMError):
    """A call that failed after its retries; also a `dspy.LMError`, which DSPy's modules expect.

    `down` is true where another LM may be asked instead: this one cannot be reached, has failed, or
    is out of quota.
    """

    down: bool = False


class ContextError(CallError, dspy.ContextWindowExceededError):
    """The prompt does not fit; DSPy's ReAct shortens its trajectory when it sees this."""

    def __init__(self, message: str) -> None:
        dspy.ContextWindowExceededError.__init__(self, message=message)


class EmptyAnswerError(dspy.LMError):
    """The LM wrote nothing, or broke off before its answer."""


REMEDIES = (
    (dspy.ContextWindowExceededError, "shorten the prompt or use a model with a larger context"),
    (dspy.LMAuthError, "check the API key (api_key= or the provider's environment variable)"),
    (dspy.LMNotConfiguredError, "give an API key (api_key= or the provider's variable)"),
    (dspy.LMBillingError, "look at the account's quota, or name another LM with fallback="),
    (dspy.LMRateLimitError, "use fewer threads or wait"),
    (dspy.LMTimeoutError, "raise timeout= or use fewer threads"),
    (dspy.LMTransportError, "check that the server is running and can be reached"),
    (dspy.LMServerError, "look at the server's log, then try again"),
    (dspy.LMUnsupportedModelError, "check the model's name"),
    (dspy.LMInvalidRequestError, "check the model's name and the request"),
)
DOWN = (
    dspy.LMBillingError, dspy.LMRateLimitError, dspy.LMTimeoutError, dspy.LMTransportError,
    dspy.LMServerError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Identity:
    """Which LM it is, and how it is to be asked.

    Attributes:
        spec: what `connect` was given.
        api_base: the server's address, or None.
        fingerprint: the weights' SHA-256, or name and address without secrets.
        slots: calls that run side by side.
        timeout: seconds a call may take.
        retries: attempts after the first one.
        price: the price of a call where it is known beforehand (0 for a local model).
        likelihoods: the option of `connect`.
        reasoning: the option of `connect`.
        max_output: the option of `connect`.
        stands_in: whether it is asked in place of another LM that is down.
    """

    spec: str
    api_base: str | None
    fingerprint: str
    slots: int
    timeout: float
    retries: int
    price: float | None
    likelihoods: bool | None = None
    reasoning: bool | None = None
    max_output: int | None = None
    stands_in: bool = False


Steps = Generator[PreparedCall | float, CallResult | None, CallResult]
"""A call as attempts to make and seconds to wait; written once, driven with and without await."""


class PersonaLM(dspy.LM):
    """See `personaagent.lm.connect`, which makes them.

    Copies share meter, budget, engine, and what is known of the LM.
    """

    def __init__(
        self,
        model: str,
        identity: Identity,
        *,
        meter: Meter,
        budget: Budget | None,
        known: Known | None = None,
        fallback: PersonaLM | None = None,
        **options: Any,
    ) -> None:
        # What DSPy does not let a model be configured with, `Known.fit` adds as the model takes it.
        self._tokens = options.get("max_tokens")
        if refuses_settings(model):
            options |= {"temperature": None, "max_tokens": None}
        # DSPy must not retry as well, or attempts would multiply.
        super().__init__(model, num_retries=0, **options)
        self.identity = identity
        self.meter = meter
        self.budget = budget
        self.known = known or Known(name=identity.spec)
        self.fallback = fallback
        self._spoken = dialect(model) if self._managed else ""

    @property
    def spec(self) -> str:
        """What `connect` was given."""
        return self.identity.spec

    @property
    def slots(self) -> int:
        """Calls that run side by side."""
        return self.identity.slots

    @property
    def fingerprint(self) -> str:
        """The weights' SHA-256, or name and address without secrets."""
        return self.identity.fingerprint

    @property
    def capabilities(self) -> Capabilities:
        """What the LM can do, as far as is known now."""
        return self.known.now

    @property
    def reads_likelihoods(self) -> bool:
        """Whether the LM is asked for log-probabilities, as far as is known now."""
        return self.capabilities.alternatives > 0

    @property
    def reads_texts(self) -> bool:
        """Whether `read_text` works with this LM: one in this process, read by likelihoods."""
        return self.capabilities.prefills and self.reads_likelihoods

    @property
    def batches(self) -> bool:
        """Whether calls at the same time are computed in one batch, as an LM in this process does:
        then they are no faster side by side, and what it writes depends a little on the others."""
        return self.capabilities.prefills

    @property
    def supports_response_schema(self) -> bool:
        """True for every LM that can be asked so; what it does not take is left out on the way."""
        return self._managed or bool(super().supports_response_schema)

    @property
    def supported_params(self) -> set[str]:
        """The names of OpenAI's parameters that the LM takes."""
        form = {"response_format"} if self._managed else set()
        return set(super().supported_params) | form

    @property
    def _managed(self) -> bool:
        """Whether DSPy owns the connection; else a custom engine says what it can do."""
        return isinstance(self.engine, str)

    @with_callbacks
    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """As `dspy.LM`: a list of outputs, or a Response for a `dspy.lm15.Request`.

        Raises:
            LMError: the call failed after its retries.
            BudgetError: the budget does not allow another call.
        """
        turn = dspy.settings.get(TURN, nullcontext)
        with turn():
            return self._call(prompt, messages, kwargs)

    def _call(self, prompt: Any, messages: Any, kwargs: dict[str, Any]) -> Any:
        if self.fallback is not None and self.known.resting:
            return self._instead(prompt, messages, kwargs)
        try:
            with self._counted() as counted:
                call = prepare(self, prompt, messages, kwargs)
                result = self._drive(self._steps(call, counted))
        except CallError as error:
            if not self._falls_back(error):
                raise
            return self._instead(prompt, messages, kwargs)
        return finalize(self, call, result)

    @with_callbacks
    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """The same, awaited."""
        if self.fallback is not None and self.known.resting:
            return await self._ainstead(prompt, messages, kwargs)
        try:
            with self._counted() as counted:
                call = await asyncio.to_thread(
                    prepare, self, prompt, messages, kwargs, asynchronous=True
                )
                result = await self._adrive(self._steps(call, counted))
        except CallError as error:
            if not self._falls_back(error):
                raise
            return await self._ainstead(prompt, messages, kwargs)
        return finalize(self, call, result)

    def _drive(self, steps: Steps) -> CallResult:
        step = next(steps)
        while True:
            try:
                if isinstance(step, PreparedCall):
                    try:
                        result = execute(self, step)
                    except dspy.LMError as error:
                        step = steps.throw(error)
                    else:
                        step = steps.send(result)
                else:
                    time.sleep(step)
                    step = next(steps)
            except StopIteration as done:
                return _result(done)

    async def _adrive(self, steps: Steps) -> CallResult:
        step = next(steps)
        while True:
            try:
                if isinstance(step, PreparedCall):
                    try:
                        result = await aexecute(self, step)
                    except dspy.LMError as error:
                        step = steps.throw(error)
                    else:
                        step = steps.send(result)
                else:
                    await asyncio.sleep(step)
                    step = next(steps)
            except StopIteration as done:
                return _result(done)

    def _steps(self, call: PreparedCall, counted: Call) -> Steps:
        """The attempts of a call: as the LM takes it, again after what may pass, again where the
        answer is empty."""
        asked = _asked(call)
        failures, empty, cached = 0, 0, call.cache
        while True:
            sent = None if asked is None else self._fitted(asked)
            try:
                result = yield _keyed(replace(call, request=sent or call.request, cache=cached))
            except dspy.LMError as error:
                if asked is not None and self._adapts(error, asked, sent):
                    counted.retried()
                    continue
                pause = self._pause(error, failures, counted)
                failures += 1
                yield pause
                continue
            assert result is not None  # only attempts are answered, pauses are not
            counted.answered(self._used(result))
            if sent is None:
                return result
            result = self._understood(result, sent)
            missing = _missing(result)
            if missing is None:
                return result
            room = missing.cut and (self._fitted(asked) != sent or self.known.more_room())
            if (empty and not room) or empty > 1 or dspy.settings.send_stream is not None:
                raise EmptyAnswerError(missing.said, model=self.model)
            counted.retried()
            empty, cached = empty + 1, False

    def _fitted(self, asked: lm15.Request) -> lm15.Request:
        return self.known.fit(asked, tokens=self._tokens, spoken=self._spoken)

    def _adapts(self, error: dspy.LMError, asked: lm15.Request, sent: lm15.Request | None) -> bool:
        """Whether the request differs when it is made again: by what another call has learned
        meanwhile, or by what this error teaches."""
        if sent is None or not _refuses(error):
            return False
        if self._fitted(asked) != sent:
            return True
        return self.known.step_down(error, sent) and self._fitted(asked) != sent

    def _understood(self, result: CallResult, sent: lm15.Request) -> CallResult:
        """The result with thoughts apart from answers; what it tells of the LM is remembered."""
        responses = tuple(_thought_apart(one) for one in result.responses)
        thinking = any(_thinks(one) for one in responses)
        if thinking and not self.capabilities.room:
            self.known.learn_thinking()
        elif sent.config.logprobs is not None:
            if any(one.logprobs for one in responses):
                self.known.confirm("alternatives")
            elif any(_text(one) for one in responses):
                self.known.learn_no_likelihoods()
        changed = [new is not old for new, old in zip(responses, result.responses, strict=True)]
        outputs = [
            _with_text(output, response) if new else output
            for output, response, new in zip(result.outputs, responses, changed, strict=False)
        ]
        return replace(result, responses=responses, outputs=outputs) if any(changed) else result

    def _instead(self, prompt: Any, messages: Any, kwargs: dict[str, Any]) -> Any:
        assert self.fallback is not None
        prompt, kwargs = _for(self.fallback, prompt, kwargs)
        return self.fallback(prompt, messages=messages, **kwargs)

    async def _ainstead(self, prompt: Any, messages: Any, kwargs: dict[str, Any]) -> Any:
        assert self.fallback is not None
        prompt, kwargs = _for(self.fallback, prompt, kwargs)
        return await self.fallback.acall(prompt, messages=messages, **kwargs)

    def _falls_back(self, error: CallError) -> bool:
        """Whether the fallback is asked from now on for a while."""
        if self.fallback is None or not error.down or dspy.settings.send_stream is not None:
            return False
        if self.known.rest(REST):
            logger.warning("%s; %s answers instead", error, self.fallback.spec)
        return True

    @contextmanager
    def _counted(self) -> Iterator[Call]:
        """Meter the block as one call and translate what it raises."""
        with self.meter.call(self.budget) as counted:
            try:
                yield counted
            except dspy.LMError as error:
                raise self._translated(error, counted.used.retries) from _without(
                    error, self.kwargs.get("api_key")
                )

    def _pause(self, error: dspy.LMError, attempt: int, counted: Call) -> float:
        """Seconds to wait before the next attempt; raises the error when there is none."""
        # A stream that was begun has been seen by its reader and cannot be taken back.
        streaming = dspy.settings.send_stream is not None
        if streaming or attempt >= self.identity.retries or not is_retryable_lm_error(error):
            raise error
        counted.retried()
        hint = error.retry_after
        return float(min(hint if hint is not None else 2.0**attempt, LONGEST_PAUSE))

    def _translated(self, error: dspy.LMError, retries: int) -> CallError:
        context = isinstance(error, dspy.ContextWindowExceededError) or (
            _refuses(error) and is_context(str(error))
        )
        remedy = REMEDIES[0][1] if context else _remedy(error)
        said = str(error).partition("\n\n")[0]  # what follows is a library's general advice
        message = f"{self.spec}: the call failed (attempts: {retries + 1}): {said}"
        message = _redacted(message, self.kwargs.get("api_key"))
        translated = (ContextError if context else CallError)(
            f"{message}. Remedy: {remedy}" if remedy else message
        )
        translated.down = isinstance(error, DOWN) and not context
        return translated

    def _used(self, result: CallResult) -> Usage:
        """What DSPy's record of a call says; a hit of the response cache used nothing."""
        stands_in = int(self.identity.stands_in)
        if result.cache_hit:
            return Usage(hits=1, fallbacks=stands_in)
        price = self.identity.price if result.cost is None else result.cost
        usage = result.usage or {}
        details = usage.get("prompt_tokens_details") or {}
        thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
        counted = usage.get("prompt_tokens") is not None
        return Usage(
            input_tokens=usage.get("prompt_tokens") or 0,
            cached_tokens=details.get("cached_tokens") or 0,
            output_tokens=usage.get("completion_tokens") or 0,
            thought_tokens=thought or 0,
            money=price or 0.0,
            unpriced=int(price is None),
            unmetered=int(not counted),
            fallbacks=stands_in,
        )

    def standing_in(self) -> PersonaLM:
        """A copy that counts its calls as made in place of another LM."""
        copied: PersonaLM = self.copy()
        copied.identity = replace(self.identity, stands_in=True)
        return copied

    def dump_state(self) -> dict[str, Any]:
        """What `connect` needs to make this LM again; no secrets, no paths of the cache."""
        chosen = {key: value for key, value in self.kwargs.items() if key not in UNSAVED}
        chosen.pop("max_completion_tokens", None)  # DSPy's name for it with reasoning models
        chosen["max_tokens"] = self._tokens
        state = {
            name: getattr(self.identity, name)
            for name in (
                "spec", "api_base", "slots", "timeout", "retries", "likelihoods", "reasoning",
                "max_output",
            )
        }  # fmt: skip
        if self.fallback is not None:
            state["fallback"] = self.fallback.spec
            state["fallback_api_base"] = self.fallback.identity.api_base
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return {LM_CLASS_STATE_KEY: name, "cache": self.cache, **chosen, **state}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> Self:
        """Connect again; a key comes from the environment, meter and budget are new."""
        from personaagent.lm.connection import connect

        state = {key: value for key, value in state.items() if key != LM_CLASS_STATE_KEY}
        lm: Self = connect(**state)
        return lm

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied: Self = self.copy()
        return copied

    def __repr__(self) -> str:
        return f"PersonaLM({self.spec!r}, fingerprint={self.fingerprint!r})"


class _KeyedCall(PreparedCall):
    """A call whose key in the response cache also says which LM it is for.

    DSPy's own key knows the model's name only: two servers with a model of the same name would
    answer for each other.
    """

    def key(self, lm: PersonaLM, asynchronous: bool) -> dict[str, Any]:
        return {**super().key(lm, asynchronous), "fingerprint": lm.fingerprint}


def _keyed(call: PreparedCall) -> _KeyedCall:
    return _KeyedCall(**{f.name: getattr(call, f.name) for f in fields(call)})


def _asked(call: PreparedCall) -> lm15.Request | None:
    """The call as DSPy's canonical request; None where it cannot be said so."""
    try:
        return _canonical(call)
    except (lm15.LM15Error, dspy.LMError, TypeError, ValueError):
        return None


def _for(lm: PersonaLM, prompt: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The same call for another LM: a request names its model."""
    if isinstance(prompt, lm15.Request):
        return replace(prompt, model=lm.model), kwargs
    if isinstance(request := kwargs.get("request"), lm15.Request):
        return prompt, {**kwargs, "request": replace(request, model=lm.model)}
    return prompt, kwargs


def _result(done: StopIteration) -> CallResult:
    result: CallResult = done.value
    return result


def _refuses(error: dspy.LMError) -> bool:
    """Whether the LM did not take the request as it was made."""
    if isinstance(error, dspy.LMUnsupportedModelError):
        return False
    if isinstance(error, (dspy.LMInvalidRequestError, dspy.LMUnsupportedFeatureError)):
        return True
    status = getattr(error, "status", None)
    odd = status in (403, 404, 405, 415, 422, 500, 501)  # servers that say so with another status
    said = str(error).lower()
    return odd and ("support" in said or "logprob" in said)


def _remedy(error: dspy.LMError) -> str | None:
    return next((text for kind, text in REMEDIES if isinstance(error, kind)), None)


def _thought_apart(response: lm15.Response) -> lm15.Response:
    """A thought that stands in the text of an answer, as a part of its own."""
    parts = response.message.parts
    texts = [part for part in parts if isinstance(part, lm15.TextPart)]
    written = apart("".join(part.text for part in texts))
    if not written.thought and not written.open:
        return response
    others = [part for part in parts if not isinstance(part, lm15.TextPart)]
    thought = [lm15.ThinkingPart(text=written.thought)] if written.thought else []
    said = [*thought, *others, lm15.TextPart(text=written.answer)]
    return replace(response, message=replace(response.message, parts=tuple(said)))


def _thinks(response: lm15.Response) -> bool:
    thought = any(isinstance(part, lm15.ThinkingPart) for part in response.message.parts)
    return thought or bool(response.usage.reasoning_tokens)


def _with_text(output: Any, response: lm15.Response) -> Any:
    text = _text(response)
    return {**output, "text": text} if isinstance(output, dict) else text


def _text(response: lm15.Response) -> str:
    parts = response.message.parts
    return "".join(part.text for part in parts if isinstance(part, lm15.TextPart))


@dataclass(frozen=True, slots=True)
class _Missing:
    """Why there is no answer; `cut` where it may be that there was no room for one."""

    said: str
    cut: bool


def _missing(result: CallResult) -> _Missing | None:
    """What is wrong with an answer that is none."""
    for response in result.responses:
        kinds = (lm15.ToolCallPart, lm15.DataPart)
        if _text(response).strip() or response.logprobs:
            continue
        if any(isinstance(part, kinds) for part in response.message.parts):
            continue
        cut, reason = response.finish_reason == "length", response.finish_reason
        refusal = [one.text for one in response.message.parts if isinstance(one, lm15.RefusalPart)]
        if refusal:
            return _Missing(f"the LM refused to answer: '{refusal[0][:200]}'", cut=False)
        if _thinks(response):
            what = "the answer was cut in the middle of its thought" if cut else "a thought alone"
            return _Missing(
                f"{what} (finish_reason: {reason}); allow more with max_output= (--max-output)", cut
            )
        return _Missing(f"the answer is empty (finish_reason: {reason})", cut)
    return None


def _redacted(text: str, secret: str | None) -> str:
    return text.replace(secret, "***") if secret and len(secret) >= SHORTEST_SECRET else text


def _without(error: dspy.LMError, secret: str | None) -> dspy.LMError | None:
    """The error as a cause; none when a server put the key into its message."""
    chain: BaseException | None = error
    while secret and len(secret) >= SHORTEST_SECRET and chain is not None:
        if secret in str(chain):
            return None
        chain = chain.__cause__
    return error
