"""A stand-in for an LM that reads conversations, and a small world of them (tests only).

It knows a few turns of phrase: "I like tea" is a preference, "I avoid boats" an aversion, "I moved
to Oslo" a fact. Notes of which one says "likes" and the other "loves" the same are the same; of two
places to live, the later one holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rulebook import Asked, RuleBook
from standins import HashEmbedder

from personaagent.data import CHAT, Interaction
from personaagent.data.task import OPENING
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.tasks import save_tasks

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
SAID = re.compile(r"^(\d+)\. User: (.*)$", re.M)
PHRASES = (
    (
        r"I (like|love|avoid) (\w+)",
        {"like": "preference", "love": "preference", "avoid": "aversion"},
    ),
    (r"I (moved to) (\w+)", {"moved to": "fact"}),
)
NOTED = re.compile(r"^(\d+)\. \[[^\]]*\] (likes|loves|lives in) (\w+)", re.M)


def notes(asked: Asked) -> list[dict[str, Any]]:
    """What a request's messages tell."""
    found = []
    for number, text in SAID.findall(asked.text):
        for pattern, kinds in PHRASES:
            for verb, thing in re.findall(pattern, text):
                said = f"lives in {thing}" if verb == "moved to" else f"{verb}s {thing}"
                note = {"kind": kinds[verb], "text": said, "topic": topic_of(verb, thing)}
                found.append(note | {"reach": "", "support": [int(number)], "oppose": []})
    return found


def topic_of(verb: str, thing: str) -> str:
    return "home" if verb == "moved to" else "travel" if thing in ("boats", "trains") else thing


def relations(asked: Asked) -> list[dict[str, Any]]:
    """Which of a request's notes are related."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for number, verb, thing in NOTED.findall(asked.text):
        group = "home" if verb == "lives in" else thing
        groups.setdefault(group, []).append((int(number), verb))
    return [
        {
            "notes": [number for number, _ in group],
            "relation": "changed" if name == "home" else "same",
            "text": "",
        }
        for name, group in groups.items()
        if len(group) > 1
    ]


def reader(**options: Any) -> RuleBook:
    """The LM; it answers whoever asks something else with the last words of the request."""
    says = {"notes": notes, "relations": relations, "text": lambda asked: asked.text[-40:]}
    return RuleBook(CHAT, says=says | options.pop("says", {}), **options)


def talk(name: str, *said: str, user: str = "ann", day: int | None = None) -> list[Interaction]:
    """A conversation of what the user said, with what an assistant may have said in between."""
    return [
        Interaction(
            id=f"{user}-{name}-{turn}",
            user=user,
            task=CHAT.name,
            query="Tell me more." if turn > 1 else OPENING,
            response=text,
            time=None if day is None else DAWN + timedelta(days=day, minutes=turn),
            source="chat",
            metadata={"conversation": name, "turn": str(turn)},
        )
        for turn, text in enumerate(said, 1)
    ]


@contextmanager
def chatting(folder: Path, *interactions: Interaction) -> Iterator[EpisodicMemory]:
    """Episodic memory in a fresh database that knows the task of conversations."""
    with Store(str(folder / "memory.db")) as store:
        save_tasks(store, [CHAT])
        memory = EpisodicMemory(store, HashEmbedder(dimensions=512))
        memory.add(interactions)
        yield memory


def all_of(*talks: Iterable[Interaction]) -> list[Interaction]:
    return [one for talk in talks for one in talk]
