"""`forget`: a canary that is planted everywhere is found nowhere afterwards."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import dspy
import pytest
from cli_world import Engine, rows, write
from mlflow import MlflowClient

from personaagent.data import Item
from personaagent.memory import Store
from personaagent.privacy.forgetting import Finished, finish, forget, unfinished_users

CANARY = "xyzzycanary"
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
COMPILE = ("compile", "--user", "amira", "--replay", "6", "--iterations", "1")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """DSPy's response cache in the test's folder."""
    before = dspy.cache
    folder = tmp_path / "responses"
    dspy.configure_cache(disk_cache_dir=str(folder))
    yield folder
    dspy.cache = before


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory) -> Path:
    """An empty database of MLflow: to make one takes ten seconds."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def planted(run, told, tasks, tmp_path, monkeypatch, cache, mlflow):
    """Amira's history, persona, MLflow run, exports, journals and responses hold the canary."""
    monkeypatch.setattr("cli_world.Engine.answers", {"In one sentence": f"Likes {CANARY}."})
    shutil.copy(mlflow, tmp_path / "mlflow.db")
    lines = [
        one | {"query": f"the car {CANARY} {one['id']}"} if one["id"] == "amira-3" else one
        for one in rows()
    ]
    history = write(tmp_path / "history.jsonl", lines)
    run("import", history, "--tasks", tasks)
    history.unlink()  # the user's own
    said = told(*COMPILE)
    assert CANARY in said["log"]["last"]["profile"]
    run("export", "--user", "amira", "--out", tmp_path / "out")
    for size in (1, 100_000):  # a large response is a file of its own
        dspy.cache.put({"prompt": str(size)}, CANARY * size)
    for part in ("memory.db", "mlartifacts", "out", "responses"):
        assert holding(tmp_path / part), part
    return lines


def holding(place: Path) -> list[Path]:
    """The files that hold the canary in their bytes or their name."""
    files = [one for one in place.rglob("*") if one.is_file()] if place.is_dir() else [place]
    if not place.is_dir():
        files += [one for one in place.parent.glob(f"{place.name}-*") if one.is_file()]
    return [one for one in files if CANARY.encode() in one.read_bytes() or CANARY in one.name]


def test_after_an_erasure_no_file_holds_the_text(run, told, planted, tmp_path):
    before = told("history", "--user", "amira")["versions"]
    receipt = told("forget", "--user", "amira", "--id", "amira-3", "--yes")
    assert holding(tmp_path) == []
    assert CANARY not in json.dumps(receipt)
    assert "amira" not in json.dumps(receipt)
    assert receipt["complete"] is True
    assert (len(receipt["interactions"]), receipt["vectors"]) == (1, 1)
    assert (receipt["exports"], receipt["mlflow"], receipt["responses"]) == (2, 2, 2)
    assert receipt["personas"] == [one["hash"] for one in before]
    emptied, new = told("history", "--user", "amira")["versions"]
    assert (emptied["hash"], emptied["erased"], emptied["reason"]) == (
        before[0]["hash"],
        True,
        "erased",
    )
    assert (new["version"], new["hash"]) == (1, receipt["published"][0])
    assert "was erased" in run("show", "--user", "amira", "--version", 0, ok=False).stderr
    assert "was erased" in run("rollback", "--user", "amira", "--to", 0, ok=False).stderr
    assert "erased" in run("history", "--user", "amira").stdout


def test_after_an_erasure_no_file_holds_an_item_that_only_it_supports(run, told, planted, tmp_path):
    items = (
        Item("fact", f"knows {CANARY}", "cars", support=("amira-3",)),
        Item("habit", "counts what the car costs", "cars", "", ("amira-0", "amira-3"), last=JUNE),
    )
    with Store(tmp_path / "memory.db") as store:
        mine = store.of("amira")
        champion = mine.persona("inbox")
        mine.publish(champion.succeed(profile="", items=items), expected=champion.hash, reason="")
    told(*COMPILE)
    assert [one["text"] for one in told("show", "--user", "amira")["items"]] == [
        one.text for one in items
    ]
    run("export", "--user", "amira", "--out", tmp_path / "items")
    run("export-all", "--user", "amira", "--out", tmp_path / "all.jsonl")
    for part in ("memory.db", "mlartifacts", "items", "all.jsonl"):
        assert holding(tmp_path / part), part
    receipt = told("forget", "--user", "amira", "--id", "amira-3", "--yes")
    assert receipt["complete"] is True
    assert holding(tmp_path) == []
    (left,) = told("show", "--user", "amira")["items"]
    assert (left["text"], left["support"]) == (items[1].text, ["amira-0"])


def test_the_profile_is_derived_again_from_what_remains(run, told, planted, monkeypatch):
    run("forget", "--user", "amira", "--id", "amira-3", "--yes")
    assert told("show", "--user", "amira")["profile"] == ""
    monkeypatch.setattr("cli_world.Engine.answers", {"In one sentence": "Counts costs."})
    asked: list[str] = []
    complete = Engine.complete
    monkeypatch.setattr(
        Engine, "complete", lambda self, one: asked.append(repr(one)) or complete(self, one)
    )
    told(*COMPILE)
    assert asked
    assert not [one for one in asked if CANARY in one]


def test_all_of_a_user_leaves_no_name(run, told, planted, tmp_path):
    shown = run("forget", "--user", "amira", "--all", "--yes").stdout
    assert "erased 18 interactions and 18 vectors" in shown
    files = [one for one in tmp_path.rglob("*") if one.is_file() and one.name != "tasks.json"]
    assert [one for one in files if b"amira" in one.read_bytes()] == []
    assert told("users")["users"] == []
    said = run("forget", "--user", "amira", "--all", "--yes", ok=False).stderr
    assert "nothing is known of user 'amira'" in said


def test_an_erased_line_stays_away_from_the_next_import(run, told, planted, tmp_path):
    run("forget", "--user", "amira", "--id", "amira-3", "--yes")
    history = write(tmp_path / "history.jsonl", planted)
    said = told("import", history)
    assert (said["new"], said["known"], said["erased"]) == (0, 17, 1)
    assert "--even-erased" in run("import", history).stdout
    observed = run("observe", "the car", "money", "--user", "amira", "--id", "amira-3", ok=False)
    assert "was erased" in observed.stderr
    assert told("import", history, "--even-erased")["new"] == 1


def test_an_export_that_was_erased_is_not_restored(run, told, planted, tmp_path):
    copy = tmp_path / "copy.json"
    copy.write_bytes((tmp_path / "out" / "amira-inbox-v0.json").read_bytes())
    run("forget", "--user", "amira", "--id", "amira-3", "--yes")
    assert "stays away" in run("restore", copy, ok=False).stderr
    assert "stays away" in run("restore", copy, "--user", "bela", ok=False).stderr


def test_without_mlflow_the_rest_is_done_and_the_same_command_goes_on(
    run, told, planted, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    store = Store(tmp_path / "memory.db")
    receipt = forget(store, "amira", ids=["amira-3"])
    assert list(receipt.left) == ["mlflow"]
    assert receipt.complete is False
    assert holding(tmp_path)
    places = {one.relative_to(tmp_path).parts[0] for one in holding(tmp_path)}
    assert places <= {"mlartifacts", "mlflow.db"}
    assert unfinished_users(store) == ["amira"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    again = forget(store, "amira", ids=["amira-3"])
    assert (again.complete, again.outside["mlflow"]) == (True, 2)
    assert holding(tmp_path) == []
    assert finish(store, "amira") == Finished()


def test_an_export_that_its_user_changed_is_left_and_named(run, planted, tmp_path):
    notes = tmp_path / "out" / "amira-inbox-v0.md"
    notes.write_text("My notes.")
    result = run("forget", "--user", "amira", "--id", "amira-3", "--yes", ok=None)
    assert result.exit_code == 1
    assert "left to you" in result.stdout
    assert str(notes) in result.stdout
    assert notes.read_text() == "My notes."
    assert not notes.with_suffix(".json").exists()


def test_an_export_that_is_not_where_it_was_written_is_named(run, told, planted, tmp_path):
    notes = tmp_path / "out" / "amira-inbox-v0.md"
    notes.rename(tmp_path / "elsewhere.md")
    shown = run("forget", "--user", "amira", "--id", "amira-3", "--yes").stdout
    assert "out of reach, files: 1 file is not where it was written" in shown
    assert str(notes) in shown
    assert "deleted 1 exported file\n" in shown
    assert "deleted 2 entries in MLflow\n" in shown
    assert "deleted 2 cached LM responses\n" in shown


class Log:
    """A database that keeps a log of its own, as PostgreSQL does."""

    keeps_log = True

    def __init__(self, database):
        self.database = database

    def __getattr__(self, name):
        return getattr(self.database, name)


def test_a_server_of_mlflow_has_a_trash_of_its_own(planted, tmp_path, monkeypatch):
    monkeypatch.setattr("personaagent.privacy.untracking.forget", lambda *_, **__: 2)
    with Store(tmp_path / "memory.db") as store:
        receipt = forget(store, "amira", ids=["amira-3"], tracking_uri="http://mlflow.example")
    assert "mlflow gc" in receipt.to_dict()["beyond"]["mlflow"]


def test_what_no_program_can_reach_is_named_in_the_receipt(planted, tmp_path, monkeypatch):
    with Store(tmp_path / "memory.db") as store:
        store.database = Log(store.database)
        receipt = forget(store, "amira", ids=["amira-3"])
    assert receipt.complete is True
    said = receipt.to_dict()["beyond"]
    assert list(said) == ["database"]
    assert "write-ahead log, in backups and on replicas" in said["database"]


def test_it_asks_first(run, told, imported):
    asked = run("forget", "--user", "amira", "--id", "amira-3", ok=None)
    assert asked.exit_code == 1
    assert "Erase 1 interaction of user 'amira' for good?" in asked.stderr
    assert told("users")["users"][0]["interactions"] == 18
    assert run("forget", "--user", "amira", ok=None).exit_code == 2
    assert run("forget", "--user", "amira", "--all", "--id", "x", ok=None).exit_code == 2
