"""Which updates are kept, and which are truly better later: python -m benchmarks.updates

    --task inbox,stars                                  the packaged sample's eight users
    --task lamp-2n --questions Q --outputs O --hold-out 8    users of LaMP, or both, as in
    --task inbox,stars,lamp-2n ...
    --simulated 20 --lm embedded, or simulated          simulated users

Every user's persona is learned from the history under each policy of acceptance. Then every
champion and candidate of the way answers the user's held-out queries, which no step has seen: so it
is known which of the kept and of the refused were truly better. What is done is kept in --db: stop
at any time, the same command goes on. A call that two policies need is made once, and counted for
both.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dspy
import numpy as np

from benchmarks.optimizers import choosing, data_of, to_the_end
from benchmarks.rivals.dataset import material
from benchmarks.simulation import INBOX, SimulatedUser, WordEmbedder, simulated_lm
from personaagent.data import Interaction, Persona, Task
from personaagent.experiments import formatting
from personaagent.experiments.statistics import interval, resamples
from personaagent.experiments.trace import workplace
from personaagent.lm import PersonaLM, connect
from personaagent.memory import Embedder, EpisodicMemory, SentenceEmbedder, Store
from personaagent.optimizers import Setting
from personaagent.optimizers.log import WITHOUT
from personaagent.optimizers.replay import Replay
from personaagent.optimizers.selection import means
from personaagent.optimizers.user_pool import side_by_side
from personaagent.optimizers.worklog import Ledger
from personaagent.programs import PersonaAgent

POLICIES = ("replay", "evidence", "always")
LATER = 16  # messages of a simulated user
SAME = 1e-9  # nats: no difference
PROMISES = (0.05, 0.5, 2.0)  # nats on replay, between which candidates are counted


@dataclass(frozen=True, slots=True)
class Update:
    """A candidate: whether it was kept, and against the champion of its time: what it saved on the
    whole replay that judged it, in nats, and gained there in score; what it saves on the held-out
    queries, in nats a query. `promised` and `gained` are None for what replaced the settled persona
    in the end."""

    kept: bool
    promised: float | None
    gained: float | None
    saves: float


@dataclass(frozen=True, slots=True)
class Life:
    """One user under one policy. `scores` are the champion's on the held-out queries: at first,
    after each iteration, and as it is served in the end; the calls and tokens are those of
    learning."""

    user: str
    policy: str
    updates: tuple[Update, ...]
    scores: tuple[float, ...]
    calls: int
    tokens: int
    cached: int


@dataclass(frozen=True, slots=True)
class World:
    """Users of one task: by user what is learned from, and what comes later."""

    task: Task
    memory: EpisodicMemory
    pasts: Mapping[str, list[Interaction]]
    later: Mapping[str, list[Interaction]]


def live(
    task: Task,
    memory: EpisodicMemory,
    user: str,
    past: Sequence[Interaction],
    later: Sequence[Interaction],
    setting: Setting,
) -> Life:
    """Learn a persona with DSPy's LM, then try all that was proposed on what came later."""
    lm: PersonaLM = dspy.settings.lm
    journal = memory.store.of(user).journal(f"updates/{task.name}/{lm.fingerprint}")
    learning = Ledger(journal, lm.meter)
    agent = PersonaAgent(task, memory, persona=Persona(user, task.name))
    log = setting.alignment(record=learning).compile(agent, trainset=past).alignment
    spent = learning.spent
    replay = Replay(agent, Ledger(journal, lm.meter))
    champion, updates = log.first, []
    before = replay(champion, later)
    scores = [means(before)[1]]
    for step in log.steps:
        for at, candidate in enumerate(step.candidates):
            ended = step.iteration == WITHOUT
            promised, gained = (None, None) if ended else (candidate.saved, candidate.gained)
            saves = means(before)[0] - means(replay(candidate.persona, later))[0]
            updates.append(Update(at == step.accepted, promised, gained, saves))
        if step.accepted is not None:
            champion = step.candidates[step.accepted].persona
            before = replay(champion, later)
        if step.iteration > 0:
            scores.append(means(before)[1])
    scores.append(means(replay(log.last, later))[1])
    used = (spent.calls, spent.tokens, spent.cached_tokens)
    return Life(user, setting.accept, tuple(updates), tuple(scores), *used)


def worlds(options: argparse.Namespace, embedder: Embedder, stack: ExitStack) -> Iterator[World]:
    """The users that are named, as data sets."""

    def memory_of(name: str) -> EpisodicMemory:
        store = stack.enter_context(Store(workplace(options.db, name, options.latest)))
        return EpisodicMemory(store, embedder)

    if options.simulated:
        memory = memory_of("simulated")
        users = [SimulatedUser.draw(options.seed + n) for n in range(options.simulated)]
        whole = {user.name: user.history(options.latest + LATER) for user in users}
        pasts = {name: past[: options.latest] for name, past in whole.items()}
        memory.add([one for past in pasts.values() for one in past])
        yield World(INBOX, memory, pasts, {name: past[-LATER:] for name, past in whole.items()})
        return
    for data, cohort in data_of(options):
        memory = memory_of(data.digest)
        later: dict[str, list[Interaction]] = {}
        for one in cohort.choose(data.samples):
            asked = one.query
            later.setdefault(asked.user, []).append(
                Interaction(asked.id, asked.user, asked.task, asked.query, one.gold, asked.time)
            )
        yield World(data.task, memory, material(data, memory, later, options.latest), later)


def lives(
    options: argparse.Namespace, lm: PersonaLM, embedder: Embedder, stack: ExitStack
) -> Iterator[Life]:
    """All users of all data sets under all policies."""
    settings = [
        Setting(iterations=options.iterations, accept=policy, seed=options.seed)
        for policy in options.policies.split(",")
    ]

    def each(world: World, user: str) -> list[Life]:
        known = (world.task, world.memory, user, world.pasts[user], world.later[user])
        return [live(*known, setting) for setting in settings]

    for world in worlds(options, embedder, stack):
        for done in side_by_side(partial(each, world), list(world.later), lm):
            if done.error:
                raise done.error
            print(f"{done.user}: {done.seconds:.0f} s", file=sys.stderr, flush=True)
            yield from done.result or ()


def report(found: Sequence[Life]) -> None:
    """Three tables: the updates, the accuracy over time, and what replay foretold.

    Intervals are bootstrapped over users.
    """
    print("| policy | kept | truly better | worse | refused though better | calls | calls a kept |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    by: dict[str, list[Life]] = {}
    for one in found:
        by.setdefault(one.policy, []).append(one)
    for policy, of in by.items():
        every = [one for life in of for one in life.updates]
        kept = [one.saves for one in every if one.kept]
        better = sum(saves > SAME for saves in kept)
        worse = sum(saves < -SAME for saves in kept)
        missed = sum(one.saves > SAME for one in every if not one.kept)
        refused = len(every) - len(kept)
        calls = sum(life.calls for life in of)
        each = f"{calls / len(kept):.0f}" if kept else "-"
        print(
            f"| {policy} | {len(kept)} of {len(every)} | {better} | {worse} | "
            f"{missed} of {refused} | {calls:,} | {each} |"
        )
    print("\n| policy | users | score at first [95 %] | by iteration | served [95 %] | cached |")
    print("|---|--:|--:|--:|--:|--:|")
    for policy, of in by.items():
        steps = max(len(life.scores) for life in of) - 2
        # A life that ended early stays where it was.
        over = [
            fmean(life.scores[min(at, len(life.scores) - 2)] for life in of)
            for at in range(1, steps + 1)
        ]
        cached = sum(life.cached for life in of) / max(1, sum(life.tokens for life in of))
        print(
            f"| {policy} | {len(of)} | {_mean([life.scores[0] for life in of])} | "
            f"{', '.join(f'{one:.3f}' for one in over)} | "
            f"{_mean([life.scores[-1] for life in of])} | {cached:.0%} |"
        )
    print("\n| saved on replay, in nats | candidates | truly better | worse |\n|---|--:|--:|--:|")
    seen = [one for life in found for one in life.updates if one.promised is not None]
    for low, high in itertools.pairwise((-math.inf, 0.0, *PROMISES, math.inf)):
        here = [one.saves for one in seen if low < (one.promised or 0.0) <= high]
        better, worse = sum(one > SAME for one in here), sum(one < -SAME for one in here)
        print(f"| {low:g} to {high:g} | {len(here)} | {better} | {worse} |")
    told = [one for one in seen if one.kept and one.saves > SAME]
    silent = sum((one.gained or 0.0) <= SAME for one in told)
    print(f"\nTruly better, kept, and no better by the score on replay: {silent} of {len(told)}")


def _mean(values: Sequence[float]) -> str:
    array = np.array(values)
    drawn = resamples([str(user) for user in range(len(array))])
    return formatting.interval(interval(lambda w: w @ array / w.sum(axis=1), drawn))


def main(argv: Sequence[str] | None = None, lm: Any = None, embedder: Any = None) -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choosing(made)
    made.add_argument("--simulated", type=int, default=0, help="simulated users, instead")
    made.add_argument("--policies", default=",".join(POLICIES), help="of acceptance, by name")
    made.add_argument("--iterations", type=int, default=4)
    made.add_argument("--db", type=Path, default=Path("updates.db"), help="what is done")
    options = made.parse_args(argv)
    if unknown := [one for one in options.policies.split(",") if one not in POLICIES]:
        raise SystemExit(f"there is no {unknown[0]}: {', '.join(POLICIES)}")
    if options.lm == "simulated" and not options.simulated:
        raise SystemExit("the simulated LM knows simulated users only: add --simulated N")
    if options.lm == "simulated":
        lm, embedder = simulated_lm(), WordEmbedder()
    lm = lm or connect(options.lm, slots=options.slots, cache=False)
    with ExitStack() as stack:
        # Users end in any order; the account, and the draws of its intervals, must not hang on it.
        found = sorted(
            lives(options, lm, embedder or SentenceEmbedder(), stack), key=lambda one: one.user
        )
    report(found)
    written = options.db.with_suffix(".json")
    written.write_text(json.dumps([asdict(one) for one in found], indent=1), encoding="utf-8")
    print(f"\n{written}")


if __name__ == "__main__":
    to_the_end(main)
