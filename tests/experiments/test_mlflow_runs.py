"""Experiments in MLflow: a parent run an experiment, a child run a system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from contest import failing, world

from personaagent.experiments.cohort import Cohort
from personaagent.experiments.lineup import entrants
from personaagent.experiments.mlflow_runs import EXPERIMENT, KEY, track_evaluation
from personaagent.tracking import TrackingWarning


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """One database for all tests: its first use migrates it for seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(scope="module")
def client(uri):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with world(tmp_path_factory.mktemp("contest")) as made:
        made.run([*entrants(["majority", "rag", "personaagent"]), failing(on=" ")])
        yield made


@pytest.fixture(scope="module")
def parent(here, uri):
    """The id of the parent run."""
    (made,) = track_evaluation(here.results, tracking_uri=uri)
    return made


def runs(client):
    group = client.get_experiment_by_name(EXPERIMENT).experiment_id
    return client.search_runs([group])


def children(client, parent):
    return {
        run.data.params["system"]: run
        for run in runs(client)
        if run.data.tags.get("mlflow.parentRunId") == parent
    }


def test_every_system_is_a_child_run_with_its_scores_and_costs(client, parent, here):
    found = children(client, parent)
    assert set(found) == {"majority", "rag", "personaagent", "fragile"}
    ours = found["personaagent"].data.metrics
    assert ours["answered"] == 12
    assert ours["accuracy.low"] <= ours["accuracy"] <= ours["accuracy.high"]
    assert ours["cost.calls"] == 1
    assert 0 <= ours["against.rag.p"] <= 1
    assert found["fragile"].data.metrics == {"answered": 0, "failed": 12}
    assert {run.info.status for run in found.values()} == {"FINISHED"}


def test_the_parent_has_protocol_and_report(client, parent, here):
    run = client.get_run(parent)
    assert run.data.params["task"] == "inbox"
    assert run.data.params["samples"] == "12"
    names = {one.path for one in client.list_artifacts(parent)}
    assert {"report.html", "report.md", "summary.json"} <= names
    summary = Path(client.download_artifacts(parent, "summary.json")).read_text()
    assert json.loads(summary)["id"] == run.data.tags[KEY]
    queries = [one.query.query for one in here.data.samples]
    page = Path(client.download_artifacts(parent, "report.html")).read_text()
    assert not any(query in page for query in queries)


def test_the_same_experiment_is_written_to_the_same_runs(client, parent, here, uri):
    before = {run.info.run_id for run in runs(client)}
    assert track_evaluation(here.results, tracking_uri=uri) == [parent]
    assert {run.info.run_id for run in runs(client)} == before
    history = client.get_metric_history(children(client, parent)["rag"].info.run_id, "cost.calls")
    assert len(history) == 1


def test_another_cohort_is_another_parent(client, parent, here, uri):
    done = here.run(entrants(["majority"]), cohort=Cohort(samples=3))
    (other,) = track_evaluation(here.results, [done.id], tracking_uri=uri)
    assert other != parent
    assert set(children(client, other)) == {"majority"}


def test_a_command_tracks_where_it_is_asked_to(evaluate, own, uri, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    given = (*own, "--lm", "sim/inbox", "--systems", "majority,knn", "--json")
    assert json.loads(evaluate(*given).stdout)["tracked"] == []
    (run,) = json.loads(evaluate(*given, "--track").stdout)["tracked"]
    assert set(children(client, run)) == {"majority", "knn"}


def test_a_command_goes_on_without_mlflow(evaluate, own, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/x.db")
    said = evaluate(*own, "--lm", "sim/inbox", "--systems", "majority", "--track")
    assert "majority: 12 of 12" in said.stdout
    assert "this experiment is not tracked" in said.stderr


def test_without_mlflow_it_warns_and_goes_on(here, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(TrackingWarning, match="this experiment is not tracked"):
        assert track_evaluation(here.results, tracking_uri=f"sqlite:///{tmp_path}/file/x.db") == []
