"""Mail of one inbox, for tests of servers as processes, and the wait for what a process does."""

from __future__ import annotations

import time
from collections.abc import Callable

from personaagent.data import Classification

INBOX = Classification("inbox", "Which folder?", labels=("money", "travel", "family"))


def mail(number: int) -> dict[str, str]:
    """An interaction as REST takes it: odd ones are about the car, even ones about a ferry."""
    car = number % 2
    return {
        "user": "amira",
        "task": "inbox",
        "id": f"mail-{number}",
        "query": f"the car needs part {number}" if car else f"a ferry sails at {number}",
        "response": "money" if car else "travel",
    }


def until(condition: Callable[[], object], seconds: float) -> None:
    """Wait for a condition, at most so long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
