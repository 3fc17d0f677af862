"""What README and docs/ tell a user to type: data, commands and programs, run in their order."""

from __future__ import annotations

import gzip
import json
import shlex
from pathlib import Path
from typing import Any

import dspy
import pytest
from cli_world import Run
from documents import DOCS, ROOT, block, blocks, commands
from rulebook import RuleBook, stand_in
from standins import HashEmbedder

import personaagent
from personaagent.data import LAMP_TASKS, Classification

README, USAGE = ROOT / "README.md", DOCS / "usage.md"
PYTHON = DOCS / "python.md"
LABELS = ("work", "money", "home", "family")


@pytest.fixture
def typed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run` with a page's history and tasks in the working directory."""
    monkeypatch.setattr("cli_world.Engine.answers", {"Which folder": '{"answer": "home"}'})
    (tmp_path / "history.jsonl").write_text(block(README, '{"id"'))
    (tmp_path / "tasks.json").write_text(block(README, '[{"name"'))
    return run


def test_readme_and_usage_show_the_same_data():
    for start in ('{"id"', '[{"name"'):
        assert block(README, start) == block(USAGE, start)


def test_the_commands_of_the_readme_run_in_their_order(typed: Run):
    shown = commands(README)
    assert [one.split()[0] for one in shown] == ["import", "compile", "ask", "observe", "show"]
    for command in shown:
        typed(*shlex.split(command))


def test_the_commands_of_usage_run_in_their_order(typed: Run):
    shown = [one for one in commands(USAGE) if "NAME" not in one and "lamp" not in one]
    assert len(shown) == 20
    for command in shown:
        typed(*shlex.split(command))


@pytest.mark.parametrize("page", [README, PYTHON], ids=lambda page: page.name)
@pytest.mark.usefixtures("typed")
def test_the_program_runs(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    task = Classification("inbox", "Which folder?", labels=LABELS)
    monkeypatch.setattr(personaagent, "connect", lambda spec: stand_in(RuleBook(task)))
    monkeypatch.setattr(personaagent, "SentenceEmbedder", HashEmbedder)
    monkeypatch.setattr(dspy, "configure", lambda lm: None)
    program, *training = blocks(page, "python")
    names: dict[str, Any] = {}
    with dspy.context(lm=stand_in(RuleBook(task))):
        exec(program, names)
        assert capsys.readouterr().out.startswith(LABELS)
        assert Path("amira.json").is_file() == ("amira.save" in program)
        for more in training:
            exec(more, names)
            assert "amira inbox 0" in capsys.readouterr().out
            assert names["cohort"].personas["amira", "inbox"] == names["amira"].persona
            assert names["cohort"].failed == {}
    assert bool(training) == (page == PYTHON)


def test_the_command_about_lamp_reads_a_file_of_the_benchmark(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cli_world.Engine.answers", {"Which tag": '{"answer": "comedy"}'})
    movie = {"id": "p1", "tag": "comedy", "description": "A clown runs away."}
    question = {"id": "1", "user_id": "110", "profile": [movie]}
    question["input"] = LAMP_TASKS["lamp-2m"].prompt("A clown comes home.")
    with gzip.open(tmp_path / "LaMP_2_questions.json.gz", "wt") as file:
        json.dump([question], file)
    golds = {"task": "LaMP_2", "golds": [{"id": "1", "output": "comedy"}]}
    (tmp_path / "LaMP_2_outputs.json").write_text(json.dumps(golds))
    (command,) = [one for one in commands(USAGE) if "lamp" in one]
    assert "1 held-out question" in run(*shlex.split(command)).stdout
