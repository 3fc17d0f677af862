"""Another process, for tests of faults: python worker.py DATABASE COMMAND NAME NUMBER..."""

from __future__ import annotations

import sys

from standins import HashEmbedder

from personaagent.data import Interaction, Persona
from personaagent.errors import ConflictError
from personaagent.memory import EpisodicMemory, Store


def batch(first: int, size: int, prefix: str = "i") -> list[Interaction]:
    return [
        Interaction(f"{prefix}{n}", f"user{n % 3}", "films", f"film number {n}", "good")
        for n in range(first, first + size)
    ]


def add(store: Store, prefix: str, batches: int, size: int) -> None:
    """Add batches, and say the number of each once it is committed."""
    memory = EpisodicMemory(store, HashEmbedder())
    for number in range(batches):
        memory.add(batch(number * size, size, prefix))
        print(number, flush=True)


def publish(store: Store, name: str, count: int) -> None:
    """Publish `count` personas, each on top of whatever the champion then is."""
    mine = store.of("ann")
    conflicts = 0
    for number in range(count):
        while True:
            champion = mine.persona("films")
            text = f"{name} {number}"
            new = (
                champion.succeed(profile=text)
                if champion
                else Persona("ann", "films", profile=text)
            )
            try:
                mine.publish(new, expected=champion.hash if champion else None, reason=name)
                break
            except ConflictError:
                conflicts += 1
    print(conflicts)


if __name__ == "__main__":
    database, command, name, *numbers = sys.argv[1:]
    with Store(database) as store:
        print("ready", flush=True)
        sys.stdin.readline()  # the signal to start, so that processes work at the same time
        {"add": add, "publish": publish}[command](store, name, *map(int, numbers))
