"""The README's own data, commands and program, run in their order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import dspy
import pytest
from cli_world import Run
from rulebook import RuleBook, stand_in
from standins import HashEmbedder

import personaagent
from personaagent.data import Classification

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMANDS = re.findall(r"^\| `personaagent ([^`]+)` \|", README, re.M)
LINES = [block.strip() for block in re.findall(r"^```\n(.*?)^```", README, re.M | re.S)]
HISTORY = next(block for block in LINES if block.startswith('{"id"'))
TASKS = next(block for block in LINES if block.startswith('[{"name"'))
PROGRAM = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)


@pytest.fixture
def files(run: Run, tmp_path: Path) -> None:
    """The README's history and tasks in the working directory of `run`."""
    (tmp_path / "history.jsonl").write_text(HISTORY + "\n")
    (tmp_path / "tasks.json").write_text(TASKS)


@pytest.mark.usefixtures("files")
def test_every_command_of_the_readme_runs_in_its_order(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli_world.Engine.answers", {"Which folder": '{"answer": "home"}'})
    assert len(COMMANDS) >= 10
    for command in COMMANDS:
        run(*shlex.split(command))


@pytest.mark.usefixtures("files")
def test_the_readmes_programs_run_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("work", "money", "home", "family")
    task = Classification("inbox", "Which folder?", labels=labels, item="message", answer="folder")
    monkeypatch.setattr(personaagent, "connect", lambda spec: stand_in(RuleBook(task)))
    monkeypatch.setattr(personaagent, "SentenceEmbedder", HashEmbedder)
    monkeypatch.setattr(dspy, "configure", lambda lm: None)
    program, training = PROGRAM
    names: dict[str, Any] = {}
    with dspy.context(lm=stand_in(RuleBook(task))):
        exec(program, names)
        assert capsys.readouterr().out.startswith(labels)
        assert Path("amira.json").is_file()
        exec(training, names)
    assert "amira inbox 0" in capsys.readouterr().out
    assert names["cohort"].personas["amira", "inbox"] == names["amira"].persona
    assert names["cohort"].failed == {}
