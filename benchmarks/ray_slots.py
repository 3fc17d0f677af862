"""How full Ray keeps an LM's slots: python -m benchmarks.ray_slots [--users 200] [--quick] [--lose]

A local cluster of two nodes compiles users of the sample's inbox on a stand-in LM of a fixed
latency (`benchmarks.fleet`), whose slots the nodes share. The share of the slots' time that calls
were under way, how near the calls a second come to slots / latency, and the processor time that
they take.

With `--lose` the second node dies in the middle, with the process on it that asks the LM; then the
same users are compiled without Ray, and the personas of both are compared.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from rich.console import Console

from benchmarks.fleet import crowd, stand_in
from personaagent import memory
from personaagent.cli.progress import Board
from personaagent.data import Interaction, Task
from personaagent.lm import PersonaLM
from personaagent.optimizers import Setting
from personaagent.service import Trainer, on_ray
from personaagent.service.many import Many


@dataclass(frozen=True)
class Make:
    """Makes a trainer on a node."""

    database: str
    task: Task
    latency: float
    setting: Setting
    folder: str

    def __call__(self, slots: int) -> tuple[PersonaLM, Trainer]:
        recalling = memory.EpisodicMemory(memory.Store(self.database), memory.SentenceEmbedder())
        recalling.embed("warm up")
        Path(self.folder, f"ready-{os.getpid()}").write_text(f"{time.time()} {time.process_time()}")
        lm = stand_in([self.task], self.latency, slots)
        return lm, Trainer(recalling, lm, self.setting)


class Spent:
    """The processor time of the desks since the last of them was ready, looked at while they live.

    Attributes:
        began: when the last one was ready.
        cpu: in seconds.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.began = self.cpu = 0.0

    def __enter__(self) -> Spent:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        import psutil  # type: ignore[import-untyped]

        while not self._over.wait(0.5):
            ready = {
                int(one.name.removeprefix("ready-")): tuple(map(float, one.read_text().split()))
                for one in self._folder.glob("ready-*")
            }
            with suppress(psutil.NoSuchProcess, ValueError):
                now = [sum(psutil.Process(process).cpu_times()[:2]) for process in ready]
                self.cpu = sum(now) - sum(before for _, before in ready.values())
                self.began = max((at for at, _ in ready.values()), default=0.0)


def filled(database: str, history: Sequence[Interaction]) -> None:
    """A database of the users, with their vectors."""
    with memory.Store(database) as store:
        memory.EpisodicMemory(store, memory.SentenceEmbedder()).add(history)


def personas(database: str, users: Sequence[str], task: str) -> dict[str, list[str]]:
    """Each user's chain of personas, by their hashes."""
    with memory.Store(database) as store:
        return {user: [one.hash for one in store.of(user).history(task)] for user in users}


def lose(cluster: Any, node: Any, folder: Path, after: float) -> None:
    """The node dies so many seconds after its desk is ready."""
    import psutil

    (raylet,) = node.all_processes["raylet"]

    def desks() -> list[int]:
        ready = [int(one.name.removeprefix("ready-")) for one in folder.glob("ready-*")]
        return [one for one in ready if psutil.Process(one).ppid() == raylet.process.pid]

    while not (there := desks()):
        time.sleep(0.1)
    time.sleep(after)
    cluster.remove_node(node, allow_graceful=False)
    for one in there:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(one).kill()
    print(f"a node is gone, with {len(there)} process that asked the LM", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few users and slots")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--interactions", type=int, default=24, help="a user's latest")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--latency", type=float, default=0.3, help="of the stand-in, in seconds")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--lose", action="store_true", help="a node in the middle; compare")
    options = parser.parse_args()
    users, slots = (8, 4) if options.quick else (options.users, options.slots)
    task, history = crowd(users, options.interactions)
    setting = Setting(iterations=options.iterations)
    import ray
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as folder:
        database = str(Path(folder) / "m.db")
        make = Make(database, task, options.latency, setting, folder)
        filled(database, history)
        everyone = sorted({one.user for one in history})
        many = Many(make(slots)[1], {task.name: task})
        Path(folder, f"ready-{os.getpid()}").unlink()
        many.choose(everyone)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        second = cluster.add_node(num_cpus=1)
        paths = {"env_vars": {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])}}
        ray.init(address=cluster.address, log_to_driver=False, runtime_env=paths)
        spent = Spent(Path(folder))
        if options.lose:
            given = cluster, second, Path(folder), 0.0 if options.quick else 15.0
            threading.Thread(target=lose, args=given, daemon=True).start()
        try:
            with spent, Board(Console(stderr=True), users, setting.iterations) as board:
                on_ray.run(many, make, board)
                ended = time.time()
        finally:
            ray.shutdown()
            cluster.shutdown()  # type: ignore[no-untyped-call]
        if options.lose:
            compare(folder, history, make, slots, personas(database, everyone, task.name))
            return
    assert not many.failed, many.failed
    used = many.trainer.lm.meter.snapshot()
    print("| what | measured |\n|---|---|")
    print(f"| users, LM calls, seconds | {users}, {used.calls:,}, {many.seconds:.0f} |")
    print(f"| share of {slots} slots busy, start of the nodes' work included | ", end="")
    print(f"{many.busy(used):.1%} |")
    since = ended - spent.began
    after = many.trainer.lm.slots * since
    print(f"| the same since the nodes were ready, {since:.0f} s | {used.seconds / after:.1%} |")
    per_call = spent.cpu / used.calls
    print(f"| processor seconds since then, a user and a call | {spent.cpu / users:.2f}, ", end="")
    print(f"{per_call * 1000:.1f} ms |")
    enough = 2 * options.latency / (0.9 * per_call)
    print(f"| slots that two free cores keep 90 % busy, by that | {enough:.0f} |")
    print(f"| calls a second | {used.calls / many.seconds:.1f} of {slots / options.latency:.1f} |")


def compare(
    folder: str, history: Sequence[Interaction], make: Make, slots: int, found: dict[str, list[str]]
) -> None:
    """What Ray made of the users with a node lost, beside what one process makes of them."""
    plain = replace(make, database=str(Path(folder) / "plain.db"))
    filled(plain.database, history)
    many = Many(plain(slots)[1], {make.task.name: make.task})
    many.choose(list(found))
    with Board(Console(stderr=True), len(found), make.setting.iterations) as board:
        many.run(board)
    wanted = personas(plain.database, list(found), make.task.name)
    same = sum(found[user] == wanted[user] for user in found)
    print("| a node lost in the middle | users |\n|---|---|")
    print(f"| with one persona, as each was due | {sum(len(one) == 1 for one in found.values())} |")
    print(f"| with the persona of `compile --all` without Ray | {same} of {len(found)} |")


if __name__ == "__main__":
    main()
