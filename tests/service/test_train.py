"""`train`: personas of one user and of several, learned and published from Python."""

from __future__ import annotations

import os
from dataclasses import replace

import dspy
import pytest
from rulebook import stand_in
from worlds_of_mail import INBOX, book, habitual, mail, remembering

import personaagent
from personaagent import PersonaAgent, train
from personaagent.data import Interaction
from personaagent.errors import BusyError, ConflictError, DataError, LMError, StoreError
from personaagent.memory.erasure import erase
from personaagent.memory.queue import Holder, Queue, behind
from personaagent.memory.tasks import save_tasks
from personaagent.optimizers import Setting, Step
from personaagent.service import Trainer

QUICK = Setting(iterations=1, replay=6)


@pytest.fixture
def memory(tmp_path):
    """ann and bob with two habits each, and a task that the store knows."""
    with remembering(tmp_path, *habitual(), *habitual("bob", 24)) as memory:
        save_tasks(memory.store, [INBOX])
        yield memory


@pytest.fixture
def rules():
    return book()


@pytest.fixture
def quick(memory, rules):
    """`train` with this memory, one LM and a short setting."""
    options = {"memory": memory, "lm": stand_in(rules), "settings": QUICK, "track": False}
    return lambda users, **more: train(users, **(options | more))


def test_a_user_gets_a_published_persona_that_does_better(quick, memory):
    ann = quick("ann")
    assert memory.store.of("ann").persona("inbox") == ann.persona
    assert ann.changed
    assert ann.last_loss < ann.first_loss
    (entry,) = memory.store.of("ann").history("inbox")
    assert entry.reason == ann.reason
    assert memory.store.of("bob").persona("inbox") is None
    assert [user for user, _, _ in behind(memory.store)] == ["bob"]


def test_who_is_finished_is_not_done_again_until_something_is_new(quick, memory, rules):
    first = quick("ann")
    spent = len(rules.asked)
    assert quick("ann") == first
    assert len(rules.asked) == spent
    assert quick(["ann"]).done == {("ann", "inbox"): first}
    assert len(rules.asked) == spent
    memory.add([mail(50, "dinner dog", "travel")])
    quick("ann")
    assert len(rules.asked) > spent


def test_a_user_among_several_learns_as_alone(quick, memory, tmp_path):
    many = quick(["ann", "bob"])
    assert set(many.done) == {("ann", "inbox"), ("bob", "inbox")}
    (tmp_path / "alone").mkdir()
    with remembering(tmp_path / "alone", *habitual(), *habitual("bob", 24)) as other:
        for user in ("ann", "bob"):
            alone = quick(user, memory=other, task=INBOX)
            assert alone.persona == many.personas[user, "inbox"]


def test_other_settings_are_another_training(quick, rules):
    quick("ann")
    spent = len(rules.asked)
    quick("ann", settings=replace(QUICK, batch=2))
    assert len(rules.asked) > spent


@pytest.fixture
def chores(memory):
    """A second task, which ann has too, and eve alone."""
    task = replace(INBOX, name="chores")
    memory.add(
        (
            replace(one, id=f"c-{one.id}", task="chores")
            for one in (*habitual(count=18), *habitual("eve", 18))
        ),
        tasks={"chores": task},
    )
    save_tasks(memory.store, [task])
    return task


def test_each_task_of_a_user_is_learned_as_alone(quick, chores, tmp_path):
    everything = quick(None)
    jobs = {("ann", "inbox"), ("bob", "inbox"), ("ann", "chores"), ("eve", "chores")}
    assert everything.failed == {}
    assert set(everything.personas) == jobs
    (tmp_path / "alone").mkdir()
    past = [replace(one, task="chores", id=f"c-{one.id}") for one in habitual("eve", 18)]
    with remembering(tmp_path / "alone", *past) as other:
        alone = quick("eve", memory=other, task=chores)
    assert alone.persona == everything.personas["eve", "chores"]


def test_one_user_of_several_tasks_needs_the_name_of_one(quick, chores):
    with pytest.raises(DataError, match="several tasks"):
        quick("ann")
    assert quick("ann", task="chores").persona.task == "chores"
    assert set(quick(["ann"], task=chores).personas) == {("ann", "chores")}


def test_without_names_everyone_is_trained(quick):
    assert sorted(quick(None).personas) == [("ann", "inbox"), ("bob", "inbox")]
    assert quick([]).done == {}


def test_a_task_of_ones_own_needs_not_be_in_the_store(quick, tmp_path):
    (tmp_path / "other").mkdir()
    with remembering(tmp_path / "other", *habitual()) as other:
        assert quick(None, memory=other, task=INBOX).personas.keys() == {("ann", "inbox")}
        with pytest.raises(DataError, match="there is no task 'inbox'"):
            quick("ann", memory=other)


def test_an_error_loses_nothing_and_the_same_call_goes_on(quick, memory, rules, tmp_path):
    rules.dies_after = 15
    with pytest.raises(LMError, match="what was done so far is kept"):
        quick("ann")
    assert Queue(memory.store).jobs() == []  # the lease is given back
    assert memory.store.of("ann").persona("inbox") is None
    rules.dies_after = None
    resumed = quick("ann")
    (tmp_path / "whole").mkdir()
    whole = book()
    with remembering(tmp_path / "whole", *habitual()) as other:
        undisturbed = quick("ann", memory=other, task=INBOX, lm=stand_in(whole))
    assert resumed.persona == undisturbed.persona
    assert len(rules.asked) == len(whole.asked)


def test_several_users_go_on_after_an_error_too(quick, rules):
    rules.dies_after = 15
    told = quick(["ann", "bob"])
    assert set(told.failed) == {("ann", "inbox"), ("bob", "inbox")}
    assert "the LM is gone" in told.failed["ann", "inbox"]
    rules.dies_after = None
    again = quick(["ann", "bob"])
    assert again.failed == {}
    assert set(again.done) == set(told.failed)


def test_one_who_fails_does_not_stop_the_rest(quick, memory):
    memory.add([Interaction("e", "eve", "inbox", "dinner", "")])
    told = quick(None)
    assert set(told.failed) == {("eve", "inbox")}
    assert set(told.done) == {("ann", "inbox"), ("bob", "inbox")}


def at_work_elsewhere(store, user):
    holder = replace(Holder.new("compile"), process=os.getppid())
    return Queue(store).hold(user, "inbox", str(holder))


def test_while_another_process_works_for_the_user_nothing_is_asked(quick, memory, rules):
    held = at_work_elsewhere(memory.store, "ann")
    with pytest.raises(BusyError, match="is at work on this user's persona"):
        quick("ann")
    trainer = Trainer(memory, stand_in(rules), QUICK)
    with pytest.raises(BusyError):
        trainer.train("ann", INBOX)
    assert rules.asked == []
    told = quick(["ann", "bob"])
    assert "is at work on this user's persona" in told.failed["ann", "inbox"]
    assert set(told.done) == {("bob", "inbox")}
    Queue(memory.store).again(held)
    assert quick("ann").changed


def test_what_is_published_meanwhile_is_not_lost(quick, memory, monkeypatch):
    whole = Trainer.align

    def meanwhile(self, agent, *arguments, **options):
        found = whole(self, agent, *arguments, **options)
        start = personaagent.Persona("ann", "inbox", profile="Written by hand.")
        memory.store.of("ann").publish(start, expected=None, reason="by hand")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "align", meanwhile)
        with pytest.raises(ConflictError):
            quick("ann")
    assert memory.store.of("ann").persona("inbox").profile == "Written by hand."
    assert quick("ann").persona.version == 1


def test_interactions_that_were_erased_meanwhile_teach_nothing(quick, memory, monkeypatch):
    whole = Trainer.align

    def erased(self, agent, *arguments, **options):
        erase(memory.store, "ann", ids=["ann-3"])
        return whole(self, agent, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "align", erased)
        with pytest.raises(ConflictError, match="erased meanwhile"):
            quick("ann")
    assert "'ann-3'" not in repr(quick("ann").persona)


@pytest.mark.parametrize("users", ["ann", ["ann", "bob"]])
def test_the_report_is_told_of_every_step_by_user(quick, users):
    told = []
    quick(users, report=lambda *said: told.append(said))
    assert {user for user, _ in told} == set([users] if isinstance(users, str) else users)
    assert {type(said) for _, said in told} == {Step}


def test_the_lm_is_the_one_of_dspy_unless_one_is_given(quick, rules):
    with dspy.context(lm=stand_in(rules)):
        assert quick("ann", lm=None).changed
    assert rules.asked


@pytest.mark.parametrize(
    ("users", "options", "error", "problem"),
    [
        ("ann", {"lm": "embedded"}, DataError, "lm is of type str: give one of connect"),
        ("ann", {"gradient_lm": "embedded"}, DataError, "gradient_lm is of type str"),
        ("ann", {"settings": {"batch": 2}}, DataError, "settings is of type dict: give a Setting"),
        ("ann", {"memory": 7}, DataError, "memory is 7: give an EpisodicMemory"),
        ("ann", {"memory": "no such file.db"}, StoreError, "no such file.db"),
        ("ann", {"task": "boxes"}, DataError, "there is no task 'boxes'"),
        ("anne", {}, DataError, "did you mean 'ann'"),
        ("anne", {"task": INBOX}, DataError, "to learn from"),
        ("", {}, DataError, "user"),
        (["ann", ""], {}, DataError, "user"),
        (["ann", "bop"], {}, DataError, "there is no user 'bop': did you mean 'bob'?"),
        ([7], {}, DataError, r"users\[0\] is 7"),
        (7, {}, DataError, "users is 7"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(
    quick, rules, tmp_path, monkeypatch, users, options, error, problem
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=problem):
        quick(users, **options)
    assert rules.asked == []
    assert not (tmp_path / "no such file.db").exists()


def test_without_any_lm_the_remedy_is_said(quick):
    with pytest.raises(DataError, match="lm is None: give one of connect"):
        quick("ann", lm=None)


def test_the_trained_persona_answers(quick, memory, rules):
    with dspy.context(lm=stand_in(rules)):
        agent = PersonaAgent(INBOX, memory)
        assert agent(query="flight amber car", user="nobody").answer == "travel"
        quick("ann")
        assert agent(query="flight amber car", user="ann").answer == "family"
