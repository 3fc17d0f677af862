"""How long a command takes as a process: python -m benchmarks.startup [--quick]

`ask` asks a server on this machine that answers at once. The ratio is to Python alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from personaagent.data import FusionWeights, Persona, read_interactions, read_tasks
from personaagent.memory import EpisodicMemory, SentenceEmbedder, Store
from personaagent.memory.tasks import save_tasks

SAMPLE = Path(__file__).parent.parent / "personaagent" / "data" / "sample"


class _Server(BaseHTTPRequestHandler):
    """Speaks as OpenAI does: no action, or the label "work"."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = json.dumps({"actions": []}) if "response_format" in asked else "work"
        choice: dict[str, object] = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": said},
        }
        if asked.get("logprobs"):
            token = {"token": said, "logprob": -0.1, "bytes": list(said.encode())}
            choice["logprobs"] = {"content": [{**token, "top_logprobs": [token]}]}
        answer = json.dumps(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": asked["model"],
                "choices": [choice],
                "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def server() -> Iterator[str]:
    """The address of one, for as long as the block lasts."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1"
    finally:
        listening.shutdown()
        listening.server_close()


def fill(path: Path) -> None:
    """The sample's messages with vectors; amira's persona needs vectors, `plain`'s does not."""
    tasks = read_tasks(SAMPLE / "tasks.json")
    past = [
        one for one in read_interactions(SAMPLE / "history.jsonl", tasks) if one.task == "inbox"
    ]
    with Store(path) as store:
        save_tasks(store, tasks.values())
        plain = [replace(one, user="plain") for one in past if one.user == "amira"]
        EpisodicMemory(store, SentenceEmbedder()).add([*past, *plain])
        for user, habit in (("amira", 1.0), ("plain", 0.0)):
            persona = Persona(
                user, "inbox", profile="Drives.", actions=(), trust=FusionWeights(habit=habit)
            )
            store.of(user).publish(persona, expected=None, reason="benchmark")


def seconds(*command: str, environment: dict[str, str]) -> tuple[float, float]:
    """Wall clock and CPU time of one run of this Python with these arguments."""
    began, before = time.perf_counter(), os.times()
    subprocess.run(
        [sys.executable, *command],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    after = os.times()
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    return time.perf_counter() - began, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once instead of five times")
    rounds = 1 if parser.parse_args().quick else 5
    print("| what | p50 | CPU | to Python alone |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, server() as address:
        fill(Path(folder) / "memory.db")
        environment = {**os.environ, "PERSONAAGENT_DB": str(Path(folder) / "memory.db")}
        asking = ("-m", "personaagent", "ask", "The car needs new tyres.", "--api-base", address)
        alone = 0.0
        for name, command in (
            ("python alone", ("-c", "")),
            ("personaagent --help (target < 1 s)", ("-m", "personaagent", "--help")),
            ("import dspy alone", ("-c", "import dspy")),
            (
                "ask, no vector needed (target < 0.6 s)",
                (*asking, "--lm", "openai/m", "--user", "plain"),
            ),
            (
                "ask, with a vector (target < 2.5 s)",
                (*asking, "--lm", "openai/m", "--user", "amira"),
            ),
        ):
            runs = [seconds(*command, environment=environment) for _ in range(rounds)]
            took, cpu = np.median(runs, axis=0).tolist()
            alone = alone or took
            print(f"| {name} | {took:.2f} s | {cpu:.2f} s | {took / alone:.0f} |", flush=True)


if __name__ == "__main__":
    main()
