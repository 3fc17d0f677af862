"""Independent jobs on a Ray cluster: `user_pool` on several machines.

A job is a task of Ray's. It runs at a desk, an actor that has the store, the embedding model and an
LM: to load them for each job would take longer than the work. The slots of a server are divided
among the desks, so that it is kept full and never overrun; an LM that is computed on the machine is
at one desk a node, with all its slots. A desk has as many jobs under way as it has slots.

Where a node is lost, Ray starts its desks on another one and their jobs again.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import dspy

from personaagent.errors import DataError, PersonaAgentError
from personaagent.lm import Budget, PersonaLM, Usage
from personaagent.optimizers.slots import Slots, taking
from personaagent.optimizers.user_pool import Attempt, Done, Told, Work, ignore

if TYPE_CHECKING:
    from personaagent.memory import Store

P = TypeVar("P")
W = TypeVar("W", bound=Hashable)
R = TypeVar("R")
Make = Callable[[int], tuple[PersonaLM, P]]
"""Makes, on a node, an LM with so many slots, and what the work needs besides."""

RETRIES = 3
"""How often a job is begun again whose process is gone."""
_LOOK = 0.5  # seconds between looks at what desks report
_NUMBERS = count()


@dataclass(frozen=True, slots=True)
class _Ended:
    """What a desk made of a job: a result or an error, and what it used."""

    result: Any
    error: Exception | None
    used: Usage


class Reports:
    """What desks report, until it is read: an actor beside the process that waits for it."""

    def __init__(self) -> None:
        self._begun = Counter[int]()
        self._reported: list[tuple[int, Any]] = []

    def begin(self, number: int) -> int:
        """A job begins; for the how many-th time."""
        self._begun[number] += 1
        return self._begun[number]

    def report(self, number: int, what: Any) -> None:
        """Something that whoever waits for the job should know."""
        self._reported.append((number, what))

    def read(self) -> list[tuple[int, Any]]:
        """What was reported since it was read last."""
        reported, self._reported = self._reported, []
        return reported


class Desk(Generic[P]):
    """Does jobs, as many at once as it has slots; Ray calls it from as many threads.

    Args:
        make: what the work needs.
        slots: of the LM that are this desk's.
    """

    def __init__(self, make: Make[P], slots: int) -> None:
        self._made: tuple[PersonaLM, P] | PersonaAgentError
        try:
            self._made = make(slots)
        except PersonaAgentError as error:  # such as a database that is not reached from here
            self._made = error
        self._slots = Slots(slots)
        self._batches: dict[int, tuple[PersonaLM, Work[P, Any, Any]]] = {}

    def do(self, batch: int, work: Work[P, W, Any], job: W, number: int, reports: Any) -> _Ended:
        """Do a job.

        Args:
            batch: names the work; the first that comes under a name is kept for all its jobs, with
                what it has found out.
            number: of the job.
            reports: an actor of `Reports`.
        """
        import ray

        if isinstance(self._made, Exception):
            return _Ended(None, self._made, Usage())
        begun = ray.get(reports.begin.remote(number))
        if begun > 1 + RETRIES:
            lost = PersonaAgentError(f"{begun - 1} processes that worked on it were lost")
            return _Ended(None, lost, Usage())
        given, place = self._made
        if batch not in self._batches:
            self._batches.setdefault(batch, (given.copy(), work))
        lm, work = self._batches[batch]
        # What is reported is there before the job ends.
        attempt = Attempt(
            lambda what: ray.get(reports.report.remote(number, what)), again=begun > 1
        )
        with dspy.context(lm=lm), taking(self._slots, number), lm.meter.measure() as used:
            try:
                result, error = work(place, job, attempt), None
            except Exception as problem:  # whatever it is, it is this job's
                result, error = None, problem
        return _Ended(result, error and sendable(error), used.snapshot())

    def stop(self, batch: int) -> None:
        """Let no further call of this work pass."""
        if batch in self._batches:
            self._batches[batch][0].budget = Budget(calls=0)


def sendable(error: Exception) -> Exception:
    """An error that another process can read: ours as they are, others in words."""
    if isinstance(error, PersonaAgentError):
        return type(error)(str(error))
    return RuntimeError(f"{type(error).__name__}: {error}")


@dataclass
class _Job(Generic[W]):
    """A job under way, or one whose desk is gone."""

    work: Any  # in Ray's store
    batch: int
    job: W
    number: int
    told: Told
    desk: Any = None


class RayPool(Generic[P]):
    """Desks on the cluster that this process is connected to (`cluster`); a context manager.

    Args:
        make: is called on the nodes.
        lm: the same one in this process; what the desks use counts into its meter.
        store: the one that the desks work on.

    Raises:
        DataError: the database or a budget is of a kind that works on one machine only.
    """

    def __init__(self, make: Make[P], lm: PersonaLM, store: Store) -> None:
        import ray

        refuse_budget(lm.budget)
        _refuse_file(store)
        self._lm = lm
        self._reports = _reports()
        self._desks = _desks(lm, make)
        # In turn, so that few jobs are spread over all of them.
        self._free = [desk for at in range(lm.slots) for desk, slots in self._desks if at < slots]
        self._under_way: dict[Any, _Job[Any]] = {}
        self._waiting: deque[_Job[Any]] = deque()
        self._works: dict[int, tuple[int, Any]] = {}
        self._put = ray.put
        self._last_words = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        for actor in (self._reports, *(desk for desk, _ in self._desks)):
            ray.kill(actor)

    @property
    def free(self) -> int:
        """How many jobs may begin now."""
        return len(self._free) - len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether jobs are under way."""
        return bool(self._under_way or self._waiting)

    def begin(self, work: Work[P, W, Any], job: W, told: Told = ignore) -> None:
        """Begin a job; with no free desk it waits for one.

        Args:
            work: can be pickled; called on a node with what `make` made.
            told: called with what the work tells, in this process, before the job has ended.
        """
        batch, stored = self._stored(work)
        self._waiting.append(_Job(stored, batch, job, next(_NUMBERS), told))
        self._assign()

    def ended(self, seconds: float = _LOOK) -> list[Done[Any, Any]]:
        """Jobs that have ended, after so many seconds at most."""
        import ray
        from ray.exceptions import ActorDiedError, ActorUnschedulableError, RayError

        self._assign()
        if not self._under_way:
            lost, self._waiting = list(self._waiting), deque()
            said = f"no node is left to work on it; {self._last_words}"
            return [Done(one.job, None, PersonaAgentError(said), 0.0) for one in lost]
        ready, _ = ray.wait(list(self._under_way), timeout=seconds)
        known = {one.number: one for one in self._under_way.values()}
        for number, what in ray.get(self._reports.read.remote()):
            if number in known:
                known[number].told(what)
        done: list[Done[Any, Any]] = []
        for ref in ready:
            one = self._under_way.pop(ref)
            desk = one.desk
            try:
                made: _Ended = ray.get(ref)
            except (ActorDiedError, ActorUnschedulableError) as error:
                # It cannot begin, or the node where it must be is gone.
                self._last_words = str(error).strip().splitlines()[-1].strip()
                self._free = [other for other in self._free if other != desk]
                self._waiting.appendleft(one)
                continue
            except RayError as error:
                made = _Ended(None, sendable(error), Usage())
            self._lm.meter.count(made.used)
            self._free.append(desk)
            done.append(Done(one.job, made.result, made.error, made.used.seconds))
        return done

    def side_by_side(
        self, work: Work[P, W, R], jobs: Iterable[W], told: Callable[[W, Any], None] | None = None
    ) -> Generator[Done[W, R]]:
        """Every job as it ends; the next one is read when there is a free place. Where the caller
        stops early, calls under way end and nothing further is asked."""
        coming = iter(jobs)
        over = False
        try:
            while True:
                while not over and (self.free > 0 or not self.busy):
                    try:
                        job = next(coming)
                    except StopIteration:
                        over = True
                        break
                    self.begin(work, job, _telling(told, job))
                if over and not self.busy:
                    return
                yield from self.ended()
        finally:
            self._waiting.clear()
            if self._under_way:
                self._stop(work)

    def _stop(self, work: Any) -> None:
        import ray

        batch, _ = self._stored(work)
        for desk, _ in self._desks:
            desk.stop.remote(batch)
        while self._under_way:
            try:
                self.ended()
            except ray.exceptions.RayError:
                break
            self._waiting.clear()

    def _stored(self, work: Any) -> tuple[int, Any]:
        """The name of some work, and where Ray keeps it: it is sent to each node once."""
        if id(work) not in self._works:
            # The work itself is kept, too: no other object may get its id.
            self._works = {id(work): (next(_NUMBERS), (work, self._put(work)))}
        batch, (_, stored) = self._works[id(work)]
        return batch, stored

    def _assign(self) -> None:
        while self._waiting and self._free:
            one = self._waiting.popleft()
            one.desk = self._free.pop(0)
            ref = one.desk.do.remote(one.batch, one.work, one.job, one.number, self._reports)
            self._under_way[ref] = one


def _telling(told: Callable[[Any, Any], None] | None, job: Any) -> Told:
    return ignore if told is None else lambda what: told(job, what)


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


def _refuse_file(store: Store) -> None:
    database = store.database
    machines = {node["NodeManagerAddress"] for node in _nodes()}
    if not database.keeps_log and len(machines) > 1:
        raise DataError(
            f"{database.name} is a file of one machine, and the cluster has {len(machines)}: name "
            "a PostgreSQL database with --db postgresql://user:password@host/database, or use a "
            "cluster of this machine"
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


def _desks(lm: PersonaLM, make: Make[Any]) -> list[tuple[Any, int]]:
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
        cores = {node["NodeID"]: max(1, int(node["Resources"].get("CPU", 1))) for node in nodes}
        # In turn, too; a desk of a node that is lost starts on another one.
        seats = [id for at in range(max(cores.values())) for id in cores if at < cores[id]]
        places = [
            (NodeAffinitySchedulingStrategy(id, soft=True), share)
            for id, share in zip(seats, shares(lm.slots, len(seats)), strict=False)
        ]
    actor = ray.remote(Desk)
    return [
        (
            actor.options(
                num_cpus=0,
                scheduling_strategy=place,
                max_concurrency=slots + 1,  # for `stop`
                max_restarts=-1,
                max_task_retries=-1,  # of calls; Ray counts those too that never began
            ).remote(make, slots),
            slots,
        )
        for place, slots in places
    ]
