"""Predictions as files: everything is computed again from them, and no text is in them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest
from contest import NAMES, failing, inbox, world

from personaagent.data import Query, Text
from personaagent.errors import DataError
from personaagent.experiments.analysis import summary
from personaagent.experiments.cohort import Cohort, Sample
from personaagent.experiments.lineup import entrants
from personaagent.experiments.predictions import read_predictions, write_predictions
from personaagent.experiments.report import analyses_of, write_report
from personaagent.experiments.results import Results


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with world(tmp_path_factory.mktemp("contest")) as made:
        made.run([*entrants(["knn", *NAMES]), failing()])
        made.run(cohort=Cohort(samples=5))
        yield made


@pytest.fixture
def folder(here, tmp_path):
    write_predictions(here.results, tmp_path / "results")
    return tmp_path / "results"


def test_everything_is_computed_again_from_the_files(here, folder, tmp_path):
    read = read_predictions(folder)
    ours, theirs = (
        [json.dumps(summary(one)) for one in analyses_of(answers)]
        for answers in (here.results, read)
    )
    assert ours == theirs
    page, other = (
        write_report(answers, tmp_path / name)[0]
        for answers, name in ((here.results, "a"), (read, "b"))
    )
    assert page.read_text() == other.read_text()


def test_the_files_are_the_same_whoever_wrote_them(folder, tmp_path):
    write_predictions(read_predictions(folder), tmp_path / "again")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert len(files) > 10
    for path in files:
        assert (folder / path).read_bytes() == (tmp_path / "again" / path).read_bytes()


def test_no_text_of_the_data_is_in_the_files(here, folder):
    texts = [one.query.query for one in here.data.samples]
    texts += [one.query for one in here.data.histories(None)]
    written = "".join(path.read_text() for path in folder.rglob("*.*"))
    assert not any(text in written for text in texts)


def test_an_error_is_its_kind_alone(folder):
    (path,) = (p for p in folder.rglob("fragile.csv"))
    errors = {row["error"] for row in csv.DictReader(path.open())}
    assert errors == {"", "ValueError"}


def test_one_experiment_alone_can_be_written(here, tmp_path):
    (first, _) = here.results.experiments()
    write_predictions(here.results, tmp_path / "one", [first.id])
    assert [one.id for one in read_predictions(tmp_path / "one").experiments()] == [first.id]


def texts():
    """The inbox as a task of free texts."""
    data = inbox(questions=3)
    task = Text("notes", "Write a note.", item="message", answer="note")

    def own(one):
        return replace(one, task="notes")

    return replace(
        data,
        task=task,
        samples=tuple(
            Sample(Query(q.id, q.user, "notes", q.query, f"SECRET {q.query}", q.time), s.owner)
            for s in data.samples
            for q in [s.query]
        ),
        histories=lambda owners: map(own, data.histories(owners)),
    )


def test_texts_are_scored_and_left_out(tmp_path):
    with world(tmp_path, texts()) as here:
        here.book.says["text"] = "SECRET dinner with amber"
        here.run(entrants(["non-personalized", "icl"]))
        (place,) = write_predictions(here.results, tmp_path / "results")
        ours = summary(analyses_of(here.results)[0])
    assert summary(analyses_of(read_predictions(tmp_path / "results"))[0]) == ours
    assert ours["systems"][0]["scores"]["rouge_l"]["value"] > 0
    assert not any("SECRET" in path.read_text() for path in place.iterdir())


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("knn.csv", lambda text: text.replace("loss", "lost", 1), "lacks the columns loss"),
        ("knn.csv", lambda text: text.rstrip().rpartition(",")[0], "line"),
        ("personas.csv", lambda text: text.replace("ann,", "ann,x,x,", 1), "line 2"),
        ("experiment.json", lambda text: text[:-9], "cannot be read"),
        ("experiment.json", lambda text: "{}", "this is no experiment"),
    ],
)
def test_a_damaged_file_is_named(folder, name, change, problem):
    path = max((p for p in folder.rglob(name)), key=lambda p: p.stat().st_size)
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=problem) as caught:
        read_predictions(folder)
    assert str(path) in str(caught.value)


def test_a_folder_without_predictions_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there are no predictions"):
        read_predictions(tmp_path)


def test_the_command_writes_and_recomputes(evaluate, own):
    given = (*own, "--lm", "sim/inbox")
    first = json.loads(evaluate(*given, "--predictions", "results", "--json").stdout)
    again = json.loads(evaluate("--recompute", "--results", "results", "--json").stdout)
    assert again["experiments"] == first["experiments"]


def test_another_database_goes_on_from_the_files(here, folder, tmp_path):
    with Results(tmp_path / "other.db") as other:
        other.take_over(read_predictions(folder))
        for one in here.results.experiments():
            assert other.answered(one.run, "rag") == here.results.answered(one.run, "rag")
        known, taken = ([summary(one) for one in analyses_of(x)] for x in (here.results, other))
        assert known == taken
        other.take_over(read_predictions(folder))  # once more changes nothing
        assert [summary(one) for one in analyses_of(other)] == taken


def test_what_a_database_has_answered_itself_stands(here, folder, tmp_path):
    (one, *_) = here.results.experiments()
    rows = here.results.rows(one.run, one.protocol["samples"])
    mine = next(row for row in rows if row.answer is not None)
    with Results(tmp_path / "other.db") as other:
        other.record(replace(mine, seconds=1234.0))
        other.take_over(read_predictions(folder))
        rows = other.rows(one.run, [mine.sample])
    assert [row.seconds for row in rows if row.system == mine.system] == [1234.0]
