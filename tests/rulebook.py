"""A stand-in for the LM that answers from a small rule book (tests only).

It tells requests apart by their form (likelihoods, JSON schema, text), never by their wording.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonschema
from dspy import lm15

from personaagent.data import Choice, Task
from personaagent.lm.capabilities import Known
from personaagent.lm.meter import Budget, Meter
from personaagent.lm.model import Identity, PersonaLM

NUMBERS = itertools.count()
IDLE = {"the", "and", "with", "for", "about", "near", "from", "that", "this"}
RULE = re.compile(r"mentions (?:an? |the )?([^,]+), answer ([^.\n]+)\.")


@dataclass(frozen=True)
class Asked:
    """One request: `kind` is "labels", "json" or "text"; `said` is what was answered."""

    kind: str
    system: str
    text: str
    fields: tuple[str, ...] = ()
    said: Any = None

    @property
    def everything(self) -> str:
        return f"{self.system}\n{self.text}"


@dataclass
class RuleBook:
    """An engine: `readings` is the usual label of a keyword; a rule "mentions X, answer Y" that
    fits the query overrules it, wherever it stands, unless `obeys` is false.

    Attributes:
        says: answers that are given whatever is asked: by output field for JSON, under "text" and
            "label" for the rest. A function gets the request.
        position: the probability of "[1]" for a choice whose options it has no opinion on.
        dies_after: the number of requests that are answered before every other one fails.
    """

    task: Task
    readings: Mapping[str, str] = field(default_factory=dict)
    obeys: bool = True
    says: dict[str, Any] = field(default_factory=dict)
    position: float = 0.5
    dies_after: int | None = None
    failure: Exception = field(default_factory=lambda: lm15.ServerError("the LM is gone"))
    asked: list[Asked] = field(default_factory=list)
    failed: int = 0

    supports_response_schema = True
    supported_params = frozenset({"response_format", "max_tokens", "temperature", "logprobs"})

    def __post_init__(self) -> None:
        self.lock = threading.Lock()

    def of(self, kind: str) -> list[Asked]:
        return [one for one in self.asked if one.kind == kind]

    def complete(self, request: lm15.Request) -> lm15.Response:
        system = request.system if isinstance(request.system, str) else ""
        text = "\n".join(_text(message) for message in request.messages)
        config = request.config
        with self.lock:
            if self.dies_after is not None and len(self.asked) >= self.dies_after:
                self.failed += 1
                raise self.failure
            form = config.response_format
            if only := (config.extensions or {}).get("held_to"):
                asked = Asked("held", system, text)
                said: Any = Held(only, asked.everything)
            elif config.logprobs is not None:
                asked = Asked("labels", system, text)
                said = self.distribution(asked)
            elif form is not None:
                schema = form["schema"]
                asked = Asked("json", system, text, tuple(schema["properties"]))
                said = self.instance(asked, schema)
            else:
                asked = Asked("text", system, text)
                said = self.words(asked)
            self.asked.append(Asked(asked.kind, system, text, asked.fields, said))
        return _response(request, said)

    # The rules

    def distribution(self, asked: Asked) -> dict[str, float]:
        """What is believed of the labels, as tokens with probabilities."""
        if "label" in self.says:
            return self._given("label", asked)
        if isinstance(self.task, Choice):
            return {"[1]": self.position, "[2]": 1 - self.position}
        label, sure = self.reading(asked)
        rest = (1 - sure) / (len(self.task.labels) - 1)
        return {one: sure if one == label else rest for one in self.task.labels}

    def reading(self, asked: Asked) -> tuple[str, float]:
        query = self.query(asked)
        for cue, label in RULE.findall(asked.everything) if self.obeys else ():
            if cue in query and label in self.task.labels:
                return label, 0.95
        usual = next((self.readings[word] for word in self.readings if word in query), None)
        return (usual, 0.9) if usual else (self.task.labels[0], 0.5)

    def query(self, asked: Asked) -> str:
        """The line that `task.question` puts the query on."""
        head = self.task.question("").strip()
        lines = [line for line in asked.text.splitlines() if line.startswith(head)]
        return lines[-1][len(head) :] if lines else asked.text

    def words(self, asked: Asked) -> str:
        """The word that most lines of the request share; the longest of several."""
        if "text" in self.says:
            return self._given("text", asked)
        lines = [line for line in asked.text.splitlines() if line.strip()]
        found = Counter(
            word for line in lines for word in set(re.findall(r"[a-z]{3,}", line.lower())) - IDLE
        )
        return max(sorted(found), key=lambda word: (found[word], len(word)), default="nothing")

    def instance(self, asked: Asked, schema: dict[str, Any]) -> Any:
        """A valid instance of the schema, unless `says` has it otherwise."""
        told = {name: self._given(name, asked) for name in asked.fields if name in self.says}
        if "json" in self.says:
            return self._given("json", asked)
        plain = {
            "answer": lambda: self.reading(asked)[0],
            "actions": lambda: [],
            "edits": lambda: [],
            "profile": lambda: "A person of habits.",
            "rules": lambda: ["Keep to the habits."],
            "written": lambda: "first",  # a judge of texts that sees no difference
        }
        made = {name: told.get(name) if name in told else plain[name]() for name in asked.fields}
        if not told:
            jsonschema.validate(made, schema)
        return made

    def _given(self, name: str, asked: Asked) -> Any:
        given = self.says[name]
        return given(asked) if callable(given) else given


class AsyncRuleBook:
    def __init__(self, book: RuleBook) -> None:
        self.book = book

    async def complete(self, request: lm15.Request) -> lm15.Response:
        return self.book.complete(request)


def stand_in(
    book: RuleBook,
    *,
    likelihoods: bool = True,
    texts: bool = False,
    slots: int = 2,
    context: int | None = None,
    budget: Budget | None = None,
    meter: Meter | None = None,
) -> PersonaLM:
    """An LM that answers from the book; it does not retry."""
    name = f"rule-book-{next(NUMBERS)}"
    identity = Identity(name, None, name, slots, 5.0, 0, 0.0)
    given = {"alternatives": 20 if likelihoods else 0, "prefills": texts, "context": context}
    known = Known(given, name=name, fixed=True)
    return PersonaLM(
        "sim/rule-book",  # the same model, so that weights fitted with one count for another
        identity,
        known=known,
        meter=meter or Meter(),
        budget=budget,
        cache=False,
        engine=book,
        async_engine=AsyncRuleBook(book),
    )


def calls(*actions: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """(tool, arguments) pairs as the JSON that an LM chooses them with."""
    return [{"tool": tool, **arguments} for tool, arguments in actions]


@dataclass(frozen=True)
class Held:
    """A text that the LM is held to: words that it was shown are likely, others are not."""

    text: str
    shown: str

    def scored(self) -> tuple[lm15.TokenLogprob, ...]:
        tokens = re.findall(r"\S+\s*", self.text)
        return tuple(
            lm15.TokenLogprob(
                one, math.log(0.5 if one.strip() in self.shown else 0.01), tuple(one.encode())
            )
            for one in tokens
        )


def in_turn(*answers: Any) -> Callable[[Asked], Any]:
    """Another answer to every request, the last one from then on."""
    left = list(answers)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]


def _text(message: lm15.Message) -> str:
    return "".join(getattr(part, "text", "") for part in message.parts)


def _response(request: lm15.Request, said: Any) -> lm15.Response:
    logprobs = None
    if isinstance(said, Held):
        logprobs, said = said.scored(), said.text
    elif request.config.logprobs is not None:
        top = tuple(_token(token, p) for token, p in _falling(said))
        first = top[0]
        logprobs = (lm15.TokenLogprob(first.token, first.logprob, first.bytes, None, top),)
        said = first.token
    elif not isinstance(said, str):
        said = json.dumps(said)
    return lm15.Response(
        id=None,
        model=request.model,
        message=lm15.Message.assistant(said),
        finish_reason="stop",
        usage=lm15.Usage(input_tokens=10, output_tokens=2, cache_read_tokens=4),
        logprobs=logprobs,
    )


def _token(token: str, probability: float) -> lm15.TopLogprob:
    return lm15.TopLogprob(token, math.log(probability), tuple(token.encode()), None)


def _falling(distribution: Mapping[str, float]) -> Sequence[tuple[str, float]]:
    return sorted(distribution.items(), key=lambda pair: -pair[1])
