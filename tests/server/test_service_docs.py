"""Every line of docs/service.md, run against a server by curl itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from openai_server import serving
from rulebook import RuleBook
from running import served
from typer.testing import CliRunner

from personaagent.cli.app import app
from personaagent.data import Classification, Directive, Interaction, Persona
from personaagent.memory import Store
from personaagent.memory.tasks import save_tasks
from personaagent.server.keys import Keys

PAGE = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
INBOX = Classification("inbox", "Which folder?", labels=("money", "travel", "family"))

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the lines are curl's")


def lines() -> list[str]:
    """The calls, each whole, in their order."""
    found = []
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S):
        found += [one.strip() for one in re.split(r"^(?=curl )", block, flags=re.M) if one.strip()]
    return found


def test_every_call_of_the_page_does_what_it_says(tmp_path):
    database = tmp_path / "memory.db"
    with Store(database) as store, serving(RuleBook(INBOX, {"car": "money"})) as lm:
        save_tasks(store, [INBOX])
        for user in ("amira", "bela"):
            store.add([Interaction("a", user, "inbox", "the car", "money")])
        rule = Directive("If the message mentions car, answer money.", "car", 0.4, ("a",))
        first = Persona("amira", "inbox", profile="Drives.", actions=())
        store.of("amira").publish(first, expected=None, reason="first")
        second = first.succeed(directives=(rule,))
        store.of("amira").publish(second, expected=first.hash, reason="better")
        options = ("--lm", "openai/stand-in", "--likelihoods", "--api-base", lm)
        with served(database, *options) as (_, address):
            told = {}
            names = {"ANSWER": "", "KEY": "", "ADMIN_KEY": ""}
            for line in lines():
                if "$KEY" in line:
                    names["KEY"], _ = Keys(store).add()
                    names["ADMIN_KEY"], _ = Keys(store).add(scopes=["admin"])
                command = line.replace("localhost:8000", address).replace("curl", "curl -sSf", 1)
                done = subprocess.run(
                    ["bash", "-c", command], env=names | {"PATH": "/usr/bin:/bin"},
                    cwd=tmp_path, capture_output=True, text=True, timeout=60,
                )  # fmt: skip
                assert done.returncode == 0, f"{line}\n{done.stderr}"
                told[line.split("\n")[0]] = done.stdout
                if "/v1/answers" in line:
                    names["ANSWER"] = json.loads(done.stdout)["id"]
    assert len(told) == len(lines()) > 25
    assert next(said for line, said in told.items() if "text/markdown" in line).startswith("# ")
    assert next(said for line, said in told.items() if "events" in line).startswith("event: kept")
    assert (tmp_path / "amira.jsonl").read_text().startswith('{"created"')


def test_the_commands_about_keys_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONAAGENT_DB", str(tmp_path / "memory.db"))
    commands = re.findall(r"^personaagent (keys .+)$", PAGE, re.M)
    assert len(commands) == 4
    for command in commands:
        words = [one.strip('"') for one in re.findall(r'"[^"]*"|\S+', command)]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
