"""A stand-in LM, and the files that the tests of the command line import."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from dspy import lm15
from typer.testing import Result

from personaagent.lm.capabilities import Known
from personaagent.lm.meter import Meter
from personaagent.lm.model import Identity, PersonaLM

TASKS = [
    {
        "name": "inbox",
        "kind": "classification",
        "instruction": "Which folder does this message belong in?",
        "item": "message",
        "answer": "folder",
        "labels": ["money", "travel", "family"],
    },
    {"name": "stars", "kind": "rating", "instruction": "How many stars?", "low": 1, "high": 5},
]
CAR = "mentions car"


class Engine:
    """Says `travel`, but `money` where a directive about cars is before it; sees the car as cue.

    `answers` says what else is answered to a request that holds a text.
    """

    supports_response_schema = True
    answers: ClassVar[dict[str, str]] = {}

    def complete(self, request: lm15.Request) -> lm15.Response:
        asked = repr(request)
        if known := [say for text, say in self.answers.items() if text in asked]:
            say = known[0]
        elif "Which folder" in asked:
            say = json.dumps({"answer": "money" if CAR in asked else "travel"})
        elif "Choose the tools" in asked:
            say = json.dumps({"actions": [{"tool": "recall", "query": "car", "k": 2}]})
        elif "Rewrite it by the feedback" in asked:
            say = json.dumps({"profile": "Drives.", "rules": ["File the car under money."]})
        elif "Describe" in asked:
            say = "A person who counts what the car costs."
        else:
            say = "car"
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(say),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=10, output_tokens=2, cache_read_tokens=4),
        )


class AsyncEngine:
    async def complete(self, request: lm15.Request) -> lm15.Response:
        return Engine().complete(request)


def connect(
    spec: str,
    *,
    api_base: Any = None,
    slots: int = 2,
    budget: Any = None,
    meter: Any = None,
    **options: Any,
) -> PersonaLM:
    identity = Identity(spec, api_base, "stand-in", slots, 5.0, 0, 0.0)
    known = Known({"alternatives": 0}, name=spec, fixed=True)
    return PersonaLM(
        "sim/stand-in",
        identity,
        known=known,
        meter=meter or Meter(),
        budget=budget,
        cache=False,
        engine=Engine(),
        async_engine=AsyncEngine(),
    )


Run = Callable[..., Result]


def rows(user: str = "amira", count: int = 18) -> list[dict[str, Any]]:
    """Messages of a user: every second one mentions the car and goes under money."""
    return [
        {
            "id": f"{user}-{n}",
            "user": user,
            "task": "inbox",
            "query": f"the car needs part {n}" if n % 2 else f"a ferry sails at {n}",
            "response": "money" if n % 2 else "travel",
            "time": f"2026-03-{n + 1:02}T12:00:00Z",
        }
        for n in range(count)
    ]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
