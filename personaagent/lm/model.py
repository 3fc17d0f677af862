"""The LM that PersonaAgent hands to DSPy: a `dspy.LM` that is metered, budgeted and retried.

Whatever the provider, a call passes `__call__` or `acall` here, once; so this is the one place that
counts. Retries are made here rather than by DSPy, because only so they can be seen and counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Self

import dspy
from dspy.clients.base_lm import LM_CLASS_STATE_KEY
from dspy.clients.execution import PreparedCall, aexecute, execute, finalize, prepare
from dspy.utils.callback import with_callbacks
from dspy.utils.exceptions import is_retryable_lm_error

from personaagent.errors import LMError
from personaagent.lm.meter import Budget, Call, Meter, Usage

LONGEST_PAUSE = 60.0
UNSAVED = frozenset({"api_key", "api_base", "headers", "extra_headers"})
LIKELIHOOD_PROVIDERS = frozenset({"openai", "azure", "hosted_vllm", "fireworks_ai", "together_ai"})


class CallError(LMError, dspy.LMError):
    """A call that failed after its retries; also a `dspy.LMError`, which DSPy's modules expect."""


class ContextError(CallError, dspy.ContextWindowExceededError):
    """The prompt does not fit; DSPy's ReAct shortens its trajectory when it sees this."""

    def __init__(self, message: str) -> None:
        dspy.ContextWindowExceededError.__init__(self, message=message)


REMEDIES = (
    (dspy.ContextWindowExceededError, "shorten the prompt or use a model with a larger context"),
    (dspy.LMAuthError, "check the API key (api_key= or the provider's environment variable)"),
    (dspy.LMNotConfiguredError, "give an API key (api_key= or the provider's variable)"),
    (dspy.LMRateLimitError, "use fewer threads or wait"),
    (dspy.LMTimeoutError, "raise timeout= or use fewer threads"),
    (dspy.LMTransportError, "check that the server is running and can be reached"),
    (dspy.LMServerError, "look at the server's log, then try again"),
    (dspy.LMUnsupportedModelError, "check the model's name"),
    (dspy.LMInvalidRequestError, "check the model's name and the request"),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which LM it is and what it can do beyond answering.

    Attributes:
        spec: what `connect` was given.
        api_base: the server's address, or None.
        fingerprint: the weights' SHA-256, or name and address without secrets.
        slots: calls that run side by side.
        timeout: seconds a call may take.
        retries: attempts after the first one.
        likelihoods: whether token log-probabilities can be read; None: by provider.
        top_logprobs: how many alternatives of a token can be asked for.
        prefills: whether a final assistant message is continued.
        price: the price of a call where it is known beforehand (0 for a local model).
    """

    spec: str
    api_base: str | None
    fingerprint: str
    slots: int
    timeout: float
    retries: int
    likelihoods: bool | None
    top_logprobs: int
    prefills: bool
    price: float | None


class PersonaLM(dspy.LM):
    """See `personaagent.lm.connect`, which makes them. Copies share meter, budget and engine."""

    def __init__(
        self, model: str, identity: Identity, *, meter: Meter, budget: Budget | None, **options: Any
    ) -> None:
        # DSPy must not retry as well, or attempts would multiply.
        super().__init__(model, num_retries=0, **options)
        self.identity = identity
        self.meter = meter
        self.budget = budget

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
    def top_logprobs(self) -> int:
        """How many alternatives of a token can be asked for."""
        return self.identity.top_logprobs

    @property
    def reads_likelihoods(self) -> bool:
        """Whether `read_labels` works with this LM."""
        if self.identity.likelihoods is not None:
            return self.identity.likelihoods
        known = self._provider_name in LIKELIHOOD_PROVIDERS and not self.supports_reasoning
        return known and "logprobs" in self.supported_params

    @property
    def reads_texts(self) -> bool:
        """Whether `read_text` works with this LM: one in this process, read by likelihoods."""
        return self.identity.prefills and self.reads_likelihoods

    @property
    def supports_response_schema(self) -> bool:
        """True for OpenAI-compatible servers too, of which DSPy knows nothing."""
        return self.identity.api_base is not None or bool(super().supports_response_schema)

    @property
    def supported_params(self) -> set[str]:
        """The names of OpenAI's parameters that the LM takes."""
        server = {"response_format"} if self.identity.api_base is not None else set()
        return set(super().supported_params) | server

    @with_callbacks
    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """As `dspy.LM`: a list of outputs, or a Response for a `dspy.lm15.Request`.

        Raises:
            LMError: the call failed after its retries.
            BudgetError: the budget does not allow another call.
        """
        with self._counted() as counted:
            call = _keyed(prepare(self, prompt, messages, kwargs))
            result = None
            for attempt in range(self.identity.retries + 1):
                try:
                    result = execute(self, call)
                    break
                except dspy.LMError as error:
                    time.sleep(self._pause(error, attempt, counted))
            counted.answered(self._used(result))
        return finalize(self, call, result)

    @with_callbacks
    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """The same, awaited."""
        with self._counted() as counted:
            call = _keyed(
                await asyncio.to_thread(prepare, self, prompt, messages, kwargs, asynchronous=True)
            )
            result = None
            for attempt in range(self.identity.retries + 1):
                try:
                    result = await aexecute(self, call)
                    break
                except dspy.LMError as error:
                    await asyncio.sleep(self._pause(error, attempt, counted))
            counted.answered(self._used(result))
        return finalize(self, call, result)

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
        return min(hint if hint is not None else 2.0**attempt, LONGEST_PAUSE)

    def _translated(self, error: dspy.LMError, retries: int) -> CallError:
        remedy = next((text for kind, text in REMEDIES if isinstance(error, kind)), None)
        said = str(error).partition("\n\n")[0]  # what follows is a library's general advice
        message = f"{self.spec}: the call failed (attempts: {retries + 1}): {said}"
        message = _redacted(message, self.kwargs.get("api_key"))
        kind = ContextError if isinstance(error, dspy.ContextWindowExceededError) else CallError
        return kind(f"{message}. Remedy: {remedy}" if remedy else message)

    def _used(self, result: Any) -> Usage:
        """What DSPy's record of a call says; a hit of the response cache used nothing."""
        if result.cache_hit:
            return Usage(hits=1)
        price = self.identity.price if result.cost is None else result.cost
        details = result.usage.get("prompt_tokens_details") or {}
        return Usage(
            input_tokens=result.usage.get("prompt_tokens") or 0,
            cached_tokens=details.get("cached_tokens") or 0,
            output_tokens=result.usage.get("completion_tokens") or 0,
            money=price or 0.0,
            unpriced=int(price is None),
        )

    def dump_state(self) -> dict[str, Any]:
        """What `connect` needs to make this LM again; no secrets, no paths of the cache."""
        chosen = {key: value for key, value in self.kwargs.items() if key not in UNSAVED}
        if "max_completion_tokens" in chosen:  # DSPy's name for it with OpenAI's reasoning models
            chosen["max_tokens"] = chosen.pop("max_completion_tokens")
        state = {
            name: getattr(self.identity, name)
            for name in ("spec", "api_base", "slots", "timeout", "retries", "likelihoods")
        }
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


def _redacted(text: str, secret: str | None) -> str:
    return text.replace(secret, "***") if secret else text


def _without(error: dspy.LMError, secret: str | None) -> dspy.LMError | None:
    """The error as a cause; none when a server put the key into its message."""
    chain: BaseException | None = error
    while secret and chain is not None:
        if secret in str(chain):
            return None
        chain = chain.__cause__
    return error
