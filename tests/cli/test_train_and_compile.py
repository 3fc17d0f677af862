"""`train` in Python and `compile` are one thing: what one has done, the other does not do again."""

from __future__ import annotations

import os
from pathlib import Path

import mlflow
import pytest
from cli_world import Engine, connect, rows, write
from standins import HashEmbedder

from personaagent import EpisodicMemory, Store, train
from personaagent.optimizers import Setting

USERS = ("amira", "bela", "cem")


@pytest.fixture
def three(run, tasks, tmp_path) -> Path:
    """A database with 18, 12 and 9 interactions of three users."""
    given = [*rows(), *rows("bela", 12), *rows("cem", 9)]
    run("import", write(tmp_path / "three.jsonl", given), "--tasks", tasks)
    return tmp_path / "memory.db"


@pytest.fixture
def asked(monkeypatch):
    """The messages that the LM is asked, as texts."""
    requests, answer = [], Engine.complete

    def complete(self, request):
        requests.append(str(request.messages))
        return answer(self, request)

    monkeypatch.setattr(Engine, "complete", complete)
    return requests


@pytest.fixture
def fresh(run, three, tmp_path, monkeypatch):
    """Changes to another database with the same interactions."""

    def fresh() -> Path:
        other = tmp_path / "other.db"
        monkeypatch.setenv("PERSONAAGENT_DB", str(other))
        run("import", "three.jsonl", "--tasks", "tasks.json")
        return other

    return fresh


def test_one_user_learns_the_same_persona_by_the_same_calls(three, told, asked, fresh):
    made = train("amira", memory=three, lm=connect("stand-in"), track=False)
    spent = len(asked)
    fresh()
    said = told("compile", "--user", "amira", "--no-track", "--lm", "stand-in")
    assert (made.persona.hash, made.reason) == (said["hash"], said["reason"])
    assert {one.cue for one in made.persona.directives} == {"car"}
    assert len(asked) == 2 * spent


def test_several_users_learn_the_same_personas_by_the_same_calls(three, told, asked, fresh):
    # One after the other: what wins with an LM is learned by one user for the next.
    made = train(USERS, memory=three, lm=connect("stand-in", slots=1), track=False)
    spent = len(asked)
    fresh()
    said = told("compile", "--all", "--no-track", "--lm", "stand-in", "--slots", "1")
    hashes = {(one["user"], "inbox"): one["hash"] for one in said["users"]}
    assert {job: one.hash for job, one in made.personas.items()} == hashes
    assert made.failed == {}
    assert asked[spent:] == asked[:spent]


@pytest.mark.parametrize("several", [False, True])
def test_what_train_has_done_compile_does_not_do_again(three, told, asked, several):
    lm = connect("stand-in")
    if several:
        train(["amira", "bela"], memory=three, lm=lm, track=False)
    else:
        train("amira", memory=three, lm=lm, track=False)
        train("bela", memory=three, lm=lm, track=False)
    spent = len(asked)
    said = told("compile", "--users", "amira,bela", "--no-track", "--lm", "stand-in")
    assert {one["state"] for one in said["users"]} == {"finished before"}
    assert len(asked) == spent


@pytest.mark.parametrize("command", [("--user", "amira"), ("--all",)])
def test_what_compile_has_done_train_does_not_do_again(three, told, asked, command):
    told("compile", *command, "--no-track", "--lm", "stand-in")
    spent = len(asked)
    lm = connect("stand-in")
    with Store(three) as store:
        champion = store.of("amira").persona("inbox")
    assert train("amira", memory=three, lm=lm, track=False).persona == champion
    assert train(["amira"], memory=three, lm=lm, track=False).personas == {
        ("amira", "inbox"): champion
    }
    assert len(asked) == spent
    train("amira", memory=three, lm=lm, track=False, restart=True)
    assert len(asked) > spent


def test_the_settings_are_the_options(three, told, asked):
    settings = Setting(iterations=1, batch=2, replay=4)
    train("amira", memory=three, lm=connect("stand-in"), settings=settings, track=False)
    spent = len(asked)
    options = ("--iterations", 1, "--batch", 2, "--replay", 4)
    said = told("compile", "--users", "amira", *options, "--no-track", "--lm", "stand-in")
    assert [one["state"] for one in said["users"]] == ["finished before"]
    assert len(asked) == spent


def test_train_goes_on_where_a_compile_was_stopped(run, three, asked, fresh):
    stopped = ("compile", "--user", "amira", "--no-track", "--lm", "stand-in", "--max-calls", 10)
    assert "goes on from there" in run(*stopped, ok=False).stderr
    train("amira", memory=three, lm=connect("stand-in"), track=False)
    spent = len(asked)
    train("amira", memory=fresh(), lm=connect("stand-in"), track=False)
    assert len(asked) == 2 * spent  # nothing was asked twice


def test_the_default_is_the_database_of_the_command_line_and_its_mlflow_run(three, told):
    notes = []
    made = train("cem", lm=connect("stand-in"), report=lambda user, event: notes.append(event))
    assert told("show", "--user", "cem")["hash"] == made.persona.hash
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])  # whatever else was set before
    (tracked,) = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert tracked.data.tags["personaagent.user"] == "cem"
    assert tracked.data.metrics["calls"] == made.usage["calls"]
    assert not any(isinstance(one, str) for one in notes)


def test_a_memory_is_given_as_itself_as_a_store_or_as_a_path(three, asked):
    with Store(three) as store:
        memory = EpisodicMemory(store, HashEmbedder())
        made = train("cem", memory=memory, lm=connect("stand-in"), track=False)
        spent = len(asked)
        for given in (store, three, str(three)):
            again = train("cem", memory=given, lm=connect("stand-in"), track=False)
            assert again.persona == made.persona
    assert len(asked) == spent
