"""The command line on a fresh database, with a stand-in LM and embedder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_world import TASKS, Run, connect, rows, write
from standins import HashEmbedder
from typer.testing import CliRunner, Result

from personaagent.cli.app import app


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in `tmp_path`; `ok=False` where it must fail, None where either will do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERSONAAGENT_DB", str(tmp_path / "memory.db"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("personaagent.lm.connect", connect)
    monkeypatch.setattr("personaagent.memory.named_embedder", HashEmbedder)
    runner = CliRunner()

    def run(*arguments: object, ok: bool | None = True) -> Result:
        result = runner.invoke(app, [str(one) for one in arguments])
        if ok is None:
            return result
        if ok:
            assert result.exit_code == 0, result.output
        else:
            assert result.exit_code == 1, result.output
            assert result.stdout == ""
            assert result.stderr.startswith("error: ")
        return result

    return run


@pytest.fixture
def told(run: Run) -> Callable[..., Any]:
    """Runs a command with --json; the document that is on stdout."""

    def told(*arguments: object) -> Any:
        return json.loads(run(*arguments, "--json").stdout)

    return told


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(TASKS))
    return path


@pytest.fixture
def imported(run: Run, tasks: Path, tmp_path: Path) -> Path:
    """A database with amira's 18 and bela's 4 interactions; the file that they came from."""
    path = write(tmp_path / "history.jsonl", [*rows(), *rows("bela", 4)])
    run("import", path, "--tasks", tasks)
    return path
