"""The worker without a command line: what it does with a job, whatever ends it."""

from __future__ import annotations

import pytest
from dspy.clients.base_lm import GLOBAL_HISTORY
from rulebook import stand_in
from worlds_of_mail import INBOX, book, habitual, remembering

from personaagent.errors import BudgetError, LMError
from personaagent.lm import Budget
from personaagent.memory.erasure import erase
from personaagent.memory.queue import NewInteractions, Queue
from personaagent.memory.tasks import save_tasks
from personaagent.optimizers import Setting
from personaagent.service import Compiled, Trainer
from personaagent.service.trainer import Quiet
from personaagent.service.worker import Worker


@pytest.fixture
def memory(tmp_path):
    with remembering(tmp_path, *habitual(), *habitual("bob", 4)) as memory:
        save_tasks(memory.store, [INBOX])
        yield memory


@pytest.fixture
def work(memory):
    """Works until nothing is due; who was worked for, and the outcomes."""

    def work(lm=None, threshold=5, trainer=None):
        made = trainer or (lambda: Trainer(memory, lm or stand_in(book()), Setting(1, replay=6)))
        one = Worker(Queue(memory.store), [NewInteractions(threshold)], made, tracked=False)
        return [(job.user, done) for job, done in one.work(lambda job: Quiet(), once=True)]

    return work


def test_who_is_due_is_trained_and_leaves_the_queue(work, memory):
    ((user, done),) = work()
    assert user == "ann"
    assert isinstance(done, Compiled)
    assert memory.store.of("ann").persona("inbox") == done.persona
    assert Queue(memory.store).jobs() == []
    assert [user for user, _ in work(threshold=4)] == ["bob"]


def test_a_worker_keeps_no_prompt_of_a_job_that_is_done(work):
    before = len(GLOBAL_HISTORY)
    assert work()
    assert len(GLOBAL_HISTORY) == before


def test_a_worker_with_nothing_to_do_needs_no_lm(work):
    def no_trainer():
        raise AssertionError("nothing is due")

    assert work(threshold=99, trainer=no_trainer) == []


def test_a_failure_is_kept_with_the_job(work, memory):
    rules = book()
    rules.dies_after = 10
    ((_, said),) = work(stand_in(rules))
    assert said.startswith("failed: ")
    (job,) = Queue(memory.store).jobs()
    assert (job.attempts, job.worker) == (1, None)
    assert "the LM is gone" in job.problem


def test_a_used_up_budget_ends_the_work_and_gives_the_job_back(work, memory):
    with pytest.raises(BudgetError):
        work(stand_in(book(), budget=Budget(calls=5)))
    (job,) = Queue(memory.store).jobs()
    assert (job.attempts, job.worker) == (0, None)
    assert isinstance(work()[0][1], Compiled)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ZeroDivisionError])
def test_whatever_else_ends_it_the_job_is_given_back(work, memory, monkeypatch, interruption):
    def ends(*_, **__):
        raise interruption

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "align", ends)
        with pytest.raises(interruption):
            work()
    (job,) = Queue(memory.store).jobs()
    assert (job.attempts, job.worker) == (0, None)


def test_an_erasure_meanwhile_makes_it_start_again(work, memory, monkeypatch):
    whole, times = Trainer.align, []

    def erased(self, *arguments, **options):
        times.append(1)
        if len(times) == 1:
            erase(memory.store, "ann", ids=["ann-3"])
        return whole(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "align", erased)
    first, second = work()
    assert first[1].startswith("starts again: ")
    assert isinstance(second[1], Compiled)


def test_a_failed_alignment_that_is_no_conflict_does_not_stop_the_others(work, memory, monkeypatch):
    whole = Trainer.align

    def align(self, agent, interactions, *arguments, **options):
        if interactions[0].user == "ann":
            raise LMError("not for ann")
        return whole(self, agent, interactions, *arguments, **options)

    monkeypatch.setattr(Trainer, "align", align)
    done = dict(work(threshold=1))
    assert done["ann"] == "failed: not for ann"
    assert isinstance(done["bob"], Compiled)
