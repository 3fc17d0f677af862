"""The task, the rule and the messages of the tests of the page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from personaagent.data import Classification, Interaction

INBOX = Classification("inbox", "Which folder?", labels=("money", "travel", "family"))
RULE = "If the message mentions car, answer money."
DAWN = datetime(2026, 3, 1, tzinfo=UTC)


def mail(n: int, user: str = "amira", query: str = "the car again", **more: object) -> Interaction:
    time = DAWN + timedelta(days=n)
    return Interaction(f"{user}-{n}", user, "inbox", query, "money", time, **more)  # type: ignore[arg-type]
