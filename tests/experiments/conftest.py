"""Experiments from the command line, with a stand-in LM and data of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rulebook import RuleBook, stand_in
from standins import HashEmbedder
from typer.testing import CliRunner, Result

from personaagent.cli.app import app
from personaagent.data import LAMP_TASKS, read_tasks

TASKS = [
    {
        "name": "inbox",
        "kind": "classification",
        "instruction": "Which folder does this message belong in?",
        "item": "message",
        "answer": "folder",
        "labels": ["money", "travel", "family"],
    }
]


def mail(user: str, n: int) -> dict[str, Any]:
    return {
        "id": f"{user}-{n}",
        "user": user,
        "task": "inbox",
        "query": f"the car needs part {n}" if n % 2 else f"a ferry sails at {n}",
        "response": "money" if n % 2 else "travel",
        "time": f"2026-03-{n + 1:02}T12:00:00Z",
    }


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    users = ("amira", "bela", "cem")
    past = lines(tmp_path / "history.jsonl", [mail(u, n) for u in users for n in range(12)])
    asked = lines(tmp_path / "queries.jsonl", [mail(u, n) for u in users for n in range(12, 16)])
    (tmp_path / "tasks.json").write_text(json.dumps(TASKS))
    return [
        *("--task", "inbox", "--history", str(past), "--queries", str(asked)),
        *("--tasks", str(tmp_path / "tasks.json"), "--results", str(tmp_path / "results.db")),
    ]


Run = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with a stand-in LM: `sim/inbox` answers from a rule book."""

    def connect(
        spec: str,
        *,
        budget: Any = None,
        meter: Any = None,
        likelihoods: bool | None = None,
        **_: Any,
    ) -> Any:
        news = LAMP_TASKS["lamp-2n"]
        task = read_tasks(tmp_path / "tasks.json")["inbox"] if spec == "sim/inbox" else news
        rules = RuleBook(task, {"ferry": "travel"})
        lm = stand_in(rules, budget=budget, meter=meter, likelihoods=likelihoods is not False)
        lm.identity = replace(lm.identity, spec=spec, fingerprint=spec)
        return lm

    monkeypatch.chdir(tmp_path)
    # An experiment tells the usual memory database of itself.
    monkeypatch.setenv("PERSONAAGENT_DB", str(tmp_path / "memory" / "memory.db"))
    monkeypatch.setenv("COLUMNS", "180")
    monkeypatch.setattr("personaagent.lm.connect", connect)
    monkeypatch.setattr("personaagent.memory.named_embedder", HashEmbedder)

    def run(*arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def evaluate(command: Run) -> Run:
    return partial(command, "evaluate")
