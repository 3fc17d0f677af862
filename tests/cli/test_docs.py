"""The commands, programs and requests of the documentation, run as they stand."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import dspy
import pytest
from cli_world import Run
from rulebook import RuleBook, stand_in
from standins import HashEmbedder

from personaagent.data import Persona
from personaagent.data.importers import IMPORTERS
from personaagent.memory import EpisodicMemory, Store, erasure
from personaagent.memory.schema import metadata
from personaagent.memory.tasks import load_tasks
from personaagent.programs import PersonaAgent
from personaagent.tracking import register
from personaagent.tracking.connection import address, current
from personaagent.tracking.served import Question

DOCS, CASES = Path(__file__).parents[2] / "docs", Path(__file__).parents[1] / "cases"
MLFLOW, IMPORTS, STORES = (
    (DOCS / name).read_text() for name in ("mlflow.md", "imports.md", "stores.md")
)


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


def test_the_commands_about_imports_run(
    run: Run, imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cli_world.Engine.answers", {"Note down": '{"notes": []}'})
    talk = {"user": "amira", "messages": [{"role": "user", "text": "Tyres?"}]}
    (tmp_path / "chats.jsonl").write_text(json.dumps(talk))
    table = "id,user,task,query,response\nt1,amira,inbox,Tyres?,money\n"
    (tmp_path / "history.csv").write_text(table)
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


@pytest.mark.skipif(sys.platform != "linux", reason="the path in the documents is Linux's")
def test_the_data_folder_is_where_the_documents_say(tmp_path, monkeypatch):
    for name in ("XDG_DATA_HOME", "MLFLOW_TRACKING_URI", "PERSONAAGENT_DB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (shown,) = re.findall(r"^mlflow ui --backend-store-uri (.+)$", MLFLOW, re.M)
    assert shown.replace("$HOME", str(tmp_path)) == address(None)
    assert "`~/.local/share/personaagent` on Linux" in STORES
    with Store() as store:
        assert store.name == str(tmp_path / ".local" / "share" / "personaagent" / "memory.db")


def test_every_table_that_holds_a_users_data_is_erased_or_kept_on_purpose():
    """A table that is added is looked at: it is dropped with its user unless it says why not."""
    named = {table.name for table in metadata.sorted_tables if "user" in table.c}
    assert named - erasure._NOT_DERIVED == {"journal", "turns", "jobs", "waiting"}
    assert erasure._KEPT <= erasure._NOT_DERIVED <= named | {"merges"}
