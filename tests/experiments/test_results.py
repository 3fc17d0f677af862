"""The results database: idempotent, and its own."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from personaagent.errors import StoreError
from personaagent.experiments.results import PersonaRow, Results, Row

ROW = Row("run", "rag", "q1", "ann", "work", "home", {"work": 0.4, "home": 0.6}, 0.9)
FAILED = Row("run", "rag", "q2", "ann", "work", None, error="ValueError: it broke")
PROTOCOL = {"systems": {"rag": "baseline"}, "samples": {"q1": "ann"}}


@pytest.fixture
def results(tmp_path):
    with Results(tmp_path / "results.db") as made:
        yield made


def test_a_row_comes_back_as_it_was(results):
    full = replace(ROW, actions=("recall",), memories=("ann-1",), seconds=1.5, calls=2, money=0.1)
    results.record(full)
    assert results.rows("run", ["q1"]) == [full]
    assert results.rows("run", ["q2"]) == []
    assert results.rows("other", ["q1"]) == []


def test_an_answer_stands_for_ever(results):
    results.record(ROW)
    results.record(replace(ROW, answer="work"))
    results.record(replace(ROW, answer=None, error="later"))
    assert results.rows("run", ["q1"]) == [ROW]


def test_a_failure_is_replaced_by_what_comes_after_it(results):
    results.record(FAILED)
    assert results.answered("run", "rag") == set()
    results.record(replace(FAILED, error="again"))
    assert [(one.error, one.attempts) for one in results.rows("run", ["q2"])] == [("again", 2)]
    results.record(replace(FAILED, answer="work", error=None))
    (row,) = results.rows("run", ["q2"])
    assert (row.answer, row.error, row.attempts) == ("work", None, 3)
    assert results.answered("run", "rag") == {"q2"}


def test_rows_are_in_the_order_of_the_samples(results):
    for sample in "bac":
        results.record(replace(ROW, sample=sample))
    assert [one.sample for one in results.rows("run", ["c", "a", "b"])] == ["c", "a", "b"]


def test_an_experiment_gathers_its_systems(results):
    results.begin("one", "run", PROTOCOL)
    results.begin("one", "run", {**PROTOCOL, "systems": {"knn": "floor"}})
    (found,) = results.experiments()
    assert found.protocol["systems"] == {"rag": "baseline", "knn": "floor"}


def test_forgetting_drops_the_rows_of_a_system(results):
    results.record(ROW)
    results.record(replace(ROW, system="knn"))
    results.record_persona(PersonaRow("run", "ann", "hash", 1, 1, 2, 3.0, 4, 5, 0.0))
    assert results.forget("run", ["rag"]) == 1
    assert [one.system for one in results.rows("run", ["q1"])] == ["knn"]
    assert len(results.personas("run", ["ann"])) == 1
    results.forget("run", [], personas=True)
    assert results.personas("run", ["ann"]) == []


def test_many_threads_write_at_once(results):
    def write(system: str) -> None:
        for n in range(20):
            results.record(replace(ROW, system=system, sample=f"q{n}"))

    threads = [threading.Thread(target=write, args=(f"s{n}",)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(results.rows("run", [f"q{n}" for n in range(20)])) == 80


def test_another_database_is_left_alone(tmp_path):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="no results database"):
        Results(path)


def test_a_file_that_is_no_database_is_an_error(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database" * 100)
    with pytest.raises(StoreError, match=r"notes\.txt"):
        Results(path)


def test_recomputing_from_nothing_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="no such results database"):
        Results(tmp_path / "none.db", must_exist=True)
    assert not (tmp_path / "none.db").exists()


def test_a_database_from_before_there_were_maps_is_opened(tmp_path):
    path = tmp_path / "results.db"
    with Results(path) as results:
        results.begin("x", "r", {"systems": {"rag": "baseline"}})
    with closing(sqlite3.connect(path)) as old:
        old.execute("DROP TABLE maps")
    with Results(path) as results:
        assert [one.id for one in results.experiments()] == ["x"]
        assert results.map_of("x") is None
        results.record_map("x", {"users": ["a"]})
        results.record_map("x", {"users": ["b"]})
        assert results.map_of("x") == {"users": ["b"]}


def test_a_database_from_before_there_were_scores_is_opened(tmp_path):
    path = tmp_path / "results.db"
    with Results(path) as made:
        made.record(ROW)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE answers DROP COLUMN scores")
    with Results(path) as made:
        scored = replace(ROW, sample="q2", answer="", scores={"rouge_l": 0.5})
        made.record(scored)
        assert made.rows("run", ["q1", "q2"]) == [ROW, scored]
