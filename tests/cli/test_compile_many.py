"""`compile` for many users: what is done, what is not done twice, and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_world import TASKS, Engine, connect, rows, write
from dspy import lm15

from personaagent.cli.app import app
from personaagent.data import Action, FusionWeights
from personaagent.memory import Store
from personaagent.memory.changes import changed_users
from personaagent.memory.schema import to_version_6
from personaagent.optimizers import Prior, Start

TESTS = Path(__file__).parent.parent


@pytest.fixture
def asked(monkeypatch):
    """The requests that the LM gets; one that holds "boom" fails."""
    requests = []
    answer = Engine.complete

    def complete(self, request):
        requests.append(request)
        if "boom" in repr(request):
            raise lm15.ServerError("no answer to that")
        return answer(self, request)

    monkeypatch.setattr(Engine, "complete", complete)
    return requests


@pytest.fixture
def three(run, tasks, tmp_path):
    """amira, bela and cem with 18, 12 and 9 interactions."""
    given = [*rows(), *rows("bela", 12), *rows("cem", 9)]
    run("import", write(tmp_path / "three.jsonl", given), "--tasks", tasks)


def by_user(said):
    return {one["user"]: one for one in said["users"]}


@pytest.mark.usefixtures("three")
def test_all_users_are_compiled_and_published(told, tmp_path):
    said = told("compile", "--all", "--no-track")
    assert {user: one["state"] for user, one in by_user(said).items()} == dict.fromkeys(
        ("amira", "bela", "cem"), "compiled"
    )
    assert said["failed"] == 0
    assert said["used"]["calls"] == sum(one["calls"] for one in said["users"])
    assert 0 < said["slots"]["busy"] <= 1
    with Store(tmp_path / "memory.db") as store:
        for user, one in by_user(said).items():
            assert store.of(user).persona("inbox").hash == one["hash"]
        learned = store.of("amira").persona("inbox")
    assert any(one.cue == "car" for one in learned.directives)


@pytest.mark.usefixtures("three")
def test_who_is_finished_is_not_done_again(told, asked):
    first = by_user(told("compile", "--users", "bela,cem", "--no-track"))
    spent = len(asked)
    second = by_user(told("compile", "--all", "--no-track"))
    assert second["amira"]["state"] == "compiled"
    assert second["bela"]["state"] == second["cem"]["state"] == "finished before"
    assert second["bela"]["hash"] == first["bela"]["hash"]
    assert len(asked) - spent == second["amira"]["calls"]
    spent = len(asked)
    told("compile", "--all", "--no-track")
    told("compile", "--new", "--no-track")
    assert len(asked) == spent
    assert "bela" in by_user(told("compile", "--users", "bela", "--restart", "--no-track"))
    assert len(asked) > spent


@pytest.mark.usefixtures("three")
def test_a_single_compile_counts_as_done_too(told, asked):
    told("compile", "--user", "bela", "--no-track")
    assert by_user(told("compile", "--all", "--no-track"))["bela"]["state"] == "finished before"


@pytest.mark.usefixtures("three")
def test_new_takes_those_with_interactions_that_no_compile_has_seen(told, run):
    told("compile", "--all", "--no-track")
    run("observe", "the car needs part 99", "money", "--user", "bela", "--task", "inbox")
    assert list(by_user(told("compile", "--new", "--no-track"))) == ["bela"]
    assert by_user(told("compile", "--new", "--no-track")) == {}


@pytest.mark.usefixtures("three")
def test_new_looks_at_those_of_an_older_database_once(told, tmp_path):
    told("compile", "--all", "--no-track")
    with Store(tmp_path / "memory.db") as store:
        with store.database.write() as connection:
            to_version_6(connection)
        assert len(changed_users(store)) == 3
    assert by_user(told("compile", "--new", "--no-track")) == {}
    with Store(tmp_path / "memory.db") as store:
        assert changed_users(store) == []


@pytest.mark.usefixtures("three")
def test_one_user_who_fails_does_not_stop_the_rest(run, tasks, tmp_path, asked):
    bad = [{**row, "query": f"boom {row['query']}"} for row in rows("dana", 9)]
    run("import", write(tmp_path / "bad.jsonl", bad), "--tasks", tasks)
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, ["compile", "--all", "--no-track", "--json"])
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    found = by_user(said)
    assert said["failed"] == 1
    assert found["dana"]["state"] == "failed"
    assert "no answer to that" in found["dana"]["problem"]
    assert {found[user]["state"] for user in ("amira", "bela", "cem")} == {"compiled"}
    with Store(tmp_path / "memory.db") as store:
        assert store.of("dana").persona("inbox") is None


@pytest.mark.usefixtures("three")
def test_a_dry_run_asks_nothing_and_tells_what_is_to_come(told, asked, tmp_path):
    said = told("compile", "--all", "--dry-run")
    ahead = said["estimate"]
    assert asked == []
    assert ahead["users"] == 3
    assert ahead["calls"] <= ahead["most"]
    assert ahead["seconds"] is None  # nothing was measured yet
    assert ahead["money"] == 0
    done = told("compile", "--users", "amira,bela", "--no-track")
    assert done["used"]["calls"] <= done["estimate"]["most"]
    assert told("compile", "--all", "--dry-run")["estimate"]["seconds"] > 0
    assert told("compile", "--user", "cem", "--dry-run")["estimate"]["users"] == 1
    with Store(tmp_path / "memory.db") as store:
        assert store.of("cem").persona("inbox") is None


@pytest.mark.usefixtures("three")
def test_a_used_up_budget_keeps_what_is_done_and_the_same_command_finishes(run, told, asked):
    from typer.testing import CliRunner

    # One kind of proposal: which kinds compete depends on what has won, so on who was done first.
    everyone = ["compile", "--all", "--no-track", "--update", "edits"]
    whole = CliRunner().invoke(app, [*everyone, "--max-calls", "30"])
    assert whole.exit_code == 1
    assert "the budget of 30 calls is used up" in whole.stdout
    assert len(asked) == 30
    said = told(*everyone)
    assert said["failed"] == 0
    spent = len(asked)
    os.environ["PERSONAAGENT_DB"] += ".fresh"
    run("import", "three.jsonl", "--tasks", "tasks.json")
    told(*everyone)
    assert len(asked) - spent == spent  # nothing was asked twice


@pytest.mark.usefixtures("three")
def test_people_read_a_table(run):
    said = run("compile", "--all", "--slots", 3).stdout
    assert "3 users: about" in said
    assert "✓ amira: version" in said
    assert "3 slots busy" in said


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "whose persona?"),
        (("--all", "--user", "amira"), "whose persona?"),
        (("--users", "amir"), "there is no user 'amir': did you mean 'amira'?"),
        (("--all", "--task", "stares"), "there is no task 'stares'"),
        (("--all", "--questions", "q.json"), "--questions goes with --user"),
    ],
)
@pytest.mark.usefixtures("three")
def test_what_is_missing_is_said(run, arguments, problem):
    assert problem in run("compile", *arguments, ok=False).stderr


# Several tasks


@pytest.fixture
def two_tasks(run, tmp_path):
    """amira and bela with an inbox, bela and cem with chores."""
    kinds = [*TASKS, {**TASKS[0], "name": "chores"}]
    (tmp_path / "two.json").write_text(json.dumps(kinds))
    chores = [
        {**row, "task": "chores", "id": f"c-{row['id']}"}
        for row in [*rows("bela", 9), *rows("cem", 9)]
    ]
    given = [*rows(count=12), *rows("bela", 12), *chores]
    run("import", write(tmp_path / "two.jsonl", given), "--tasks", tmp_path / "two.json")


@pytest.mark.usefixtures("two_tasks")
def test_all_compiles_every_user_in_every_task_that_the_user_has(told, tmp_path):
    said = told("compile", "--all", "--no-track")
    assert said["failed"] == 0
    assert said["tasks"] == ["chores", "inbox"]
    assert said["estimate"]["users"] == 3
    done = {(one["user"], one["task"]): one for one in said["users"]}
    assert set(done) == {
        ("amira", "inbox"),
        ("bela", "inbox"),
        ("bela", "chores"),
        ("cem", "chores"),
    }
    with Store(tmp_path / "memory.db") as store:
        for (user, task), one in done.items():
            assert store.of(user).persona(task).hash == one["hash"]
    again = told("compile", "--all", "--no-track")
    assert {one["state"] for one in again["users"]} == {"finished before"}
    assert again["used"]["calls"] == 0


@pytest.mark.usefixtures("two_tasks")
def test_people_read_which_task_it_is(run):
    said = run("compile", "--all", "--no-track").stdout
    assert "4 personas: about" in said
    assert "✓ bela, chores: version" in said
    assert "✓ bela, inbox: version" in said


@pytest.mark.usefixtures("two_tasks")
def test_one_user_needs_the_name_of_a_task_also_to_be_told_what_it_costs(run):
    said = run("compile", "--user", "bela", "--dry-run", ok=False).stderr
    assert "several tasks: name one with --task (chores, inbox)" in said


@pytest.mark.usefixtures("two_tasks")
def test_a_prior_is_of_one_task(run, told, prior):
    said = run("compile", "--all", "--prior", prior, "--no-track", ok=False).stderr
    assert "name that with --task inbox" in said
    told("compile", "--all", "--prior", prior, "--task", "inbox", "--no-track")


# The file that `--config` takes


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", '{"iterations": 2, "k": 7}'), ("a.toml", "iterations = 2\nk = 7\n")],
)
def test_a_file_gives_the_options_and_the_command_line_goes_before_it(told, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    given = told("compile", "--user", "cem", "--config", name, "--no-track")
    assert given["log"]["settings"]["iterations"] == 2
    assert given["log"]["settings"]["batch"] == 4
    over = told("compile", "--user", "cem", "--config", name, "--iterations", 1, "--no-track")
    assert over["log"]["settings"]["iterations"] == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"iteration": 2}', "field 'iteration': it is not known: did you mean 'iterations'?"),
        ('{"batch": 0}', "field 'batch'"),
        ('{"update": "none"}', "field 'update'"),
        ('{"k": 9}', "field 'k'"),
        ("[1]", "an object {...} is due"),
        ("{", "not valid JSON"),
    ],
)
@pytest.mark.usefixtures("three")
def test_a_wrong_file_is_refused_with_its_place(run, tmp_path, text, problem):
    (tmp_path / "a.json").write_text(text)
    said = run("compile", "--user", "cem", "--config", "a.json", ok=False).stderr
    assert problem in said
    assert "a.json" in said


# Where new personas start


@pytest.fixture
def prior(tmp_path):
    """What a cohort learned with the stand-in LM: no profile, always recall."""
    start = Start(profile=False, actions=(Action("recall"),), trust=FusionWeights(habit=0.7))
    learned = Prior("inbox", connect("embedded").fingerprint, start, users=5)
    (tmp_path / "prior.json").write_text(json.dumps(learned.to_dict()))
    return "prior.json"


@pytest.mark.usefixtures("three")
def test_a_prior_is_where_personas_start_for_one_user_and_for_many(told, prior):
    one = told("compile", "--user", "cem", "--prior", prior, "--no-track")
    assert (one["log"]["first"]["profile"], one["log"]["first"]["trust"]["habit"]) == ("", 0.7)
    assert [action["tool"] for action in one["log"]["first"]["actions"]] == ["recall"]
    many = by_user(told("compile", "--all", "--prior", prior, "--no-track"))
    assert [many[user]["state"] for user in ("amira", "bela", "cem")] == [
        "compiled",
        "compiled",
        "finished before",
    ]
    assert told("show", "--user", "amira")["profile"] == ""
    assert by_user(told("compile", "--users", "cem", "--no-track"))["cem"]["state"] == "compiled"


@pytest.mark.usefixtures("three")
def test_the_worker_takes_a_prior_too(run, told, prior):
    run("worker", "--once", "--prior", prior, "--no-track")
    assert {told("show", "--user", user)["profile"] for user in ("amira", "bela", "cem")} == {""}


@pytest.mark.usefixtures("three")
def test_a_prior_of_another_lm_is_refused(run, prior):
    (path := Path(prior)).write_text(path.read_text().replace('"lm": "', '"lm": "other '))
    said = run("compile", "--user", "cem", "--prior", prior, "--no-track", ok=False).stderr
    assert "learned with another LM" in said
    assert "no prior" in run("compile", "--all", "--prior", "three.jsonl", ok=False).stderr


# kill -9


def start(folder: Path, seconds: float) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS / 'cli'}{os.pathsep}{TESTS.parent}",
        "CALLS": str(folder / "calls"),
        "SECONDS": str(seconds),
        "PERSONAAGENT_DB": str(folder / "memory.db"),
    }
    command = [sys.executable, str(TESTS / "cli" / "compiler.py")]
    return subprocess.Popen(
        [*command, "compile", "--all", "--no-track", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def calls(folder: Path) -> int:
    log = folder / "calls"
    return log.stat().st_size if log.exists() else 0


def finished(folder: Path) -> set[str]:
    with Store(folder / "memory.db") as store:
        return {one for one in ("amira", "bela", "cem") if store.of(one).persona("inbox")}


@pytest.mark.usefixtures("three")
def test_after_kill_9_no_finished_user_is_done_again(tmp_path: Path) -> None:
    process = start(tmp_path, 0.05)
    deadline = time.monotonic() + 90
    while not finished(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done, killed_at = finished(tmp_path), calls(tmp_path)
    assert done
    assert len(done) < 3

    told, _ = start(tmp_path, 0).communicate(timeout=120)

    found = by_user(json.loads(told))
    assert {user for user, one in found.items() if one["state"] == "finished before"} == done
    again = {user: one for user, one in found.items() if user not in done}
    assert {one["state"] for one in again.values()} == {"compiled"}
    assert calls(tmp_path) - killed_at == sum(one["calls"] for one in again.values())
    assert finished(tmp_path) == {"amira", "bela", "cem"}


@pytest.mark.usefixtures("three")
def test_two_processes_that_align_the_same_users_at_once_publish_each_persona_once(
    tmp_path: Path,
) -> None:
    both = [start(tmp_path, 0.02) for _ in range(2)]
    told = [by_user(json.loads(process.communicate(timeout=120)[0])) for process in both]
    for user in ("amira", "bela", "cem"):
        with Store(tmp_path / "memory.db") as store:
            (version,) = store.of(user).personas("inbox")
        states = sorted(one[user]["state"] for one in told)
        assert states in (["compiled", "failed"], ["compiled", "finished before"])
        for one in told:
            if one[user]["state"] == "failed":
                assert "is at work on this user's persona" in one[user]["problem"]
            else:
                assert one[user]["hash"] == version.hash
