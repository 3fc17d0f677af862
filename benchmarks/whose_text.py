"""Which of two systems writes as the user does? An LM judge reads both, in both orders.

Overlap of words with what the user wrote says little of a reply: the same can be said in other
words. So a judge sees how the user has written before, the message, and two replies to it, and says
which one this person wrote. It decides a pair only where it says the same in both orders; else both
have a half. It is calibrated on pairs of which the answer is known: the user's own text against a
system's.

    python -m benchmarks.whose_text --out FOLDER --data FOLDER --judge LM
    python -m benchmarks.whose_text --out FOLDER             the table again, from what was kept

FOLDER of `--out` is one of `benchmarks.long_histories`, which keeps the texts there. With two
addresses of a judge the two orders of a pair go to different ones, and both get some of each.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import dspy
import numpy as np

from benchmarks.kept import Kept, OverUsers
from personaagent import connect
from personaagent.data import Interaction, read_interactions, read_tasks
from personaagent.lm import PersonaLM
from personaagent.optimizers.lm_judge import examples_of, picked

USERS_OWN = "the user's own"
PAIRS = (
    (USERS_OWN, "none"),
    (USERS_OWN, "ours"),
    ("rag, k=4", "none"),
    ("ours before alignment", "none"),
    ("ours", "none"),
    ("ours", "rag, k=4"),
    ("ours, k=4", "rag, k=4"),
)


def judge(pairs: Sequence[tuple[str, str]], written: Mapping[tuple[str, str], str],
          past: Mapping[str, Sequence[Interaction]], asked: Mapping[str, Interaction],
          lms: Sequence[PersonaLM], verdicts: Kept, side_by_side: int) -> None:  # fmt: skip
    """What the judge says of every pair in both orders that has no verdict yet; in an order that
    tells nothing of the systems."""
    todo = [
        (pair, id, order)
        for pair, id, order in product(pairs, asked, (0, 1))
        if all((one, id) in written for one in pair)
        and written[pair[0], id].strip() != written[pair[1], id].strip()
        and (_name(pair, order), id) not in verdicts.rows
    ]
    todo.sort(key=lambda job: random.Random(repr(job)).random())

    def decide(job: tuple[tuple[str, str], str, int]) -> None:
        pair, id, order = job
        lm = lms[(order + random.Random(f"{pair}/{id}").randrange(2)) % len(lms)]
        told = asked[id]
        first, second = (written[one, id] for one in (pair[::-1] if order else pair))
        with dspy.context(lm=lm):
            said = picked(examples_of(past[told.user]), told.query, first, second)
        won = (said == "first") != bool(order)
        verdicts.add({"arm": _name(pair, order), "id": id, "user": told.user, "won": won})

    with ThreadPoolExecutor(side_by_side) as pool:
        list(pool.map(decide, todo))


def _name(pair: tuple[str, str], order: int) -> str:
    return f"{pair[0]} | {pair[1]} | {order}"


def table(verdicts: Kept) -> str:
    """How often the first of a pair was taken for the user's, with 95 % intervals."""
    by_pair: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    owner = {}
    for (name, id), row in verdicts.rows.items():
        by_pair[name.rpartition(" | ")[0]][id].append(row["won"])
        owner[id] = row["user"]
    lines = [
        "| | against | pairs | taken for the user's [95 %] | the same in both orders |",
        "|---|---|--:|---|--:|",
    ]
    for pair in PAIRS:
        both = {id: won for id, won in by_pair[" | ".join(pair)].items() if len(won) == 2}
        if both:
            over = OverUsers([owner[id] for id in both])
            share = over.said([float(np.mean(won)) for won in both.values()])
            alike = np.mean([won[0] == won[1] for won in both.values()])
            lines.append(f"| {pair[0]} | {pair[1]} | {len(both)} | {share} | {alike:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="history.jsonl, queries.jsonl and tasks.json")
    parser.add_argument("--judge", help="an LM, as `connect` takes it")
    parser.add_argument("--judge-base", help="its address", nargs="+", default=[None])
    parser.add_argument("--side-by-side", type=int, default=64)
    given = parser.parse_args()
    verdicts = Kept(given.out / "verdicts.jsonl")
    if given.judge:
        tasks = read_tasks(given.data / "tasks.json")
        past: dict[str, list[Interaction]] = defaultdict(list)
        for one in read_interactions(given.data / "history.jsonl", tasks):
            past[one.user].append(one)
        asked = {one.id: one for one in read_interactions(given.data / "queries.jsonl", tasks)}
        texts: list[dict[str, Any]] = list(Kept(given.out / "texts.jsonl").rows.values())
        written = {(one["arm"], one["id"]): one["answer"] for one in texts}
        written |= {(USERS_OWN, id): one.response for id, one in asked.items()}
        lms = [
            connect(given.judge, api_base=base, slots=given.side_by_side, timeout=7200)
            for base in given.judge_base
        ]
        judge(PAIRS, written, past, asked, lms, verdicts, given.side_by_side)
    if verdicts.rows:
        print(table(verdicts))


if __name__ == "__main__":
    main()
