"""`compile --engine ray`, the command in a process of its own with a cluster of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_world import rows, write
from documents import DOCS, commands
from openai_server import serving
from rulebook import RuleBook

from personaagent.memory import Store
from personaagent.memory.tasks import load_tasks


def test_ray_is_for_many_users(run, imported):
    said = run("compile", "--user", "amira", "--engine", "ray", ok=False)
    assert "--engine ray is for many users" in said.stderr


def test_a_budget_is_refused_before_a_cluster_is_made(run, imported):
    said = run("compile", "--all", "--engine", "ray", "--max-calls", "9", ok=None)
    assert said.exit_code == 1
    assert "a budget is kept by one process" in said.stderr


TYPED = """
import contextlib, json, pathlib, shlex, sys
import ray
from personaagent.cli.app import app

ray.init(address="local", num_cpus=1, log_to_driver=False)
for n, line in enumerate(json.loads(sys.argv[1])):
    with pathlib.Path(f"said-{n}").open("w") as file, contextlib.redirect_stdout(file):
        app(shlex.split(line), standalone_mode=False)
"""


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_the_commands_of_the_documents_run_on_a_cluster(run, tasks, tmp_path: Path):
    """All of them in one process, on one cluster."""
    run(
        "import",
        write(tmp_path / "two.jsonl", [*rows(count=10), *rows("bela", 9)]),
        "--tasks",
        tasks,
    )
    write(tmp_path / "h.jsonl", [*rows(count=10), *rows("bela", 8)])
    asked = [row | {"id": f"q-{row['id']}"} for row in rows(count=14)[10:]]
    write(tmp_path / "q.jsonl", asked)
    if tasks != tmp_path / "tasks.json":
        (tmp_path / "tasks.json").write_text(Path(tasks).read_text())
    with Store(tmp_path / "memory.db") as store:
        inbox = load_tasks(store)["inbox"]
    learning = "--iterations 1 --replay 4"
    more = {
        "worker": "--once --threshold 1 --no-track",
        "compile": f"{learning} --no-track --json",
        "tune": "--trials 2 --users 2 --held-out 2 --json",
        "evaluate": f"{learning} --systems rag,personaagent --results results.db --json",
    }
    shown = [one for one in commands(DOCS / "many-users.md") if "--engine ray" in one]
    assert [one.split()[0] for one in shown] == list(more)
    with serving(RuleBook(inbox, {"car": "money", "ferry": "travel"})) as address:
        lines = [f"{one} --api-base {address} {more[one.split()[0]]}" for one in shown]
        done = subprocess.run(
            [sys.executable, "-c", TYPED, json.dumps(lines)],
            capture_output=True,
            text=True,
            env=os.environ | {"OPENAI_API_KEY": "of-a-test"},
            timeout=400,
        )
    assert done.returncode == 0, done.stderr
    _, *told = [(tmp_path / f"said-{n}").read_text() for n in range(len(shown))]
    worked = [line.split(" · ") for line in done.stderr.splitlines() if " · inbox: " in line]
    assert {user for user, _ in worked} == {"amira", "bela"}
    assert not any("failed" in outcome for _, outcome in worked)
    compiled, tuned, evaluated = map(json.loads, told)
    assert {one["user"]: one["state"] for one in compiled["users"]} == dict.fromkeys(
        ("amira", "bela"), "compiled"
    )
    assert compiled["used"]["calls"] == sum(one["calls"] for one in compiled["users"]) > 0
    with Store(tmp_path / "memory.db") as store:
        for one in compiled["users"]:
            assert store.of(one["user"]).persona("inbox").hash == one["hash"]
    assert [one["number"] for one in tuned["trials"]] == [0, 1]
    (experiment,) = evaluated["experiments"]
    answered = {one["system"]: one["answered"] for one in experiment["systems"]}
    assert answered == {"rag": 4, "personaagent": 4}
