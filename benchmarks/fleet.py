"""`compile --all` against the LM's own limit: python -m benchmarks.fleet [--users 50] [--quick]

Many users of the sample's inbox are compiled as the command does it, on a stand-in LM of a fixed
latency, with as many slots as are given; each call holds a slot for that long. In the same run bare
calls fill the slots from as many threads: the LM's own limit. With `--lm embedded` (or another
real one) the share of the slots' time that calls were under way is measured alone.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dspy import lm15
from rich.console import Console

from benchmarks.agent import SAMPLE
from personaagent import memory
from personaagent.cli.progress import Board
from personaagent.data import Classification, Interaction, Task, read_interactions, read_tasks
from personaagent.lm import Meter, PersonaLM, connect
from personaagent.lm.model import Identity
from personaagent.optimizers import Setting
from personaagent.service import Trainer
from personaagent.service.many import Many

TARGET = 0.85


class FixedLatency:
    """An LM engine that thinks for a fixed time, at most `slots` calls at once: the first label
    with 60 %, and as a cue the word that most of a request's lines share."""

    supports_response_schema = True
    supported_params = frozenset({"max_tokens", "temperature", "response_format", "logprobs"})

    def __init__(self, tasks: Sequence[Task], latency: float, slots: int) -> None:
        self.tasks = tasks
        self.latency = latency
        self._slots = threading.Semaphore(slots)

    def complete(self, request: lm15.Request) -> lm15.Response:
        """The answer that the request's form asks for."""
        with self._slots:
            time.sleep(self.latency)
        said, scored = "nothing", None
        if request.config.logprobs is not None:
            shown = request_text(request)
            labels = next(one for one in self.tasks if one.instruction in shown).labels
            rest = 0.4 / (len(labels) - 1)
            top = tuple(
                lm15.TopLogprob(label, math.log(0.6 if at == 0 else rest), tuple(label.encode()), 0)
                for at, label in enumerate(labels)
            )
            first = top[0]
            said = first.token
            scored = (lm15.TokenLogprob(said, first.logprob, first.bytes, 0, top),)
        else:
            lines = "".join(str(one.parts) for one in request.messages).lower().split("\\n")
            found = Counter(word for line in lines for word in set(re.findall("[a-z]{4,}", line)))
            said = max(found, key=lambda word: (found[word], word), default=said)
        size = len(request.system or "") + sum(len(str(one.parts)) for one in request.messages)
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(said),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=size // 4, output_tokens=2),
            logprobs=scored,
        )


def request_text(request: lm15.Request) -> str:
    """Everything that a request says."""
    said = (getattr(part, "text", "") for one in request.messages for part in one.parts)
    return "\n".join([str(request.system or ""), *said])


def stand_in(tasks: Sequence[Task], latency: float, slots: int) -> PersonaLM:
    """An LM of this latency that is metered like any other."""
    identity = Identity("fixed", None, "fixed", slots, 60.0, 0, 0.0)
    return PersonaLM(
        "sim/fixed",
        identity,
        meter=Meter(),
        budget=None,
        cache=False,
        engine=FixedLatency(tasks, latency, slots),
    )


def crowd(users: int, most: int) -> tuple[Classification, list[Interaction]]:
    """So many users with the latest `most` interactions each, after those of the sample."""
    tasks = read_tasks(SAMPLE / "tasks.json")
    task = tasks["inbox"]
    assert isinstance(task, Classification)
    of: dict[str, list[Interaction]] = {}
    for one in read_interactions(SAMPLE / "history.jsonl", tasks):
        if one.task == task.name:
            of.setdefault(one.user, []).append(one)
    models = list(of.values())
    return task, [
        replace(one, id=f"{one.id}-{n}", user=f"{one.user}-{n}")
        for n in range(users)
        for one in models[n % len(models)][-most:]
    ]


def limit(lm: PersonaLM, calls: int) -> float:
    """Calls a second when bare calls fill the slots."""
    began = time.monotonic()
    with ThreadPoolExecutor(lm.slots) as pool:
        list(pool.map(lambda n: lm(f"Say {n}."), range(calls)))
    return calls / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few users, half a minute")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--interactions", type=int, default=24, help="a user's latest")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--latency", type=float, default=0.1, help="of the stand-in, in seconds")
    parser.add_argument("--slots", type=int, default=2, help="of the stand-in")
    parser.add_argument("--lm", help="a real LM, such as embedded, instead of the stand-in")
    options = parser.parse_args()
    users = 6 if options.quick else options.users
    task, history = crowd(users, options.interactions)
    lm = (
        connect(options.lm, cache=False)
        if options.lm
        else stand_in([task], options.latency, options.slots)
    )
    lm("Answer with the one word yes.")  # loads the weights
    bare = None if options.lm else limit(lm, round(4 * lm.slots / options.latency))
    before = lm.meter.snapshot()
    setting = Setting(iterations=options.iterations)
    with tempfile.TemporaryDirectory() as folder, memory.Store(Path(folder) / "m.db") as store:
        recalling = memory.EpisodicMemory(store, memory.SentenceEmbedder())
        recalling.add(history)
        many = Many(Trainer(recalling, lm, setting), {task.name: task})
        many.choose([one.user for one in store.users(task.name)])
        console = Console(stderr=True)
        with Board(console, users, setting.iterations) as board:
            many.run(board)
        assert not many.failed, many.failed
    used = lm.meter.snapshot() - before
    rate = used.calls / many.seconds
    print("| what | measured |\n|---|---|")
    print(f"| users, LM calls, seconds | {users}, {used.calls:,}, {many.seconds:.0f} |")
    print(f"| share of {lm.slots} slots busy | {many.busy(used):.1%} |")
    print(f"| calls a second | {rate:.2f} |")
    if bare is not None:
        print(f"| the LM's own limit, bare calls | {bare:.2f} |")
        print(f"| throughput against it (target >= {TARGET:.0%}) | {rate / bare:.1%} |")


if __name__ == "__main__":
    main()
