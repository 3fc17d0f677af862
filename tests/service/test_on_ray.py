"""Many users on a Ray cluster of two nodes: the same personas, full slots, and lost nodes."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import dspy
import psutil
import pytest
from ray_world import SETTING, Make, most_at_once, processes
from worlds_of_mail import INBOX, habitual

from personaagent.data import Query
from personaagent.errors import DataError
from personaagent.experiments.cohort import EvaluationData, Sample
from personaagent.experiments.lineup import entrants
from personaagent.experiments.results import Results
from personaagent.experiments.runner import Experiment
from personaagent.lm import Budget
from personaagent.memory import Store
from personaagent.memory.queue import NewInteractions, Queue
from personaagent.memory.tasks import save_tasks
from personaagent.optimizers import Step, ray_pool
from personaagent.optimizers.crossval import Split
from personaagent.service import Compiled, Trainer, on_ray
from personaagent.service.many import Many
from personaagent.service.trainer import Quiet
from personaagent.service.worker import Worker

pytestmark = pytest.mark.xdist_group("cluster")  # one cluster for all tests of it

SLOTS = 6
USERS = [f"user{n}" for n in range(10)]


class Board:
    def __init__(self):
        self.begun, self.ended, self.steps = [], {}, []

    def begin(self, who):
        self.begun.append(who)
        board = self

        class Watcher(Quiet):
            def step(self, step: Step) -> None:
                assert who not in board.ended
                board.steps.append((who, step.iteration))

        return Watcher()

    def end(self, who, outcome):
        assert who not in self.ended
        self.ended[who] = outcome

    def note(self, text):
        raise AssertionError(text)


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    paths = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}}
    ray.init(address=cluster.address, log_to_driver=False, runtime_env=paths)
    cluster.wait_for_nodes()
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def filled(folder: Path) -> str:
    """A database of the users, by its path."""
    folder.mkdir()
    database = str(folder / "memory.db")
    with Store(database) as store:
        store.add([one for n, user in enumerate(USERS) for one in habitual(user, 12 + n)])
        save_tasks(store, [INBOX])
    return database


def chosen(make: Make) -> Many:
    many = Many(make(SLOTS)[1], {INBOX.name: INBOX})
    many.choose(USERS)
    return many


def hashes(database: str) -> dict[str, list[str]]:
    """The chain of each user's personas."""
    with Store(database) as store:
        return {user: [one.hash for one in store.of(user).history(INBOX.name)] for user in USERS}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of the users: their personas, and the calls for each."""
    folder = tmp_path_factory.mktemp("alone")
    database = filled(folder / "db")
    many = chosen(Make(database, folder, 0.0))
    many.run(Board())
    assert len(many.done) == len(USERS)
    return hashes(database), {user: done.usage["calls"] for (user, _), done in many.done.items()}


def test_a_cluster_makes_the_same_personas_and_never_overruns_the_lm(nodes, alone, tmp_path):
    """And who fails, because somebody else is at work on the user, does not stop the rest."""
    database = filled(tmp_path / "db")
    make = Make(database, tmp_path, 0.02, together=2)
    many, board = chosen(make), Board()
    busy, others = USERS[0], USERS[1:]
    with Store(database) as store:
        held = Queue(store).hold(busy, INBOX.name, "somebody else")
        on_ray.run(many, make, board)
        Queue(store).again(held)
        assert Queue(store).jobs() == []
    assert list(many.failed) == [(busy, INBOX.name)]
    assert "at work on this user's persona" in many.failed[busy, INBOX.name]
    personas, used = alone
    assert hashes(database) == personas | {busy: []}
    assert many.trainer.lm.meter.snapshot().calls == sum(used[user] for user in others)
    assert sorted(board.begun) == sorted(board.ended) == sorted(USERS)
    assert {who for who, _ in board.steps} == set(others)
    assert len(processes(tmp_path)) == 2  # both nodes
    assert SLOTS / 2 < most_at_once(tmp_path) <= SLOTS
    again = chosen(make)
    assert list(again.todo) == [(busy, INBOX.name)]  # the rest is finished


def test_a_budget_is_refused_before_anything_is_asked(nodes, tmp_path):
    make = Make(filled(tmp_path / "db"), tmp_path, 0.0)
    many = chosen(make)
    many.trainer.lm.budget = Budget(calls=10)
    with pytest.raises(DataError, match="a budget is kept by one process"):
        on_ray.run(many, make, Board())
    assert len(processes(tmp_path)) == 0


def test_a_workers_queue_is_worked_off_by_a_cluster(nodes, alone, tmp_path):
    database = filled(tmp_path / "db")
    make = Make(database, tmp_path, 0.02, together=2)
    lm, trainer = make(SLOTS)
    with Store(database) as store:
        jobs = Queue(store)

        def pool(_: Trainer) -> ray_pool.RayPool[Trainer]:
            return ray_pool.RayPool(make, lm, store)

        worker = Worker(jobs, [NewInteractions(5)], lambda: trainer, tracked=False, pool=pool)
        done = [(job.user, outcome) for job, outcome in worker.work(lambda _: Quiet(), once=True)]
        assert jobs.jobs() == []
    assert sorted(user for user, _ in done) == sorted(USERS)
    assert all(isinstance(outcome, Compiled) for _, outcome in done)
    assert hashes(database) == alone[0]
    assert len(processes(tmp_path)) == 2


def test_settings_cost_and_bring_the_same_on_a_cluster(nodes, tmp_path):
    splits = {user: Split.latest(habitual(user, 20, 3), 6) for user in USERS[:4]}
    make = Make(str(tmp_path / "here.db"), tmp_path, 0.0)
    lm, here = make.judge(splits, SLOTS)
    with dspy.context(lm=lm):
        expected = dict(here(SETTING))
        elsewhere = replace(make, database=str(tmp_path / "there.db"))
        lm, there = elsewhere.judge(splits, SLOTS)
        with ray_pool.RayPool(partial(elsewhere.judge, splits), lm, there.memory.store) as pool:
            there.pool = pool
            found = dict(there(SETTING))
            for _ in there(replace(SETTING, iterations=2)):
                break  # one that is dropped is stopped, and the desks are free again
            assert not pool.busy
    assert {user: replace(one, seconds=0) for user, one in found.items()} == {
        user: replace(one, seconds=0) for user, one in expected.items()
    }
    assert lm.meter.snapshot().calls >= sum(one.calls for one in expected.values())


def test_an_evaluation_gives_the_same_answers_on_a_cluster(nodes, tmp_path):
    lives = {user: habitual(user, 18, 3) for user in USERS[:2]}
    samples = tuple(
        Sample(Query(f"q-{one.id}", user, one.task, one.query, one.response, one.time), user)
        for user, life in lives.items()
        for one in life[12:]
    )
    past = [one for life in lives.values() for one in life[:12]]
    data = EvaluationData(INBOX, "inbox", "d" * 64, samples, lambda _: iter(past))
    rows = {}
    for where in ("here", "there"):
        make = Make(str(tmp_path / f"{where}.db"), tmp_path, 0.0)
        lm, memory = make.parts(SLOTS)
        with Results(tmp_path / f"{where}-results.db") as results, ExitStack() as stack:
            pool = None
            if where == "there":
                pool = stack.enter_context(ray_pool.RayPool(make.parts, lm, memory.store))
            systems = entrants(["non-personalized", "rag", "personaagent"])
            experiment = Experiment(data, systems, lm, memory, results, pool=pool)
            experiment()
            rows[where] = {
                (one.system, one.sample): (one.answer, one.loss, one.calls, one.error)
                for one in results.rows(experiment.run, [one.query.id for one in samples])
            }
    assert len(rows["here"]) == 3 * len(samples)
    assert rows["there"] == rows["here"]


@pytest.mark.cluster
def test_an_lm_of_the_machine_has_a_desk_on_each_node_with_all_its_slots(nodes, alone, tmp_path):
    database = filled(tmp_path / "db")
    make = Make(database, tmp_path, 0.02, "weights.gguf", together=2)
    many = chosen(make)
    on_ray.run(many, make, Board())
    assert many.failed == {}
    assert hashes(database) == alone[0]
    assert len(processes(tmp_path)) == 2
    assert most_at_once(tmp_path) > SLOTS


def test_slots_are_divided_as_equally_as_they_go():
    assert ray_pool.shares(64, 3) == [22, 21, 21]
    assert ray_pool.shares(2, 8) == [1, 1]


def children(process: int, among: list[int]) -> list[int]:
    """Which of them this process has started, of those that still run."""
    return [one for one in among if psutil.pid_exists(one) and parent(one) == process]


def parent(process: int) -> int:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process).ppid()
    return 0


def lose_a_node(cluster, second, database: str, folder: Path, board: Board) -> tuple[Many, bool]:
    """Work on the users, and take the second node while one of its processes asks the LM. Whether
    that came to pass: now and then Ray starts what is meant for a node on another one."""
    many = chosen(make := Make(database, folder, 0.1, together=2))
    (raylet,) = second.all_processes["raylet"]
    over, lost = threading.Event(), threading.Event()

    def kill() -> None:
        while not (there := children(raylet.process.pid, processes(folder))):
            if over.wait(0.02):
                return
        time.sleep(0.2)  # in the middle of its calls
        lost.set()
        cluster.remove_node(second, allow_graceful=False)
        with suppress(ProcessLookupError):  # its raylet's end may have ended it
            os.kill(there[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        on_ray.run(many, make, board)
    finally:
        over.set()
        thread.join()
    return many, lost.is_set()


@pytest.mark.cluster
def test_a_node_that_is_lost_loses_no_user(nodes, alone, tmp_path):
    """Last, as it takes one of the nodes."""
    for attempt in range(5):
        folder, board = tmp_path / str(attempt), Board()
        folder.mkdir()
        database = filled(folder / "db")
        many, lost = lose_a_node(*nodes, database, folder, board)
        assert many.failed == {}
        assert hashes(database) == alone[0]
        assert sorted(board.ended) == sorted(USERS)
        if lost:
            break
    assert lost
    assert len(processes(folder)) >= 2  # a desk that is started anew may find all users done
