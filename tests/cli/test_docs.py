"""The commands, programs and requests of the documentation, run as they stand."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import zipfile
from pathlib import Path
from typing import Any

import dspy
from cli_world import Run
from rulebook import RuleBook, stand_in
from standins import HashEmbedder

from personaagent.data import Persona
from personaagent.importers import IMPORTERS
from personaagent.memory import EpisodicMemory, Store
from personaagent.memory.tasks import load_tasks
from personaagent.programs import PersonaAgent
from personaagent.tracking import register
from personaagent.tracking.connection import current
from personaagent.tracking.served import Question

DOCS, CASES = Path(__file__).parents[2] / "docs", Path(__file__).parents[1] / "cases"
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
    memory = {"id": "1", "memory": "Amira sold her car.", "user_id": "amira"}
    (tmp_path / "memories.json").write_text(json.dumps([memory]))
    shutil.copy(CASES / "chatgpt-export.zip", tmp_path)
    said = {"uuid": "1", "sender": "human", "content": [{"type": "text", "text": "Tyres?"}]}
    asked = {"header": "Gemini Apps", "title": "Prompted Tyres?", "time": "2025-10-09T09:00:00Z"}
    for name, file, record in (
        ("claude-export.zip", "conversations.json", {"uuid": "c", "chat_messages": [said]}),
        ("takeout.zip", "Takeout/My Activity/Gemini Apps/MyActivity.json", asked),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(file, json.dumps([record]))
    said_so = {command: run(*shlex.split(command)).stdout for command in commands(IMPORTS)}
    for name in IMPORTERS:
        (command,) = [one for one in said_so if f"--from {name} " in one]
        assert "new interaction" in said_so[command]
    assert any("--skip-malformed" in command for command in said_so)
