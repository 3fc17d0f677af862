"""A stand-in LM that serves DSPy's optimizers too, and outcomes made up for the tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dspy import lm15
from rulebook import Asked, RuleBook, stand_in
from worlds_of_mail import INBOX, READINGS

from benchmarks.rivals.contest import FRACTIONS, Outcome, Point

RULE = "If the message mentions dog, answer travel."
WRITTEN = {
    "new_instruction": RULE,
    "proposed_instruction": RULE,
    "observations": "Messages and folders.",
    "summary": "Messages and folders.",
    "program_description": "It files.",
    "module_description": "It files.",
    "discussion": "Dogs travel.",
    "module_advice": {"respond": RULE},
}


class Proposing(RuleBook):
    """A rule book that proposes what the dog is about, whichever optimizer asks."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        form = request.config.response_format
        if form is None or "schema" in form:
            return super().complete(request)
        with self.lock:  # JSON without a schema: SIMBA's advice
            self.asked.append(Asked("json", "", "", tuple(WRITTEN)))
        message = lm15.Message.assistant(json.dumps(WRITTEN))
        usage = lm15.Usage(input_tokens=10, output_tokens=2)
        return lm15.Response(None, request.model, message, "stop", usage)


def proposing(**options: Any) -> tuple[RuleBook, Any]:
    """The book and its LM."""
    rules = Proposing(INBOX, READINGS, says=dict(WRITTEN), **options)
    return rules, stand_in(rules)


def outcome(user: str, arm: str, *answers: Mapping[str, str | None], stopped: str = "by itself"):
    """An outcome with these answers after each fraction of a budget of 100 calls."""
    points = tuple(
        Point(fraction, int(fraction * 100), {}, dict(said))
        for fraction, said in zip(FRACTIONS, answers, strict=True)
    )
    return Outcome(user, arm, points, stopped, 1.0)
