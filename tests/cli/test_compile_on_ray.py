"""`compile --engine ray`, the command in a process of its own with a cluster of its own."""

from __future__ import annotations

import json
import os
import shlex
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


@pytest.mark.cluster
def test_the_command_of_the_documents_compiles_all_users(run, tasks, tmp_path: Path):
    given = [*rows(count=10), *rows("bela", 8)]
    run("import", write(tmp_path / "two.jsonl", given), "--tasks", tasks)
    with Store(tmp_path / "memory.db") as store:
        inbox = load_tasks(store)["inbox"]
    with serving(RuleBook(inbox, {"car": "money", "ferry": "travel"})) as address:
        options = ["--api-base", address, "--iterations", "1", "--replay", "4", "--no-track"]
        (shown,) = [one for one in commands(DOCS / "many-users.md") if "--engine ray" in one]
        done = subprocess.run(
            [sys.executable, "-m", "personaagent", *shlex.split(shown), *options, "--json"],
            capture_output=True,
            text=True,
            env=os.environ | {"OPENAI_API_KEY": "of-a-test"},
            timeout=200,
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {one["user"]: one["state"] for one in said["users"]} == dict.fromkeys(
        ("amira", "bela"), "compiled"
    )
    assert said["used"]["calls"] == sum(one["calls"] for one in said["users"]) > 0
    with Store(tmp_path / "memory.db") as store:
        for one in said["users"]:
            assert store.of(one["user"]).persona("inbox").hash == one["hash"]
