"""The commands, programs and requests of the documentation, run as they stand."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import dspy
from cli_world import Run
from rulebook import RuleBook, stand_in
from standins import HashEmbedder
from test_cli_data import CONVERSATION

from personaagent.data import Persona
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.tasks import load_tasks
from personaagent.programs import PersonaAgent
from personaagent.tracking import register
from personaagent.tracking.connection import current
from personaagent.tracking.served import Question

DOCS = Path(__file__).parents[2] / "docs"
MLFLOW, IMPORTS = ((DOCS / name).read_text() for name in ("mlflow.md", "imports.md"))


def commands(text: str) -> list[str]:
    return re.findall(r"^personaagent (.+)$", text, re.M)


def test_the_commands_about_mlflow_run(run: Run, imported: Path, tmp_path: Path):
    for user in ("amira", "bela"):
        run("compile", "--user", user, "--replay", "2", "--no-track")
    (export,) = commands(MLFLOW)
    run(*shlex.split(export))
    assert (tmp_path / "model" / "MLmodel").is_file()


def test_the_request_to_the_server_is_one_that_it_takes():
    (body,) = re.findall(r"-d '\n(.*?)'\n", MLFLOW, re.S)
    asked = [Question.model_validate(one) for one in json.loads(body)["inputs"]]
    assert [one.user for one in asked] == ["amira", "bela"]


def test_the_programs_about_mlflow_run(imported: Path, tmp_path: Path):
    persona = Persona("amira", "inbox", profile="Drives.", actions=())
    with current(f"sqlite:///{tmp_path}/mlflow.db"), Store(tmp_path / "memory.db") as store:
        register(persona)
        task = load_tasks(store)["inbox"]
        agent = PersonaAgent(task, EpisodicMemory(store, HashEmbedder()))
        names: dict[str, Any] = {"agent": agent, "persona": persona, "task": task}
        with dspy.context(lm=stand_in(RuleBook(task))):
            for program in re.findall(r"^```python\n(.*?)^```", MLFLOW, re.M | re.S):
                exec(program, names)
    assert names["system_message"] == persona.render()
    assert names["address"].startswith("models:/")


def test_the_commands_about_imports_run(run: Run, imported: Path, tmp_path: Path):
    (tmp_path / "conversations.json").write_text(json.dumps([CONVERSATION]))
    memory = {"id": "1", "memory": "Amira sold her car.", "user_id": "amira"}
    (tmp_path / "memories.json").write_text(json.dumps([memory]))
    assert len(commands(IMPORTS)) == 3
    for command in commands(IMPORTS):
        run(*shlex.split(command))
