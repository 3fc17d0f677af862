"""What waits in line: python -m benchmarks.waiting [--quick]

Learning against an LM that answers after a fixed time, beside its ideal: all calls, evenly over the
slots. One alignment has steps that need the one before, so it cannot reach it; many users can.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dspy

from benchmarks.agent import SAMPLE
from benchmarks.fleet import stand_in
from personaagent import memory, train
from personaagent.data import read_interactions, read_tasks
from personaagent.experiments.cohort import own_data
from personaagent.experiments.lineup import entrants
from personaagent.experiments.results import Results
from personaagent.experiments.runner import Experiment
from personaagent.lm import PersonaLM
from personaagent.memory.tasks import save_tasks
from personaagent.optimizers import PersonaAlignment
from personaagent.programs import PersonaAgent

TASKS = read_tasks(SAMPLE / "tasks.json")


def alignment(lm: PersonaLM, recalling: memory.EpisodicMemory) -> None:
    """One user of the sample."""
    past = recalling.store.of("amira").interactions("inbox")
    with dspy.context(lm=lm):
        PersonaAlignment().compile(PersonaAgent(TASKS["inbox"], recalling), trainset=past)


def compile_all(lm: PersonaLM, recalling: memory.EpisodicMemory) -> None:
    """Every user of the sample in every task."""
    told = train(memory=recalling, lm=lm, track=False)
    assert not told.failed, told.failed


def personas(lm: PersonaLM, recalling: memory.EpisodicMemory) -> None:
    """The personas of an experiment on the sample."""
    data = own_data(TASKS["inbox"], SAMPLE / "history.jsonl", SAMPLE / "queries.jsonl", TASKS)
    results = Results(Path(recalling.store.name).with_suffix(".results"))
    experiment = Experiment(data, entrants(["personaagent"]), lm, recalling, results)
    aligned = experiment.personas(one.query.user for one in data.samples).aligned
    assert len(aligned) == len({one.owner for one in data.samples})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the latency")
    parser.add_argument("--latency", type=float, default=0.3, help="of the LM, in seconds")
    parser.add_argument("--slots", type=int, default=16, help="of the LM")
    options = parser.parse_args()
    latency = options.latency / 3 if options.quick else options.latency
    known = list(read_interactions(SAMPLE / "history.jsonl", TASKS))
    works: list[tuple[str, Callable[[PersonaLM, memory.EpisodicMemory], None]]] = [
        ("one alignment (target <= 2)", alignment),
        ("compile --all, the sample's users and tasks (target <= 1.2)", compile_all),
        ("evaluate's personas, the sample's users (target <= 1.2)", personas),
    ]
    print(f"LM: {latency:g} s a call, {options.slots} slots\n")
    print("| what | calls | seconds | ideal | ratio |\n|---|---|---|---|---|")
    for name, work in works:
        lm = stand_in(list(TASKS.values()), latency, options.slots)
        instant = stand_in(list(TASKS.values()), 0.0, options.slots)
        with (
            tempfile.TemporaryDirectory() as folder,
            memory.Store(Path(folder) / "m.db") as store,
        ):
            recalling = memory.EpisodicMemory(store, memory.SentenceEmbedder())
            recalling.add(known)
            save_tasks(store, TASKS.values())
            alignment(instant, recalling)  # loads what it takes
            began = time.monotonic()
            work(lm, recalling)
            took = time.monotonic() - began
        calls = lm.meter.snapshot().calls
        ideal = calls * latency / options.slots
        print(f"| {name} | {calls:,} | {took:.1f} | {ideal:.1f} | {took / ideal:.2f} |", flush=True)


if __name__ == "__main__":
    main()
