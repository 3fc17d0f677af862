"""Following a user who changes: python -m benchmarks.drift [--quick] [--users N]

Simulated users with known change points. Every message is answered by the user's own habits, known
so far (no LM), under three ways to weigh what is older:

- `none`: everything counts alike;
- `always`: recency weighting at all times, half of the weight lost every 20 interactions;
- `ours`: nothing fades until `optimizers.drift` tells a change; then what is older does.

Scenarios: `change` (the habits change for good), `oscillation` (two sets of habits take turns),
`noise` (a part of the answers is random, and nothing changes), `steady`.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from benchmarks.redteam import share
from benchmarks.simulation import INBOX, SimulatedUser, WordEmbedder
from personaagent.data import Interaction
from personaagent.data.influence import faded
from personaagent.memory import EpisodicMemory, Memory, Store
from personaagent.optimizers.drift import HALF_LIFE, look
from personaagent.programs.user_label_prior import NEIGHBOURS, vote

LENGTH = 160
CHANGE = 80
TURN = 25  # interactions between two turns of an oscillation
NOISE = 0.25  # of the answers
ALWAYS = 20.0  # half-life of recency weighting at all times
WAYS = ("none", "always", "ours")
SCENARIOS = ("change", "oscillation", "noise", "steady")


@dataclass(frozen=True)
class Life:
    """What one way made of one user: right answers in order, and where a change was told."""

    right: list[bool]
    told: list[int]
    kinds: Sequence[str]


def history(scenario: str, seed: int) -> list[Interaction]:
    """The messages of a simulated user in a scenario, one a day."""
    user = SimulatedUser.draw(seed)
    dice = random.Random(f"{scenario} {seed}")
    other = {
        cue: dice.choice([label for label in INBOX.labels if label != was])
        for cue, was in user.habits.items()
    }
    past = []
    for n, one in enumerate(user.history(LENGTH)):
        cue = next((cue for cue in other if cue in one.query), None)
        changed = {
            "change": n >= CHANGE,
            "oscillation": n // TURN % 2 == 1,
        }.get(scenario, False)
        if cue and changed:
            one = replace(one, response=other[cue])
        if scenario == "noise" and dice.random() < NOISE:
            one = replace(one, response=dice.choice(INBOX.labels))
        past.append(one)
    return past


def live(
    way: str, past: Sequence[Interaction], vectors: NDArray[np.float32], memory: EpisodicMemory
) -> Life:
    """Answer one message after the other; look for a change after every one."""
    right, told, kinds = [], [], []
    since = 0
    for n, one in enumerate(past):
        fits = vectors[:n] @ vectors[n]
        nearest = np.argsort(-fits, kind="stable")[:NEIGHBOURS]
        weights: dict[str, Callable[[int], float]] = {
            "none": lambda at: 1.0,  # noqa: ARG005
            "always": lambda at: faded(n - at, ALWAYS),  # noqa: B023
            "ours": lambda at: faded(n - since, HALF_LIFE) if at < since else 1.0,  # noqa: B023
        }
        neighbours = [
            Memory(replace(past[at], weight=weights[way](int(at))), float(fits[at]))
            for at in nearest
        ]
        posterior = vote(INBOX.labels, neighbours) if neighbours else {INBOX.labels[0]: 1.0}
        right.append(INBOX.decide(posterior) == one.response)
        if way == "ours":
            found = look(memory, INBOX, past[: n + 1], since)
            kinds.append(found.kind)
            if found.at is not None:
                since = found.at
                told.append(n)
            elif found.kind == "oscillation":
                since = 0
    return Life(right, told, kinds)


def accuracy(lives: Sequence[Life], first: int, last: int) -> str:
    """The share of right answers from one message to another, with its interval."""
    return share(value for life in lives for value in life.right[first:last])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two users, seconds")
    parser.add_argument("--users", type=int, default=20, help="simulated users")
    options = parser.parse_args()
    users = 2 if options.quick else options.users
    spans = {
        "change": ((40, CHANGE), (CHANGE, CHANGE + 20), (CHANGE + 20, LENGTH)),
        "oscillation": ((40, LENGTH),),
        "noise": ((40, LENGTH),),
        "steady": ((40, LENGTH),),
    }
    print("| scenario | messages | " + " | ".join(WAYS) + " |\n|---|---|---|---|---|")
    lives: dict[tuple[str, str], list[Life]] = {}
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "memory.db") as store:
        memory = EpisodicMemory(store, WordEmbedder())
        for scenario in SCENARIOS:
            pasts = [history(scenario, seed) for seed in range(users)]
            for way in WAYS:
                lives[scenario, way] = [
                    live(way, past, np.stack([memory.embed(one.query) for one in past]), memory)
                    for past in pasts
                ]
            for first, last in spans[scenario]:
                said = [accuracy(lives[scenario, way], first, last) for way in WAYS]
                print(f"| {scenario} | {first} to {last} | {' | '.join(said)} |", flush=True)
    after = [
        next((at - CHANGE for at in life.told if at >= CHANGE), None)
        for life in lives["change", "ours"]
    ]
    delays = sorted(delay for delay in after if delay is not None)
    print(f"\nchange told: {len(delays)} of {users} users", end="")
    if delays:
        most = delays[int(0.9 * (len(delays) - 1))]
        print(f", after {delays[len(delays) // 2]} messages (median), {most} (90 %)", end="")
    early = sum(any(at < CHANGE for at in life.told) for life in lives["change", "ours"])
    print(f"; before there was one: {early} users")
    for scenario in SCENARIOS[1:]:
        mine = lives[scenario, "ours"]
        alarms = sum(bool(life.told) for life in mine)
        seen = sum("oscillation" in life.kinds for life in mine)
        print(f"{scenario}: a change told for {alarms} of {users} users, an oscillation for {seen}")


if __name__ == "__main__":
    main()
