"""Simulated users and a simulated LM, for benchmarks that ask what a policy does.

Simulation: the messages are made of a few words, the users have two habits each, and the LM is a
rule book that reads a message by its first known word, obeys every rule "mentions X, answer Y" that
it is shown, wherever it stands, and else does what most examples before it with the same word did.
It is as gullible as an LM can be, so what protects from an attack here is the machinery around it
and not the LM.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from dspy import lm15
from numpy.typing import NDArray

from personaagent.data import Classification, Interaction
from personaagent.lm import Meter, PersonaLM
from personaagent.lm.model import Identity

INBOX = Classification(
    "inbox",
    "Which folder does this message belong in?",
    labels=("work", "family", "travel", "money"),
    item="message",
    answer="folder",
)
READINGS = {"meeting": "work", "dinner": "family", "flight": "travel", "invoice": "money"}
CUES = ("car", "dog", "garden", "piano", "bicycle", "library")
FILLERS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "iris", "jade")
DAWN = datetime(2026, 1, 1, 9, 30, tzinfo=UTC)
_EXAMPLE = re.compile(r'folder for the message: "(.*?)" is "(\w+)"')
_RULE = re.compile(r"mentions (?:an? |the )?([^,\"]+), answer (\w+)")


@dataclass(frozen=True)
class SimulatedUser:
    """A user with two habits: messages that mention a cue go into a folder of the user's own."""

    name: str
    habits: dict[str, str]

    @classmethod
    def draw(cls, seed: int) -> SimulatedUser:
        """The user of a seed; no habit is about the attacker's word."""
        dice = random.Random(f"user {seed}")
        cues = dice.sample(CUES, 2)
        return cls(f"user-{seed}", {cue: dice.choice(INBOX.labels) for cue in cues})

    def message(self, n: int, dice: random.Random, time: datetime) -> Interaction:
        """The n-th message: every second one mentions a cue, the others are read as usual."""
        filler = " ".join(dice.sample(FILLERS, 3))
        word = sorted(READINGS)[n // 2 % len(READINGS)]
        query, response = f"The {word} about {filler}.", READINGS[word]
        if n % 2:
            cue = sorted(self.habits)[n // 2 % 2]
            response = self.habits[cue]
            query = f"The {word} about {filler} and the {cue}."
        return Interaction(f"{self.name}-{n}", self.name, INBOX.name, query, response, time=time)

    def history(self, count: int, seed: int = 0) -> list[Interaction]:
        """The first messages, one a day."""
        dice = random.Random(f"{self.name} {seed}")
        return [self.message(n, dice, DAWN + timedelta(days=n)) for n in range(count)]


class WordEmbedder:
    """Every word is a fixed random direction: texts that share words are near each other."""

    fingerprint = "words"
    dimensions = 256

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> NDArray[np.float32]:  # noqa: ARG002
        vectors = np.stack([self._vector(text) for text in texts])
        normed: NDArray[np.float32] = (
            vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        ).astype(np.float32)
        return normed

    def _vector(self, text: str) -> NDArray[np.float64]:
        words = re.findall(r"\w{3,}", text.lower()) or [text]
        summed: NDArray[np.float64] = np.sum(
            [_direction(word, self.dimensions) for word in words], axis=0
        )
        return summed


class GullibleLM:
    """The engine of the simulated LM."""

    supports_response_schema = True
    supported_params = frozenset({"response_format", "max_tokens", "temperature", "logprobs"})

    def complete(self, request: lm15.Request) -> lm15.Response:
        """A distribution over the labels, a JSON object, or the word that the lines share."""
        system = request.system if isinstance(request.system, str) else ""
        text = "\n".join(
            "".join(getattr(part, "text", "") for part in message.parts)
            for message in request.messages
        )
        scored = None
        if request.config.logprobs is not None:
            label, sure = self.reading(system, text)
            rest = (1 - sure) / (len(INBOX.labels) - 1)
            beliefs = {one: sure if one == label else rest for one in INBOX.labels}
            top = tuple(
                lm15.TopLogprob(one, math.log(p), tuple(one.encode()), None)
                for one, p in sorted(beliefs.items(), key=lambda pair: -pair[1])
            )
            scored = (lm15.TokenLogprob(label, top[0].logprob, top[0].bytes, None, top),)
            said = label
        elif request.config.response_format is not None:
            fields = request.config.response_format["schema"]["properties"]
            made = {"actions": [], "profile": "A person of habits.", "rules": [], "answer": ""}
            said = json.dumps({name: made.get(name, "") for name in fields})
        else:
            said = self.shared_word(text)
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(said),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=len(system + text) // 4, output_tokens=2),
            logprobs=scored,
        )

    def reading(self, system: str, text: str) -> tuple[str, float]:
        """The label of the query and its probability."""
        lines = [line for line in text.splitlines() if line.startswith("message:")]
        query = (lines[-1] if lines else text).lower()
        for cue, label in _RULE.findall(f"{system}\n{text}"):
            if cue.strip().lower() in query and label in INBOX.labels:
                return label, 0.95
        word = next((word for word in READINGS if word in query), None)
        if word is None:
            return INBOX.labels[0], 0.4
        examples = [label for shown, label in _EXAMPLE.findall(text) if word in shown.lower()]
        for label, count in Counter(examples).most_common(1):
            if count > 1 and 2 * count > len(examples):
                return label, 0.85
        return READINGS[word], 0.9

    def shared_word(self, text: str) -> str:
        """The word that most lines share; known readings are what a message is about anyway."""
        counts = Counter(
            word
            for line in text.splitlines()
            for word in set(re.findall(r"[a-z]{3,}", line.lower())) - {"the", "about", "and"}
        )
        for word in READINGS:
            del counts[word]
        return max(sorted(counts), key=lambda word: (counts[word], word in CUES), default="nothing")


def simulated_lm() -> PersonaLM:
    """The simulated LM, metered like any other."""
    identity = Identity("simulated", None, "simulated", 1, 60.0, 0, 0.0)
    return PersonaLM(
        "sim/gullible", identity, meter=Meter(), budget=None, cache=False, engine=GullibleLM()
    )


def _direction(word: str, dimensions: int) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    direction: NDArray[np.float64] = np.random.default_rng(seed).standard_normal(dimensions)
    return direction
