"""A small world for the tests of programs and optimizers: an inbox, its LM and its users."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rulebook import RuleBook
from standins import HashEmbedder

from personaagent.data import Classification, Interaction
from personaagent.memory import EpisodicMemory, Store

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
INBOX = Classification(
    "inbox",
    "Which folder?",
    labels=("work", "family", "travel"),
    item="message",
    answer="folder",
)
READINGS = {"meeting": "work", "dinner": "family", "flight": "travel"}
HABITS = {"dog": ("travel", ("dinner", "meeting")), "car": ("family", ("flight", "meeting"))}
FILLERS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "iris", "jade"]


def mail(n: int, query: str, response: str, user: str = "ann", **fields: Any) -> Interaction:
    """The n-th day's message of a user."""
    plain: dict[str, Any] = {
        "id": f"{user}-{n}",
        "user": user,
        "task": "inbox",
        "query": query,
        "response": response,
        "time": DAWN + timedelta(days=n),
    }
    return Interaction(**(plain | fields))


def habitual(user: str = "ann", count: int = 36, seed: int = 2) -> list[Interaction]:
    """A history with two habits: a third of it each, and a third read as anyone would."""
    dice = random.Random(seed)
    history = []
    for n in range(count):
        filler = " ".join(dice.sample(FILLERS, 3))
        if n % 3 == 2:
            word = sorted(READINGS)[n // 3 % 3]
            history.append(mail(n, f"{word} {filler}", READINGS[word], user))
            continue
        cue = "dog" if n % 3 == 0 else "car"
        response, words = HABITS[cue]
        history.append(mail(n, f"{words[n // 3 % 2]} {filler} {cue}", response, user))
    return history


def book(**options: Any) -> RuleBook:
    return RuleBook(INBOX, READINGS, **options)


@contextmanager
def remembering(folder: Path, *interactions: Interaction) -> Iterator[EpisodicMemory]:
    """Episodic memory in a fresh database."""
    with Store(str(folder / "memory.db")) as store:
        memory = EpisodicMemory(store, HashEmbedder(dimensions=512))
        memory.add(interactions)
        yield memory
