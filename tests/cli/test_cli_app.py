"""The application as a whole: help, errors, and what it costs to start."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from personaagent.cli.app import app

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples(command):
    said = CliRunner().invoke(app, [command, "--help"]).stdout
    assert "Examples" in said
    assert f"personaagent {command}" in said


def test_starting_imports_nothing_heavy():
    heavy = ("dspy", "torch", "sqlalchemy", "mlflow", "datasets", "numpy", "pydantic")
    code = f"import sys, personaagent.cli; print(set({heavy}) & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_the_module_runs():
    command = [sys.executable, "-m", "personaagent", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "personaagent compile --user amira" in said.stdout


def test_an_interrupt_says_how_to_go_on(run, imported, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("personaagent.lm.connect", interrupted)
    result = CliRunner().invoke(app, ["compile", "--user", "amira"])
    assert result.exit_code == 130
    assert result.stderr == "stopped; the same command goes on from here\n"


def test_a_database_that_is_none_is_an_error_without_a_traceback(run, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database" * 100)
    said = run("users", "--db", path, ok=False).stderr
    assert str(path) in said
    assert "Traceback" not in said


def test_a_wrong_option_is_a_usage_error(run):
    result = CliRunner().invoke(app, ["compile", "--user", "amira", "--accept", "never"])
    assert result.exit_code == 2
