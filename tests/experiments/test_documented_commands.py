"""The commands of docs/many-users.md and docs/experiments.md, run as they stand."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from documents import DOCS, commands
from lamp_world import lamp_record, lamp_write

MANY, EXPERIMENTS = DOCS / "many-users.md", DOCS / "experiments.md"


@pytest.fixture
def typed(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs what is typed on an empty database, with the stand-in LM as the default one."""
    monkeypatch.setenv("PERSONAAGENT_LM", "sim/inbox")
    monkeypatch.setenv("PERSONAAGENT_DB", str(tmp_path / "memory.db"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return lambda line: command(*shlex.split(line))


@pytest.mark.usefixtures("own")
def test_the_commands_about_many_users_run(typed, tmp_path):
    for short, name in (("h", "history"), ("q", "queries")):
        shutil.copy(tmp_path / f"{name}.jsonl", tmp_path / f"{short}.jsonl")
    typed("import history.jsonl --tasks tasks.json")
    (tmp_path / "tuning").mkdir()
    shutil.copy(DOCS / "tuning" / "setting.json", tmp_path / "tuning")
    shown = commands(MANY)
    assert {one.split()[0] for one in shown} == {
        *("compile", "evaluate", "pool", "queue", "tune", "worker")
    }
    shown.sort(key=lambda one: not one.startswith("pool"))  # it makes what others read
    for one in shown:
        if "--engine ray" not in one:  # tests/cli/test_commands_on_ray.py: in a process of its own
            typed(one)


def test_the_commands_about_experiments_run(typed, own, tmp_path, monkeypatch):
    users = [lamp_record(f"q{n}", f"user{n}") for n in range(6)]
    questions, outputs = lamp_write(tmp_path, users)
    questions.rename(tmp_path / "dev_questions.json")
    outputs.rename(tmp_path / "dev_outputs.json")
    for name in ("history", "queries"):  # two of the three users are in the dev half then
        path = tmp_path / f"{name}.jsonl"
        path.write_text(path.read_text().replace("bela", "elif"))
    first, *others = commands(EXPERIMENTS)
    with monkeypatch.context() as news:
        news.setenv("PERSONAAGENT_LM", "sim/news")
        typed(first)
    assert (tmp_path / "report" / "report.md").is_file()
    shown = [one for one in others if not one.startswith("lamp download")]
    assert len(shown) >= 8
    for one in shown:
        typed(one.replace("…", shlex.join(own)))
