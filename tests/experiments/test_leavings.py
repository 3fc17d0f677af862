"""`forget` and what experiments leave: a canary in a user's texts is in no file afterwards."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lamp_world import lamp_record, lamp_write

from personaagent.errors import DataError
from personaagent.experiments import leavings
from personaagent.experiments.results import PersonaRow, Results, Row
from personaagent.memory import Store

CANARY = "xyzzycanary"


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow and responses of the test's own."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr("personaagent.privacy.forgetting.clear_responses", lambda: 0)


@pytest.fixture
def planted(own: list[str], tmp_path: Path, private: None) -> list[str]:
    """Amira's history and questions hold the canary; what is written goes to a folder `out`."""
    for name in ("history.jsonl", "queries.jsonl"):
        file = tmp_path / name
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        said = [
            row | {"query": f"{row['query']} {CANARY}"} if row["user"] == "amira" else row
            for row in rows
        ]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in said))
    return [*own[: own.index("--results")], *("--results", "out/results.db", "--lm", "sim/inbox")]


def holding(folder: Path, text: str) -> list[str]:
    """The files in a folder that hold a text in their bytes or their name."""
    return [
        str(one.relative_to(folder))
        for one in sorted(folder.rglob("*"))
        if one.is_file() and (text.encode() in one.read_bytes() or text in one.name)
    ]


def systems(said: str) -> dict[str, dict[str, Any]]:
    (experiment,) = json.loads(said)["experiments"]
    return {one["system"]: one for one in experiment["systems"]}


def answers_of(place: Path, others: tuple[str, ...]) -> list[Any]:
    with sqlite3.connect(place) as database:
        marks = ",".join("?" * len(others))
        return database.execute(
            f"SELECT * FROM answers WHERE user IN ({marks}) ORDER BY system, sample", others
        ).fetchall()


def test_a_forgotten_user_is_in_no_file_and_the_others_recompute(command, planted, tmp_path):
    out = tmp_path / "out"
    command("personas", *planted, "--predictions", "out/predictions")
    assert holding(out, CANARY) != []
    before = answers_of(out / "results.db", ("bela", "cem"))
    places = ("--results", "out/results.db", "--results", "out/predictions")
    said = command("forget", "--user", "amira", "--all", "--yes", *places, "--json").stdout
    receipt = json.loads(said)
    assert (receipt["complete"], receipt["left"]) == (True, [])
    assert "persona map" in receipt["beyond"]["reports"]
    assert CANARY not in said
    assert holding(out, CANARY) == []
    assert holding(out, "amira") == []
    assert answers_of(out / "results.db", ("bela", "cem")) == before
    assert len(before) == 3 * 8
    for place in ("out/results.db", "out/predictions"):
        again = command("evaluate", "--recompute", "--results", place, "--json").stdout
        assert {name: one["answered"] for name, one in systems(again).items()} == {
            "non-personalized": 8,
            "personaagent": 8,
            "personaagent-swapped": 8,
        }
        (experiment,) = json.loads(again)["experiments"]
        assert experiment["protocol"]["users"] == 2
    said = command("forget", "--user", "amira", "--all", "--yes", *places, code=1).stderr
    assert "nothing is known of user 'amira' in out/results.db" in said


def test_a_results_database_on_users_of_memory_is_found_without_being_named(
    command, planted, tmp_path
):
    out = tmp_path / "out"
    command("import", "history.jsonl", "--tasks", "tasks.json")
    traced = ("--report", "out/report", "--traces", "--predictions", "out/predictions")
    command("evaluate", *planted, *traced)
    assert "report/report.md" in holding(out, CANARY)
    asked = ("--user", "amira", "--id", "amira-3", "--yes")
    receipt = json.loads(command("forget", *asked, "--json").stdout)
    assert receipt["complete"] is True
    assert receipt["workfiles"] > 12
    assert holding(out, CANARY) == []
    assert holding(out, "amira") == []
    assert len(answers_of(out / "results.db", ("bela", "cem"))) == 3 * 8
    command("forget", "--user", "bela", "--all", "--yes")
    assert holding(out, "bela") == []
    assert len(answers_of(out / "results.db", ("cem",))) == 3 * 4


def test_a_cold_start_and_a_pool_leave_nothing_either(command, planted, tmp_path):
    out = tmp_path / "out"
    command("coldstart", *planted, "--interactions", "0,2", "--systems", "knn,rag")
    command("pool", *planted, "--out", "out/prior.json", "--starts", "query")
    assert len({name for name in holding(out, CANARY) if name.endswith(".db")}) == 3
    command("forget", "--user", "amira", "--all", "--yes", "--results", "out/results.db")
    assert holding(out, CANARY) == []
    assert holding(out, "amira") == []


def test_an_evaluation_goes_on_after_somebody_was_forgotten(command, planted, tmp_path):
    command("evaluate", *planted)
    command("forget", "--user", "amira", "--all", "--yes", "--results", "out/results.db")
    for file in (tmp_path / "history.jsonl", tmp_path / "queries.jsonl"):
        kept = [one for one in file.read_text().splitlines() if CANARY not in one]
        file.write_text("".join(f"{one}\n" for one in kept))
    said = json.loads(command("evaluate", *planted, "--systems", "rag,knn", "--json").stdout)
    assert all(one["answered"] == 8 for e in said["experiments"] for one in e["systems"])


def test_a_lamp_user_whose_questions_are_users_of_their_own_goes_with_all_of_them(
    command, private, tmp_path
):
    records = [lamp_record(f"q{n}", "u1" if n < 2 else f"u{n}") for n in range(6)]
    questions, outputs = lamp_write(tmp_path, records)
    given = ("--task", "lamp-2n", "--questions", questions, "--outputs", outputs)
    to = ("--results", "out/results.db", "--predictions", "out/predictions")
    command("evaluate", *given, "--lm", "sim/news", "--systems", "majority,rag", *to)
    places = ("--results", "out/results.db", "--results", "out/predictions")
    command("forget", "--user", "u1", "--all", "--yes", *places)
    out = tmp_path / "out"
    for text in ("u1", "q0", "q1"):
        assert holding(out, text) == []
    for place in (out / "results.db", out / "predictions"):
        said = command("evaluate", "--recompute", "--results", place, "--json").stdout
        assert [one["answered"] for one in systems(said).values()] == [4, 4]


def test_what_an_interrupted_search_on_files_has_asked_goes(private, tmp_path):
    place = tmp_path / "tuning" / "of-others"
    place.mkdir(parents=True)
    with Store(place / "asked-1.db") as store:
        store.of("amira").journal("run").put("key", CANARY)
    assert leavings.knows(tmp_path / "tuning", "amira") is True
    assert leavings.knows(tmp_path / "tuning", "bela") is False
    assert leavings.erase(tmp_path / "tuning", "amira") == 1
    assert list(place.iterdir()) == []


@pytest.fixture
def texts(tmp_path: Path) -> Callable[[], Results]:
    """Answers that are texts; bela's under another persona quotes, as do two errors."""
    task = {"name": "titles", "kind": "text", "labels": []}

    def made() -> Results:
        results = Results(tmp_path / "results.db")
        both = {"a": "amira", "b": "bela"}
        protocol = {"task": task, "samples": both, "users": 2, "systems": {}}
        results.begin("e", "run", protocol)
        for system in ("rag", "personaagent-swapped"):
            for sample, user in both.items():
                quoted = CANARY if user == "amira" or system != "rag" else "its own"
                results.record(Row("run", system, sample, user, "gold", f"said {quoted}"))
        for user in both.values():
            results.record_persona(PersonaRow("run", user, "hash", 1, 1, 0, 0.0, 1, 1, 0.0))
        return results

    return made


def test_answers_that_another_got_under_the_users_persona_go_too(texts, tmp_path):
    with texts() as results:
        assert results.erase("amira") == 5
        assert [(one.system, one.answer) for one in results.rows("run", ["b"])] == [
            ("rag", "said its own")
        ]
        assert [one.user for one in results.personas("run", ["amira", "bela"])] == ["bela"]
        assert results.knows("amira") is False
    assert holding(tmp_path, CANARY) == []


def test_an_experiment_of_nobody_else_goes_whole(texts):
    with texts() as results:
        results.erase("amira")
        results.record_map("e", {"users": []})
        results.erase("bela")
        assert results.experiments() == []
        assert results.map_of("e") is None


def test_the_map_keeps_the_cosines_of_those_who_stay(tmp_path):
    with Results(tmp_path / "results.db") as results:
        samples = {name: name for name in "abcd"}
        protocol = {"task": {"labels": ["x"]}, "samples": samples, "users": 4, "systems": {}}
        results.begin("e", "run", protocol)
        above = {"ab": 0.1, "ac": 0.2, "ad": 0.3, "bc": 0.4, "bd": 0.5, "cd": 0.6}
        cosines = {name: list(above.values()) for name in ("personas", "histories")}
        results.record_map("e", {"users": list("abcd"), "groups": list("wxyz"), **cosines})
        results.erase("b")
        kept = [0.2, 0.3, 0.6]
        assert results.map_of("e") == {
            "users": ["a", "c", "d"],
            "groups": ["w", "y", "z"],
            "personas": kept,
            "histories": kept,
        }


def test_predictions_whose_erasure_was_cut_off_are_finished(command, planted, tmp_path):
    command("evaluate", *planted, "--predictions", "out/predictions")
    place = tmp_path / "out" / "predictions"
    (file,) = place.glob("*/experiment.json")
    said = json.loads(file.read_text())
    samples = said["protocol"]["samples"]
    kept = {one: user for one, user in samples.items() if user != "amira"}
    said["protocol"] |= {"samples": kept, "users": 2}
    file.write_text(json.dumps(said))  # what a kill after the first file leaves
    assert leavings.knows(place, "amira") is True
    leavings.erase(place, "amira")
    assert holding(place, "amira") == []
    assert json.loads(file.read_text())["protocol"]["users"] == 2
    for table in file.parent.glob("*.csv"):
        with table.open(newline="") as stream:
            assert {one["user"] for one in csv.DictReader(stream)} == {"bela", "cem"}


def test_a_place_that_is_something_else_is_left_alone(command, planted, tmp_path):
    command("evaluate", *planted, "--systems", "knn")
    assert not (tmp_path / "memory").exists()  # an experiment makes no memory database
    forget = ("forget", "--user", "amira", "--all", "--yes", "--results")
    said = command(*forget, "out/results.db", "--db", "typo/memory.db", code=1).stderr
    assert "there is no such database" in said
    assert not (tmp_path / "typo").exists()
    assert "there is nothing" in command(*forget, "none.db", code=1).stderr
    Store(tmp_path / "other.db").close()
    assert "is no results database" in command(*forget, "other.db", code=1).stderr
    (tmp_path / "notes.txt").write_text("mine")
    command(*forget, "notes.txt", code=1)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(DataError, match="there is nothing"):
        leavings.knows(tmp_path / "none.db", "amira")
    assert (
        "nothing is known of user 'dora'"
        in command(
            *("forget", "--user", "dora", "--all", "--yes", "--results", "out/results.db"), code=1
        ).stderr
    )
    assert holding(tmp_path / "out", CANARY) != []


def test_predictions_that_were_renamed_and_copied_are_erased_where_they_lie(
    command, planted, tmp_path
):
    command("evaluate", *planted, "--predictions", "out/predictions")
    place = tmp_path / "out" / "predictions"
    (made,) = (one.parent for one in place.glob("*/experiment.json"))
    shutil.copytree(made, place / "a copy")
    made.rename(place / "renamed")
    assert leavings.knows(place, "amira")
    assert leavings.erase(place, "amira") > 0
    assert not leavings.knows(place, "amira")
    assert {one.name for one in place.iterdir() if one.is_dir()} == {"a copy", "renamed"}
    for one in place.rglob("*.*"):
        assert "amira" not in one.read_text()
