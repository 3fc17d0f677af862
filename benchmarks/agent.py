"""What the agent costs beside the LM: python -m benchmarks.agent [--quick] [--lm embedded]

Zero latency: `PersonaAgent` (persona, action choice, recall, likelihoods, fusion) against a bare
`dspy.Predict` that makes as many calls, both on an LM that answers at once, in turns. With `--lm`:
the time, tokens and prompt cache of a real LM instead.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dspy
import numpy as np
from dspy import lm15
from numpy.typing import NDArray

from personaagent.data import Directive, Interaction, Persona, read_interactions, read_tasks
from personaagent.lm import Meter, PersonaLM, Usage, connect
from personaagent.lm.model import Identity
from personaagent.memory import Embedder, EpisodicMemory, SentenceEmbedder, Store
from personaagent.programs import PersonaAgent

SAMPLE = Path(__file__).parent.parent / "personaagent" / "data" / "sample"
AT_ONCE = 50
Times = NDArray[np.float64]  # wall clock and CPU, in milliseconds


class Instant:
    """An LM engine that chooses one recall with words of its own, then a label, in no time."""

    supports_response_schema = True
    supported_params = frozenset({"max_tokens", "temperature", "response_format", "logprobs"})

    def __init__(self, label: str) -> None:
        self.label = label
        self.asked = itertools.count()

    def complete(self, request: lm15.Request) -> lm15.Response:
        """The answer that the request's form asks for."""
        scored = None
        if request.config.logprobs is not None:
            text = self.label
            top = (lm15.TopLogprob(text, math.log(0.9), tuple(text.encode()), 0),)
            scored = (lm15.TokenLogprob(text, math.log(0.9), tuple(text.encode()), 0, top),)
        elif request.config.response_format is not None:
            words = f"message {next(self.asked)}"  # never the same: nothing is embedded beforehand
            text = json.dumps({"actions": [{"tool": "recall", "query": words, "k": 4}]})
        else:
            text = f"[[ ## answer ## ]]\n{self.label}\n\n[[ ## completed ## ]]"
        size = len(request.system or "") + sum(len(str(one.parts)) for one in request.messages)
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(text),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=size // 4, output_tokens=len(text) // 4 + 1),
            logprobs=scored,
        )


class HashEmbedder:
    """Each text is a fixed random direction: the cost of embedding left out."""

    fingerprint = "hash"
    dimensions = 384

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> NDArray[np.float32]:  # noqa: ARG002
        seeds = [hashlib.sha256(text.encode()).digest()[:8] for text in texts]
        vectors = np.stack(
            [
                np.random.default_rng(int.from_bytes(seed, "big")).standard_normal(self.dimensions)
                for seed in seeds
            ]
        ).astype(np.float32)
        normed: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return normed


def instant_lm(label: str) -> PersonaLM:
    """The stand-in, metered like any other LM."""
    identity = Identity("instant", None, "instant", 1, 60.0, 0, 0.0)
    return PersonaLM(
        "sim/instant", identity, meter=Meter(), budget=None, cache=False, engine=Instant(label)
    )


@contextmanager
def world(embedder: Embedder) -> Iterator[tuple[PersonaAgent, list[Interaction]]]:
    """An agent over the sample's inbox, every user with a persona of one directive, and queries."""
    tasks = read_tasks(SAMPLE / "tasks.json")
    task = tasks["inbox"]
    past = read_interactions(SAMPLE / "history.jsonl", tasks)
    history = [one for one in past if one.task == task.name]
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "memory.db") as store:
        memory = EpisodicMemory(store, embedder)
        memory.add(history)
        for user in sorted({one.user for one in history}):
            persona = Persona(
                user,
                task.name,
                profile="This user sorts messages by the person that they come from.",
                directives=(Directive("A message about a car is leisure.", cue="car", reach=0.4),),
            )
            store.of(user).publish(persona, expected=None, reason="benchmark")
        yield PersonaAgent(task, memory), history


def milliseconds(call: Callable[[Interaction], Any], queries: Sequence[Interaction]) -> Times:
    """Wall clock and CPU time of every call, one after the other."""
    took = []
    for one in queries:
        began = time.perf_counter(), time.thread_time()
        call(one)
        took.append((time.perf_counter() - began[0], time.thread_time() - began[1]))
    return np.array(took) * 1e3


def per_query(used: Usage, queries: int) -> str:
    """LM calls and tokens of one query on average."""
    return (
        f"{used.calls / queries:.1f} calls, {used.input_tokens / queries:.0f} + "
        f"{used.output_tokens / queries:.0f} tokens"
    )


def overhead(name: str, embedder: Embedder, count: int) -> None:
    """Rows of the table: agent, bare Predict, difference."""
    with world(embedder) as (agent, history):
        lm = instant_lm(agent.task.labels[0])
        bare = dspy.Predict("query -> answer")
        queries = (history * (1 + count // len(history)))[:count]
        with dspy.context(lm=lm):
            with lm.meter.measure() as used:
                ask(agent, queries[0])  # loads and warms up as well
            calls = used.snapshot().calls

            def ask_bare(one: Interaction) -> None:
                for _ in range(calls):
                    bare(query=one.query)

            took, took_bare, spent = [], [], Usage()
            for start in range(0, count, AT_ONCE):  # in turns
                some = queries[start : start + AT_ONCE]
                with lm.meter.measure() as used:
                    took.append(milliseconds(lambda one: ask(agent, one), some))
                spent += used.snapshot()
                took_bare.append(milliseconds(ask_bare, some))
    p50, bare_p50 = (np.median(np.concatenate(times), axis=0) for times in (took, took_bare))
    print(f"| PersonaAgent, {name} | {shown(p50)}; {per_query(spent, count)} |")
    print(f"| dspy.Predict x {calls} | {shown(bare_p50)} |")
    print(f"| overhead, {name} (target < 10 ms) | {shown(p50 - bare_p50)} |", flush=True)


def shown(times: Times) -> str:
    """Wall clock, and CPU, which others on the machine disturb less."""
    wall, cpu = times
    return f"{wall:.1f} ms, CPU {cpu:.1f} ms"


def ask(agent: PersonaAgent, past: Interaction) -> dspy.Prediction:
    """A past query again, its own answer excluded."""
    return agent(query=past.query, user=past.user, exclude=(past.id,))


def real(spec: str, count: int) -> None:
    """Rows of the table: the first query of a user and the ones after it, one after the other."""
    lm = connect(spec, cache=False)
    lm("Answer with the one word yes.")  # loads the weights
    with world(SentenceEmbedder()) as (agent, history), dspy.context(lm=lm):
        queries = [one for one in history if one.user == history[0].user][: count + 1]
        for name, some in (("first query of a user", queries[:1]), ("the next ones", queries[1:])):
            with lm.meter.measure() as used:
                took = []
                for one in some:
                    began = time.perf_counter()
                    ask(agent, one)
                    took.append(time.perf_counter() - began)
            spent = used.snapshot()
            print(
                f"| {spec}: {name} | {np.median(took):.2f} s; {per_query(spent, len(some))}, "
                f"{spent.cached_tokens / spent.input_tokens:.0%} of the input cached |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few queries, seconds")
    parser.add_argument("--lm", help="a real LM, such as embedded, instead of the instant one")
    options = parser.parse_args()
    count = 20 if options.quick else 400
    print("| what | p50 a query; LM use |\n|---|---|")
    if options.lm:
        real(options.lm, 2 if options.quick else 10)
        return
    overhead("stand-in embedder", HashEmbedder(), count)
    overhead("sentence embedder", SentenceEmbedder(), count)


if __name__ == "__main__":
    main()
