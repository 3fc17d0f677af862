"""`worker` and `queue`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_world import Engine, rows, write

from personaagent.cli import session
from personaagent.errors import LMError
from personaagent.memory import Store
from personaagent.memory.queue import Holder, Queue
from personaagent.service import Trainer

WORK = ("worker", "--once", "--no-track")


def jobs(told):
    return [(one["user"], one["state"], one["trigger"]) for one in told("queue")["jobs"]]


def test_a_worker_publishes_what_is_due(run, told, imported):
    assert run("queue").stdout == "nothing is due\n"
    said = run(*WORK).stderr
    assert "amira · inbox: version 0" in said
    assert "bela" not in said  # four interactions are not enough
    assert told("ask", "the car is old", "--user", "amira")["answer"] == "money"
    assert run(*WORK).stderr == ""
    assert jobs(told) == []


@pytest.mark.parametrize(("update", "cues"), [("edits", ["car"]), ("rewrite", [])])
def test_a_worker_learns_as_its_file_says(run, imported, tmp_path, update, cues):
    file = write(tmp_path / "setting.json", [{"update": update}])
    run(*WORK, "--config", file)
    with Store(tmp_path / "memory.db") as store:
        assert [one.cue for one in store.of("amira").persona("inbox").directives] == cues


@pytest.mark.parametrize(
    ("options", "policy"), [((), "mask"), (("--sensitive", "leave-out"), "leave-out")]
)
def test_what_is_sensitive_is_as_the_command_line_says_and_else_as_the_file(
    run, imported, tmp_path, monkeypatch, options, policy
):
    used, make = [], session.trainer_of

    def trainer_of(store, setting, *rest, **others):
        used.append(setting)
        return make(store, setting, *rest, **others)

    monkeypatch.setattr(session, "trainer_of", trainer_of)
    file = write(tmp_path / "setting.json", [{"sensitive": "mask", "iterations": 1}])
    run(*WORK, "--config", file, *options)
    assert {one.sensitive for one in used} == {policy}
    assert {one.iterations for one in used} == {1}


def test_compile_counts_as_an_alignment(run, told, imported):
    run("compile", "--user", "amira", "--no-track")
    assert run(*WORK).stderr == ""


def test_a_job_can_be_asked_for(run, told, imported):
    run(*WORK)
    run("queue", "--user", "amira")
    run("queue", "--user", "amira")
    assert jobs(told) == [("amira", "waiting", "request")]
    assert "nothing is due" not in run("queue").stdout
    assert "amira · inbox: version 0" in run(*WORK).stderr  # nothing better was found
    assert jobs(told) == []


def test_a_failure_is_kept_and_told(run, told, imported, monkeypatch):
    def fails(*_, **__):
        raise LMError("the LM is gone")

    monkeypatch.setattr("personaagent.service.Trainer.align", fails)
    assert "failed: the LM is gone" in run(*WORK).stderr
    (job,) = told("queue")["jobs"]
    assert (job["state"], job["attempts"], job["problem"]) == ("waiting", 1, "the LM is gone")


def test_a_used_up_budget_stops_the_worker_and_keeps_the_job(run, told, imported):
    assert "the budget" in run(*WORK, "--max-calls", 5, ok=False).stderr
    assert jobs(told) == [("amira", "waiting", "interactions")]
    assert "amira · inbox: version 0" in run(*WORK).stderr


def test_an_erasure_while_the_worker_works_makes_it_start_again(
    run, told, imported, monkeypatch, tmp_path
):
    from personaagent.memory.erasure import erase

    whole, asked = Trainer.align, []

    def interrupted(self, agent, interactions, *rest, **options):
        asked.append([one.id for one in interactions])
        if len(asked) == 1:
            with Store(tmp_path / "memory.db") as store:
                erase(store, "amira", ids=["amira-3"])
        return whole(self, agent, interactions, *rest, **options)

    monkeypatch.setattr("personaagent.service.Trainer.align", interrupted)
    run(*WORK)
    assert ["amira-3" in ids for ids in asked] == [True, False]
    assert "amira-3" not in repr(told("show", "--user", "amira"))


@pytest.mark.parametrize("threshold", [5, 4])
def test_the_threshold_says_how_many_are_enough(run, imported, threshold):
    assert ("bela" in run(*WORK, "--threshold", threshold).stderr) is (threshold == 4)


def test_a_schedule_takes_in_less(run, imported, tmp_path):
    run(*WORK)
    run("import", write(tmp_path / "more.jsonl", rows(count=19)[18:]))
    assert "amira" not in run(*WORK).stderr
    assert "amira" in run(*WORK, "--every", 0).stderr


def begun(folder, *arguments):
    """A command in a process of its own, after its first LM call."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("compiler.py")), *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [*(str(one) for one in Path(__file__).parents[:2]), str(Path(__file__).parents[2])]
            ),
            "CALLS": str(folder / "calls"),
            "SECONDS": "0.2",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while not (folder / "calls").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (folder / "calls").exists()
    return process


@pytest.mark.parametrize("command", [("compile", "--user", "amira"), ("worker",)])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_whoever_is_stopped_keeps_nobody_waiting(run, told, imported, tmp_path, command, how):
    process = begun(tmp_path, *command, "--no-track")
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (143 if how == signal.SIGTERM else -9)
    assert ("goes on from here" in said) is (how == signal.SIGTERM)
    with Store(tmp_path / "memory.db") as store:
        assert [one.state(store.now()) for one in Queue(store).jobs()] in (
            [[]] if command[0] == "compile" else [["waiting"], ["interrupted"]]
        )
    assert "amira · inbox: version 0" in run(*WORK).stderr
    assert jobs(told) == []


def test_a_compile_says_who_is_at_it_before_it_asks_the_lm(
    run, told, imported, tmp_path, monkeypatch
):
    def asked(*_):
        raise AssertionError("the LM was asked")

    process = begun(tmp_path, "worker", "--no-track")
    try:
        monkeypatch.setattr(Engine, "complete", asked)
        said = run("compile", "--user", "amira", "--no-track", ok=False).stderr
        assert f"'worker', process {process.pid} on " in said
        many = run("compile", "--users", "amira", "--no-track", "--json", ok=None)
        assert many.exit_code == 1
        (user,) = json.loads(many.stdout)["users"]
        assert f"process {process.pid}" in user["problem"]
        (job,) = told("queue")["jobs"]
        assert (job["state"], job["held_by"]) == (
            "running",
            Holder.read(str(worker_of(tmp_path))).described(),
        )
    finally:
        process.kill()
        process.communicate()


def worker_of(folder):
    with Store(folder / "memory.db") as store:
        return Queue(store).jobs()[0].worker


def test_a_worker_says_what_it_leaves_alone_and_until_when(run, imported, tmp_path):
    with Store(tmp_path / "memory.db") as store:
        Queue(store).hold("amira", "inbox", str(Holder.new("compile")))
        lease = Queue(store).jobs()[0].lease
    said = run(*WORK).stderr
    assert f"amira · inbox: left alone: 'compile', process {os.getpid()} on " in said
    assert f"{lease:%H:%M:%S} UTC" in said
