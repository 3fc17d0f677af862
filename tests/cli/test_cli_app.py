"""The application as a whole: help, errors, and what it costs to start."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from importlib.metadata import version

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


def test_the_version_is_printed_without_a_command():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"personaagent {version('personaagent')}\n")


SLOW = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from personaagent.cli import app, session

def slow(where):
    with ThreadPoolExecutor(1) as pool:  # as an alignment waits for the calls under way
        pool.submit(time.sleep, SECONDS)
        print("begun", file=sys.stderr, flush=True)
        time.sleep(60)

session.open_store = slow
sys.argv = ["personaagent", "users"]
app.main()
"""


def interrupted(seconds: float, times: int) -> tuple[int, str, float]:
    """Exit code, stderr and seconds of a command that waits so long after Ctrl-C, pressed so
    often."""
    code = SLOW.replace("SECONDS", str(seconds))
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    child.stderr.readline()
    started = time.monotonic()
    for _ in range(times):
        child.send_signal(signal.SIGINT)
        time.sleep(0.5)
    said = child.communicate(timeout=60)[1]
    return child.returncode, said, time.monotonic() - started


def test_one_ctrl_c_waits_for_what_is_under_way():
    code, said, seconds = interrupted(2, times=1)
    assert (code, said) == (130, "stopped; the same command goes on from here\n")
    assert seconds > 1


def test_a_second_ctrl_c_stops_at_once_and_without_a_traceback():
    code, said, seconds = interrupted(50, times=2)
    assert (code, said) == (130, "")
    assert seconds < 20
