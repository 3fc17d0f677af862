"""Many users trained on a Ray cluster: what `Many.run` does, on several machines.

A user is a task of Ray's. It runs on a desk, an actor that has the store, the embedding model and
an LM: to load them for each user would take longer than the work. The slots of a server are divided
among the desks, so that it is kept full and never overrun; an LM that is computed on the machine is
on one desk a node, with all its slots. A desk has as many users under way as it has slots.

Where a node is lost, Ray starts its desks on another one and their users again, who go on from
their journals. The lease of a user keeps two from working on one persona meanwhile.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dspy

from personaagent.errors import BusyError, DataError, PersonaAgentError
from personaagent.lm import Budget, Usage
from personaagent.memory.queue import LEASE
from personaagent.optimizers.slots import Slots, taking
from personaagent.service.many import Job, told

if TYPE_CHECKING:
    from personaagent.data import Task
    from personaagent.optimizers import Step, Watched
    from personaagent.service.many import Board, Many
    from personaagent.service.publish import Compiled
    from personaagent.service.trainer import Trained, Trainer, Watcher

RETRIES = 3
"""How often a user is begun again whose process is gone."""
_LOOK = 0.5  # seconds between looks at what desks report
_AGAIN = 1.0  # seconds until a lease is asked for again


@dataclass(frozen=True, slots=True)
class Ended:
    """What a desk made of a job: an outcome, or why there is none; and what it used."""

    outcome: Trained | Compiled | str
    used: Usage


class Reports:
    """What desks report, until it is read: an actor beside the process that waits for it."""

    def __init__(self) -> None:
        self._begun = Counter[Job]()
        self._reported: list[tuple[Job, str, Any]] = []

    def begin(self, job: Job) -> int:
        """A job begins; for the how many-th time."""
        self._begun[job] += 1
        return self._begun[job]

    def report(self, job: Job, kind: str, what: Any) -> None:
        """Call this method of the job's watcher."""
        self._reported.append((job, kind, what))

    def read(self) -> list[tuple[Job, str, Any]]:
        """What was reported since it was read last."""
        reported, self._reported = self._reported, []
        return reported


@dataclass(frozen=True, slots=True)
class _Reporting:
    """A watcher that reports; what it reports is there before the job ends."""

    reports: Any
    job: Job

    def note(self, text: str) -> None:
        self._report("note", text)

    def rolled_back(self, watched: Watched) -> None:
        self._report("rolled_back", watched)

    def step(self, step: Step) -> None:
        self._report("step", step)

    def _report(self, kind: str, what: Any) -> None:
        import ray

        ray.get(self.reports.report.remote(self.job, kind, what))


class Desk:
    """Trains users, as many at once as it has slots; Ray calls it from as many threads.

    Args:
        make: a trainer whose LM has so many slots.
        slots: of the LM that are this desk's.
    """

    def __init__(self, make: Callable[[int], Trainer], slots: int) -> None:
        self._made: Trainer | str
        try:
            self._made = make(slots)
        except PersonaAgentError as error:  # such as a database that is not reached from here
            self._made = str(error)
        self._slots = Slots(slots)

    def train(self, job: Job, task: Task, reports: Any, restart: bool) -> Ended:
        """Train a user.

        Args:
            job: the user and the name of the task.
            task: what the persona is for.
            reports: an actor of `Reports`.
            restart: forget what an interrupted training has done, before this run.
        """
        import ray

        if isinstance(self._made, str):
            return Ended(self._made, Usage())
        trainer = self._made
        begun = ray.get(reports.begin.remote(job))
        if begun > 1 + RETRIES:
            return Ended(f"{begun - 1} processes that worked on it were lost", Usage())
        # Begun before, by a process that is gone: its lease may still hold, its journal goes on.
        again = begun > 1
        patience = time.monotonic() + (LEASE.total_seconds() + _AGAIN if again else 0)
        lm, watcher, anew = trainer.lm, _Reporting(reports, job), restart and not again
        with dspy.context(lm=lm), taking(self._slots, job), lm.meter.measure() as used:
            while True:
                try:
                    outcome = trainer.train_new(job[0], task, watcher, restart=anew)
                    return Ended(outcome, used.snapshot())
                except BusyError as error:
                    if time.monotonic() > patience:
                        return Ended(told(error), used.snapshot())
                    time.sleep(_AGAIN)
                except Exception as error:  # whatever it is, it is this user's
                    return Ended(told(error), used.snapshot())


@contextmanager
def cluster() -> Iterator[None]:
    """Be connected to the cluster of RAY_ADDRESS, or to one of this machine that is made for the
    block.

    Raises:
        PersonaAgentError: Ray is not installed, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported
    try:
        import ray
    except ModuleNotFoundError as error:
        raise PersonaAgentError("Ray is not installed: pip install 'personaagent[ray]'") from error
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(
            # "local": not one that somebody else has started here
            address=os.environ.get("RAY_ADDRESS", "local"),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise PersonaAgentError(
            f"the Ray cluster cannot be reached ({error}): check RAY_ADDRESS"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def run(
    many: Many,
    make: Callable[[int], Trainer],
    board: Board,
    *,
    restart: bool = False,
    tracked: bool = False,
) -> None:
    """`Many.run` on the cluster that this process is connected to.

    Args:
        make: a trainer of the same store, setting and LM, whose LM has so many slots; it is called
            on the nodes.

    Raises:
        DataError: the database or a budget is of a kind that works on one machine only.
    """
    import ray
    from ray.exceptions import ActorDiedError, ActorUnschedulableError, RayError

    _refuse(many)
    began = time.monotonic()
    todo = deque(many.todo)
    reports, desks = _reports(), _desks(many.trainer.lm, make)
    # In turn, so that few users are spread over all of them.
    free = [desk for at in range(many.trainer.lm.slots) for desk, slots in desks if at < slots]
    under_way: dict[Any, tuple[Any, Job]] = {}
    watchers: dict[Job, Watcher] = {}
    last_words = ""

    try:
        while todo or under_way:
            while todo and free:
                desk, job = free.pop(0), todo.popleft()
                if job not in watchers:
                    watchers[job] = board.begin(many.name(job))
                ref = desk.train.remote(job, many.tasks[job[1]], reports, restart)
                under_way[ref] = desk, job
            if not under_way:
                for job in todo:
                    many.end(job, f"no node is left to work on it; {last_words}", board)
                break
            ready, _ = ray.wait(list(under_way), timeout=_LOOK)
            for job, kind, what in ray.get(reports.read.remote()):
                getattr(watchers[job], kind)(what)
            for ref in ready:
                desk, job = under_way.pop(ref)
                many.seconds = time.monotonic() - began
                try:
                    ended: Ended = ray.get(ref)
                except (ActorDiedError, ActorUnschedulableError) as error:
                    # It cannot begin, or the node where it must be is gone.
                    last_words = str(error).strip().splitlines()[-1].strip()
                    free = [one for one in free if one != desk]
                    todo.appendleft(job)
                    continue
                except RayError as error:
                    many.end(job, told(error), board)
                else:
                    many.trainer.lm.meter.count(ended.used)
                    many.end(job, ended.outcome, board, tracked=tracked)
                free.append(desk)
    finally:
        for actor in (reports, *(desk for desk, _ in desks)):
            ray.kill(actor)


def refuse_budget(budget: Budget | None) -> None:
    """Say that a budget is of no use here.

    Raises:
        DataError: there is one.
    """
    if budget is not None:
        raise DataError(
            "a budget is kept by one process: leave out --max-calls, --max-tokens and --max-money, "
            "or --engine ray"
        )


def _refuse(many: Many) -> None:
    refuse_budget(many.trainer.lm.budget)
    database = many.trainer.memory.store.database
    machines = {node["NodeManagerAddress"] for node in _nodes()}
    if not database.keeps_log and len(machines) > 1:
        raise DataError(
            f"{database.name} is a file of one machine, and the cluster has {len(machines)}: name "
            "a PostgreSQL database with --db postgresql://user:password@host/database"
        )


def _nodes() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _reports() -> Any:
    """On the node of this process, so that it lives as long."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Reports).options(num_cpus=0, scheduling_strategy=here).remote()


def shares(slots: int, desks: int) -> list[int]:
    """The slots of a server divided among desks, as equally as they go; no desk has none."""
    desks = min(slots, desks)
    return [slots // desks + (at < slots % desks) for at in range(desks)]


def is_local(spec: str) -> bool:
    """Whether an LM is computed on the machine that asks it."""
    return spec == "embedded" or Path(spec).suffix.lower() == ".gguf"


def _desks(lm: Any, make: Callable[[int], Trainer]) -> list[tuple[Any, int]]:
    """The desks, each with its slots.

    They ask for no CPUs: those of a lost node would find none free on another one, and the slots
    would be empty. Calls mostly wait.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = _nodes()
    places: list[tuple[Any, int]]
    if is_local(lm.identity.spec):
        places = [
            (NodeAffinitySchedulingStrategy(node["NodeID"], soft=False), lm.slots) for node in nodes
        ]
    else:
        cores = sum(max(1, int(node["Resources"].get("CPU", 1))) for node in nodes)
        places = [("SPREAD", share) for share in shares(lm.slots, cores)]
    actor = ray.remote(Desk)
    return [
        (
            actor.options(
                num_cpus=0,
                scheduling_strategy=place,
                max_concurrency=slots,
                max_restarts=-1,
                max_task_retries=-1,  # of calls; Ray counts those too that never began
            ).remote(make, slots),
            slots,
        )
        for place, slots in places
    ]
