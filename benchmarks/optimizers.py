"""PersonaAlignment against DSPy's optimizers at the same budget: python -m benchmarks.optimizers

    --task inbox,stars                                  the packaged sample's eight users
    --task lamp-2n --questions Q --outputs O --hold-out 8    users of LaMP, or both, as in
    --task inbox,stars,lamp-2n ...

For every user and optimizer at most --calls LM calls, and the held-out questions after a quarter,
half and all of them. What is done is kept in --db: stop at any time, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.rivals.comparison import Played, compare
from benchmarks.rivals.contest import Contest, Setup
from benchmarks.rivals.dataset import hold_out, well_known
from benchmarks.rivals.optimizers import ARMS
from benchmarks.rivals.report import verdicts, write_account
from personaagent.data import LAMP_TASKS, read_tasks
from personaagent.errors import PersonaAgentError
from personaagent.experiments.cohort import Cohort, EvaluationData, lamp_data, own_data
from personaagent.experiments.trace import workplace
from personaagent.lm import connect
from personaagent.memory import EpisodicMemory, SentenceEmbedder, Store

TIMEOUT = 1_800.0  # seconds: proposals are long, and a retry would cost more than waiting
SAMPLE = Path(__file__).parent.parent / "personaagent" / "data" / "sample"


def choosing(made: argparse.ArgumentParser) -> None:
    """The options that choose users, what is known of them, and the LM."""
    made.add_argument("--task", default="inbox,stars", help="of the sample, and one of LaMP")
    made.add_argument("--questions", type=Path, help="LaMP's questions")
    made.add_argument("--outputs", type=Path, help="LaMP's gold answers")
    made.add_argument("--hold-out", type=int, default=0, help="of each LaMP user's latest")
    made.add_argument("--least", type=int, default=20, help="interactions that a user must have")
    made.add_argument("--users", type=int, help="of each task at most")
    made.add_argument("--half", choices=("dev", "report"), help="of LaMP's users")
    made.add_argument("--latest", type=int, default=40, help="interactions to learn from")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--lm", default="embedded")
    made.add_argument("--slots", type=int, default=2, help="calls side by side")


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choosing(made)
    made.add_argument("--calls", type=int, default=200, help="LM calls a user and optimizer")
    made.add_argument("--arms", default=",".join(ARMS), help="who, by name")
    made.add_argument("--api-base")
    made.add_argument("--db", type=Path, default=Path("optimizers.db"), help="what is done")
    made.add_argument("--report", type=Path, default=Path("optimizers"), help="a folder")
    made.add_argument("--estimate", action="store_true", help="only say how many calls are left")
    return made


def data_of(options: argparse.Namespace) -> list[tuple[EvaluationData, Cohort]]:
    """The data sets that are named and their users, with what is held out."""
    names = options.task.split(",")
    ours = read_tasks(SAMPLE / "tasks.json")
    if unknown := [name for name in names if name not in {**ours, **LAMP_TASKS}]:
        known = ", ".join([*ours, *LAMP_TASKS])
        raise SystemExit(f"there is no task {unknown[0]}: {known}")
    lamp = [LAMP_TASKS[name] for name in names if name not in ours]
    if len(lamp) > 1 or {bool(options.questions), bool(options.outputs)} != {bool(lamp)}:
        raise SystemExit("a task of LaMP, one at a time, needs its --questions and its --outputs")
    history, queries = SAMPLE / "history.jsonl", SAMPLE / "queries.jsonl"
    everybody = Cohort(users=options.users, seed=options.seed)
    found = [
        (well_known(own_data(ours[name], history, queries, ours), options.least), everybody)
        for name in names
        if name in ours
    ]
    for task in lamp:
        cohort = replace(everybody, half=options.half)
        data = lamp_data(task, options.questions, options.outputs)
        data = well_known(data, options.least + options.hold_out)
        if options.hold_out:
            chosen = {one.owner for one in cohort.choose(data.samples)}
            data = hold_out(data, options.hold_out, chosen)
        found.append((data, cohort))
    return found


def main(argv: Sequence[str] | None = None, lm: Any = None, embedder: Any = None) -> None:
    options = parser().parse_args(argv)
    names = options.arms.split(",")
    if unknown := [name for name in names if name not in ARMS]:
        raise SystemExit(f"there is no {unknown[0]}: {', '.join(ARMS)}")
    setup = Setup(options.calls, options.latest, options.seed)
    lm = lm or connect(options.lm, api_base=options.api_base, slots=options.slots, timeout=TIMEOUT)
    embedder = embedder or SentenceEmbedder()
    began, screen = time.monotonic(), sys.stdout  # which is redirected while optimizers run

    def watch(user: str, arm: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {user}: {arm}", file=screen, flush=True)

    with ExitStack() as stack:
        contests = []
        for data, cohort in data_of(options):
            store = stack.enter_context(Store(workplace(options.db, data.digest, options.latest)))
            contests.append(
                Contest(
                    data,
                    [ARMS[name] for name in names],
                    lm,
                    EpisodicMemory(store, embedder),
                    cohort=cohort,
                    setup=setup,
                    log=options.db.parent / f"{options.db.stem}.work" / f"{data.task.name}.log",
                    watch=watch,
                )
            )
        left = {name: sum(one.left()[name] for one in contests) for name in names}
        users = sum(len(one.samples) for one in contests)
        print(f"{users} users; at most {sum(left.values()):,} LM calls are left to be made:")
        for name, calls in left.items():
            print(f"  {name}: {calls:,}", flush=True)
        if options.estimate:
            return
        played = [Played(one.data.task, one.samples, one()) for one in contests]
    comparison = compare(played)
    for line in verdicts(comparison):
        print(line)
    written = write_account(played, setup, lm, options.report)
    table = options.report / "optimizers.json"
    table.write_text(json.dumps(comparison.to_dict(), indent=1), encoding="utf-8")
    for path in (*written, table):
        print(path)


def to_the_end(work: Callable[[], None]) -> None:
    """Run a benchmark that keeps what is done, and say so where it ends early."""
    try:
        work()
    except PersonaAgentError as error:
        sys.exit(f"{error}; what is done is kept")
    except KeyboardInterrupt:
        sys.exit("stopped; what is done is kept")


if __name__ == "__main__":
    to_the_end(main)
