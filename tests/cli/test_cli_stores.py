"""Databases as a command finds them: not there, read-only, and whose they are."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_world import rows, write
from typer.testing import CliRunner
from unprivileged import open_folder, unprivileged

from personaagent.cli.app import app
from personaagent.lm.written import hide_responses
from personaagent.memory import Store

COMPILE = ("compile", "--user", "amira", "--replay", "6", "--iterations", "1")


@pytest.mark.parametrize(
    "command",
    [
        ("users",),
        ("show", "--user", "amira"),
        ("ask", "the car", "--user", "amira"),
        ("observe", "the car", "money", "--user", "amira", "--task", "lamp-2n"),
        ("compile", "--all"),
        ("queue",),
        ("worker", "--once"),
        ("forget", "--user", "amira", "--all", "--yes"),
        ("export-all", "--user", "amira", "--out", "x.jsonl"),
        ("tune",),
    ],
)
def test_a_mistyped_database_is_said_and_not_made(run, tmp_path, command):
    said = run(*command, "--db", tmp_path / "typo" / "dir" / "x.db", ok=False).stderr
    assert "x.db: there is no such database" in said
    assert not (tmp_path / "typo").exists()


def test_the_other_side_of_a_sync_is_not_made_either(run, imported, tmp_path):
    said = run("sync", f"sqlite:///{tmp_path}/typo/x.db", ok=False).stderr
    assert "there is no such database" in said
    assert not (tmp_path / "typo").exists()


def test_what_brings_first_data_makes_the_database(run, told, imported, tasks, tmp_path):
    run("export-all", "--user", "amira", "--out", "amira.jsonl")
    run("sync", "amira.jsonl", "--db", tmp_path / "a" / "x.db")
    run("import", imported, "--tasks", tasks, "--db", tmp_path / "b" / "x.db")
    for part in "ab":
        assert told("users", "--db", tmp_path / part / "x.db")["users"]


@pytest.fixture
def disk(run, imported, tmp_path) -> Iterator[Path]:
    """A database with a persona of amira's, on a read-only disk."""
    run(*COMPILE, "--no-track")
    with open_folder() as folder:
        (folder / "disk").mkdir()
        file = Path(shutil.copy(tmp_path / "memory.db", folder / "disk"))
        file.chmod(0o444)
        file.parent.chmod(0o555)
        yield file


def as_nobody(*arguments: object) -> tuple[int, str]:
    def invoke() -> tuple[int, str]:
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        return result.exit_code, result.output

    return unprivileged(invoke)


@pytest.mark.parametrize(
    "command",
    [
        ("users",),
        ("show", "--user", "amira"),
        ("blame", "--user", "amira"),
        ("history", "--user", "amira"),
        ("queue",),
        ("quarantine", "--user", "amira"),
        ("ask", "the car is old", "--user", "amira"),
    ],
)
def test_what_only_reads_works_on_a_read_only_disk(disk, command):
    code, said = as_nobody(*command, "--db", disk)
    assert code == 0, said
    assert list(disk.parent.iterdir()) == [disk]


@pytest.mark.parametrize("command", ["export", "export-all"])
def test_an_export_from_a_read_only_disk_says_that_it_is_not_noted(disk, command):
    out = disk.parent.parent / "amira.json"
    code, said = as_nobody(command, "--user", "amira", "--out", out, "--db", disk)
    assert code == 0, said
    assert out.is_file()
    assert "'personaagent forget' will not delete it" in said


def test_a_read_only_disk_is_taken_in_by_sync(disk):
    mine = disk.parent.parent / "mine.db"
    code, said = as_nobody("sync", disk, "--db", mine)
    assert code == 0, said
    with Store(mine) as store:
        assert store.of("amira").count() == 18
    mine.chmod(0o666)


def test_what_writes_says_that_the_disk_is_read_only(disk):
    for command in (
        ("observe", "the car", "money", "--user", "amira"),
        ("forget", "--user", "amira", "--all", "--yes"),
        ("sync", disk.parent.parent / "none.db"),
    ):
        code, said = as_nobody(*command, "--db", disk)
        assert code == 1
        assert "read-only" in said or "no such" in said.lower()


def others_may(path: Path) -> bool:
    """Whether others may reach a file of this folder."""
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def test_every_file_that_holds_texts_is_its_owners_alone(run, imported, tmp_path, monkeypatch):
    old = os.umask(0)
    try:
        home = tmp_path / "home"
        monkeypatch.setenv("PERSONAAGENT_DB", str(home / "memory.db"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
        more = write(tmp_path / "more.jsonl", [*rows(), *rows("bela")])
        run("import", more, "--tasks", tmp_path / "tasks.json")
        run(*COMPILE)
        run("export", "--user", "amira", "--out", home / "personas")
        run("export", "--user", "amira", "--out", home / "p.json", "--format", "dspy")
        run("export", "--user", "amira", "--out", home / "model", "--format", "mlflow")
        run("export-all", "--user", "amira", "--out", home / "all" / "amira.jsonl")
        run("tune", "--trials", 1, "--users", 2, "--max-calls", 20, "--out", home / "t", ok=False)
    finally:
        os.umask(old)

    def reached(folder: Path) -> Iterator[Path]:
        if others_may(folder):
            for one in folder.iterdir():
                if one.is_dir():
                    yield from reached(one)
                elif others_may(one):
                    yield one

    for one in [home, *home.iterdir()]:  # even if somebody opened the folder itself
        assert not others_may(one) or not list(reached(one) if one.is_dir() else [one]), one
    assert {one.name for one in home.iterdir() if one.is_file()} >= {"memory.db", "mlflow.db"}


def test_dspys_cache_is_closed_to_others(tmp_path):
    import dspy

    before = dspy.cache
    try:
        dspy.configure_cache(disk_cache_dir=str(tmp_path / "responses"))
        (tmp_path / "responses").chmod(0o755)
        hide_responses()
        assert not others_may(tmp_path / "responses")
        dspy.configure_cache(enable_disk_cache=False)
        hide_responses()
    finally:
        dspy.cache = before
