"""What an LM can do beyond answering: found out on the way, remembered, never assumed.

A request is written for the most capable LM. `Known.fit` leaves out what this LM does not take;
where the LM refuses something, `Known.step_down` goes one rung down from what its error says, and
the same request is made again. What was learned so is kept on disk for a week, by the LM's
fingerprint, and said once on stderr.

`probe` finds out on purpose, by two small calls (`personaagent lm NAME`); on the way of an answer
nothing is probed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from personaagent.lm.connection import REASONING_ROOM, REMOTE_ALTERNATIVES
from personaagent.lm.likelihood import truncation_expected
from personaagent.lm.weights import cache_folder

if TYPE_CHECKING:
    from dspy import lm15

    from personaagent.lm.model import PersonaLM


TASTED = ("alternatives", "system", "temperature", "limit")
QUESTION = [
    {"role": "system", "content": "Answer with one word."},
    {"role": "user", "content": "What colour is a clear sky by day: blue, red or green?"},
]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "colour",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"colour": {"type": "string", "enum": ["blue", "red", "green"]}},
            "required": ["colour"],
            "additionalProperties": False,
        },
    },
}


def probe(lm: PersonaLM) -> list[str]:
    """Ask twice, once for log-probabilities and once for a form; what the LM said.

    Raises:
        LMError: the LM failed, or takes no request at all.
    """
    said = [_taste(lm, {"logprobs": True, "top_logprobs": lm.capabilities.alternatives or None})]
    lm.known.confirm(*TASTED)
    said.append(_taste(lm, {"response_format": SCHEMA}))
    lm.known.confirm("form")
    return said


def settle(lm: PersonaLM) -> None:
    """Find out whether an LM gives log-probabilities, where nobody knows; one call at most.

    An experiment needs it beforehand, for its answers are kept by how they were read.

    Raises:
        LMError: the LM failed.
    """
    if lm.reads_likelihoods and lm.known.source("alternatives") == "assumed":
        _taste(lm, {"logprobs": True, "top_logprobs": lm.capabilities.alternatives})
        lm.known.confirm("alternatives")


def _taste(lm: PersonaLM, options: dict[str, Any]) -> str:
    from dspy import lm15

    given = {name: value for name, value in options.items() if value is not None}
    if "top_logprobs" not in given:
        given.pop("logprobs", None)
    request = lm15.request_from_openai_chat(
        {"model": lm.model, "messages": QUESTION, "max_tokens": 16, "temperature": 0, **given}
    )
    with truncation_expected():
        return str(lm(request, cache=False).text or "").strip()


logger = logging.getLogger(__name__)

FOLDER = "PERSONAAGENT_LMS"
"""The environment variable that names another folder for what was learned of LMs."""
REMEMBERED = timedelta(days=7)
LEAST_ROOM = 1024  # tokens; an LM that cannot be given them cannot think

Form = Literal["json_schema", "json_object", "none"]
Limit = Literal["max_tokens", "max_completion_tokens"]
Source = Literal["option", "metadata", "learned", "assumed"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an LM can do; the defaults are what is tried first with a server nobody knows.

    Attributes:
        alternatives: log-probabilities listed for a token; 0 where none are given.
        form: the strictest form of answer that can be asked for.
        system: takes a system message.
        temperature: takes a temperature.
        limit: its name for the most tokens of an answer.
        room: tokens for its thought, on top of an answer's; 0 for an LM that does not think.
        output: the most tokens that it writes at once, thought included; None where unknown.
        context: tokens of prompt and answer together; None where unknown.
        prefills: goes on with an answer that is already begun.
    """

    alternatives: int = REMOTE_ALTERNATIVES
    form: Form = "json_schema"
    system: bool = True
    temperature: bool = True
    limit: Limit = "max_tokens"
    room: int = 0
    output: int | None = None
    context: int | None = None
    prefills: bool = False


class Known:
    """The capabilities of one LM as far as they are known; all copies of the LM share it.

    Args:
        given: by an option; they outrank the rest, and only a refusal by the LM changes them.
        metadata: what the provider says of the model.
        name: what to call the LM in notes.
        fingerprint: under which to remember; None to learn for this process only.
        fixed: nothing is learned (an LM in this process, whose capabilities are certain).

    `rest` and `resting` tell all who share an LM that it is down.
    """

    def __init__(
        self,
        given: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        name: str = "the LM",
        fingerprint: str | None = None,
        fixed: bool = False,
    ) -> None:
        self.name = name
        self._fixed = fixed
        self._lock = threading.Lock()
        self._memory = None if fingerprint is None or fixed else _Memory(fingerprint)
        self._sources: dict[str, Source] = {}
        self._now = Capabilities()
        self._rests_until = 0.0
        remembered = self._memory.read() if self._memory else {}
        layers: tuple[tuple[Source, Mapping[str, Any]], ...] = (
            ("metadata", metadata or {}),
            ("learned", remembered),
            ("option", given or {}),
        )
        for source, values in layers:
            self._now = replace(self._now, **values)
            self._sources |= dict.fromkeys(values, source)

    @property
    def now(self) -> Capabilities:
        """As far as is known now."""
        return self._now

    def table(self) -> list[tuple[str, Any, Source]]:
        """(capability, value, where it is known from) in the order of `Capabilities`."""
        return [(name, value, self.source(name)) for name, value in asdict(self._now).items()]

    @property
    def resting(self) -> bool:
        """Whether the LM was down a moment ago and is left alone for a while."""
        return time.monotonic() < self._rests_until

    def rest(self, seconds: float) -> bool:
        """Leave the LM alone for so many seconds; whether it was not already."""
        with self._lock:
            news, self._rests_until = not self.resting, time.monotonic() + seconds
        return news

    def source(self, name: str) -> Source:
        """Where a capability is known from."""
        return self._sources.get(name, "assumed")

    def confirm(self, *names: str) -> None:
        """What was assumed of these has proved true."""
        with self._lock:
            fresh = [name for name in names if self._sources.get(name, "assumed") == "assumed"]
            if self._fixed or not fresh:
                return
            self._sources |= dict.fromkeys(fresh, "learned")
            values = {name: getattr(self._now, name) for name in fresh}
        if self._memory:
            self._memory.add(values)

    def learn(self, note: str, **values: Any) -> bool:
        """Something new of the LM; whether it was new. `note` is said once."""
        with self._lock:
            now = asdict(self._now)
            fresh = {name: value for name, value in values.items() if now[name] != value}
            if not fresh or self._fixed:
                return False
            self._now = replace(self._now, **fresh)
            self._sources |= dict.fromkeys(fresh, "learned")
        logger.warning("%s: %s", self.name, note)
        if self._memory:
            self._memory.add(fresh)
        return True

    def fit(self, request: lm15.Request, *, tokens: int | None, spoken: str) -> lm15.Request:
        """The request as this LM takes it.

        Args:
            request: for the most capable LM.
            tokens: the most tokens of an answer where the request does not say.
            spoken: the dialect (`providers.dialect`), which decides where the limit is written.
        """
        now, config = self._now, request.config
        changes: dict[str, Any] = {}
        if config.logprobs is not None:
            changes["logprobs"] = min(config.logprobs, now.alternatives) or None
        if not now.temperature:
            changes["temperature"] = None
        form = config.response_format
        if form is not None:
            changes["response_format"] = _form(form, now.form)
            if now.form != "json_schema" and "schema" in form:
                request = _with_schema(request, form["schema"])
        limit = config.max_tokens if config.max_tokens is not None else tokens
        if limit is not None:
            limit += now.room
            limit = min(limit, now.output) if now.output else limit
            if spoken == "openai":
                extensions = dict(config.extensions or {}) | {now.limit: limit}
                changes |= {"max_tokens": None, "extensions": extensions}
            else:
                changes["max_tokens"] = limit
        if not now.system and request.system is not None:
            request = _without_system(request)
        return replace(request, config=replace(config, **changes))

    def step_down(self, error: Exception, asked: lm15.Request) -> bool:
        """Learn from a refusal; whether the request is worth making again.

        Args:
            error: what the LM answered.
            asked: the request as it was sent.
        """
        if self._fixed:
            return False
        said = _said(error)
        now, config = self._now, asked.config
        if is_context(said):
            if (found := _HOLDS.search(said)) and int(found[1]) != now.context:
                self.learn(f"holds {found[1]} tokens, prompt and answer", context=int(found[1]))
            if now.room > LEAST_ROOM and self._limit(config) is not None:
                return self.learn(
                    "has less room for its thought", room=max(LEAST_ROOM, now.room // 4)
                )
            return False
        if config.logprobs is not None and _mentions(said, LOGPROBS):
            return self._fewer_alternatives(said, config.logprobs)
        if config.response_format is not None and _mentions(said, FORMS):
            lower: Form = "none"
            if now.form == "json_schema" and not _mentions(said, ("json_object is not",)):
                lower = "json_object"
            words = {"json_object": "takes no JSON schema, but JSON", "none": "takes no JSON form"}
            return self.learn(f"{words[lower]}; what it writes is read all the same", form=lower)
        if self._limit(config) is not None and _mentions(said, LIMITS):
            return self._other_limit(said, config)
        if config.temperature is not None and _mentions(said, ("temperature",)):
            return self.learn("takes no temperature, so none is sent", temperature=False)
        if asked.system is not None and _mentions(said, ("system", "developer instruction")):
            return self.learn(
                "takes no system message; the persona opens the user's message", system=False
            )
        return False

    def _fewer_alternatives(self, said: str, asked: int) -> bool:
        allowed = [n for n in map(int, re.findall(r"\b\d+\b", said)) if 0 < n < asked]
        bounded = _mentions(said, BOUNDS)
        if allowed and bounded:
            fewer = max(allowed)
        elif not bounded and _mentions(said, REFUSALS):
            fewer = 0
        else:
            fewer = next((rung for rung in (5, 1) if rung < asked), 0)
        if fewer == 0:
            return self.learn_no_likelihoods()
        return self.learn(f"lists {fewer} log-probabilities a token", alternatives=fewer)

    def learn_no_likelihoods(self) -> bool:
        """It gives no log-probabilities; whether that is news."""
        return self.learn(
            "gives no log-probabilities, so its written answers count "
            "(--no-likelihoods says so beforehand)",
            alternatives=0,
        )

    def learn_thinking(self) -> bool:
        """It thinks before it answers; whether that is news."""
        return self.learn(
            "thinks before it answers, so it is given room for that "
            "(--reasoning says so beforehand)",
            room=REASONING_ROOM,
            alternatives=0,
        )

    def more_room(self) -> bool:
        """Twice the room for its thought; whether there is more."""
        now = self._now
        if not now.room:
            return self.learn_thinking()
        if now.output is not None and now.room >= now.output:
            return False
        if now.room >= 4 * REASONING_ROOM:
            return False
        return self.learn("needs more room for its thought", room=2 * now.room)

    def _other_limit(self, said: str, config: lm15.Config) -> bool:
        now, asked = self._now, self._limit(config)
        other: Limit = "max_completion_tokens" if now.limit == "max_tokens" else "max_tokens"
        numbers = [n for n in map(int, re.findall(r"\d+", said)) if asked and 0 < n < asked]
        if numbers and not _mentions(said, ("instead",)):
            return self.learn(f"writes {max(numbers)} tokens at most", output=max(numbers))
        return self.learn(f"calls its token limit {other}", limit=other)

    def _limit(self, config: lm15.Config) -> int | None:
        named = (config.extensions or {}).get(self._now.limit)
        return int(named) if named is not None else config.max_tokens


LOGPROBS = ("logprob", "log prob", "log-prob", "top_n_tokens")
FORMS = (
    "response_format", "response format", "json_schema", "json schema", "json_object", "json mode",
    "structured output", "grammar", "output_config", "responseschema",
)  # fmt: skip
BOUNDS = (
    "at most",
    "maximum",
    "max ",
    "less than",
    "greater than",
    "between",
    "<",
    "above",
    "exceed",
)
REFUSALS = ("support", "not allowed", "not available", "not permitted", "unknown", "unrecognized")
LIMITS = ("max_tokens", "max_completion_tokens", "max tokens", "maxoutputtokens", "max_new_tokens")

_CONTEXT = re.compile(
    r"exceed_context_size|maximum context length|context[ _](length|window|size)|context limit"
    r"|prompt is too long|input is too long|too many (input )?tokens|reduce the length",
)
_HOLDS = re.compile(r"maximum context length is (\d+) tokens")


def is_context(said: str) -> bool:
    """Whether an error says that the prompt does not fit."""
    return _CONTEXT.search(said.lower()) is not None


def _said(error: Exception) -> str:
    parts = [
        str(getattr(error, name, None) or "") for name in ("message", "provider_code", "feature")
    ]
    return " ".join([*parts, str(error)]).lower()


def _mentions(said: str, words: Iterable[str]) -> bool:
    return any(word in said for word in words)


def _form(asked: Mapping[str, Any], most: Form) -> dict[str, Any] | None:
    if most == "none":
        return None
    return {"type": "json_object"} if most == "json_object" else dict(asked)


def _with_schema(request: lm15.Request, schema: Any) -> lm15.Request:
    """The schema in words, behind the question, where it cannot be sent as a form."""
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return _to_last_user(request, f"The JSON object follows this JSON schema: {text}")


def _without_system(request: lm15.Request) -> lm15.Request:
    """The system message opens the first message of the user."""
    system = request.system
    text = (
        system
        if isinstance(system, str)
        else "".join(getattr(part, "text", "") for part in system or ())
    )
    messages = list(request.messages)
    at = next((n for n, one in enumerate(messages) if one.role == "user"), None)
    if at is None:
        return request
    messages[at] = _added(messages[at], text, first=True)
    return replace(request, system=None, messages=tuple(messages))


def _to_last_user(request: lm15.Request, text: str) -> lm15.Request:
    messages = list(request.messages)
    at = max((n for n, one in enumerate(messages) if one.role == "user"), default=None)
    if at is None:
        return request
    messages[at] = _added(messages[at], text, first=False)
    return replace(request, messages=tuple(messages))


def _added(message: lm15.Message, text: str, *, first: bool) -> lm15.Message:
    from dspy import lm15

    parts = list(message.parts)
    at = 0 if first else len(parts) - 1
    beside = parts[at] if parts else None
    if isinstance(beside, lm15.TextPart):
        both = f"{text}\n\n{beside.text}" if first else f"{beside.text}\n\n{text}"
        parts[at] = lm15.TextPart(text=both)
    else:
        parts.insert(0 if first else len(parts), lm15.TextPart(text=text))
    return replace(message, parts=tuple(parts))


class _Memory:
    """What was learned of one LM, in a file of its own; each value with the time it was learned."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        short = hashlib.sha256(fingerprint.encode()).hexdigest()[:16]
        folder = os.environ.get(FOLDER)
        self._path = (Path(folder) if folder else cache_folder() / "lms") / f"{short}.json"

    def read(self) -> dict[str, Any]:
        """What is not older than a week; nothing where the file is not readable."""
        limit = datetime.now(UTC) - REMEMBERED
        return {
            name: value
            for name, (value, since) in self._entries().items()
            if datetime.fromisoformat(since) > limit
        }

    def add(self, values: Mapping[str, Any]) -> None:
        """Keep values beside what is there. A cache: where it cannot be written, it is not."""
        now = datetime.now(UTC).isoformat()
        entries = self._entries() | {name: (value, now) for name, value in values.items()}
        content = {"fingerprint": self._fingerprint, "learned": entries}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._path.parent, suffix=".partial")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file)
            Path(temporary).replace(self._path)
        except OSError:
            logger.debug("what was learned of an LM could not be kept", exc_info=True)

    def _entries(self) -> dict[str, tuple[Any, str]]:
        names = Capabilities.__dataclass_fields__
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["fingerprint"] != self._fingerprint:
                return {}
            entries = {}
            for name, (value, since) in content["learned"].items():
                datetime.fromisoformat(since)
                if name in names:
                    entries[name] = (value, since)
            return entries
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}
