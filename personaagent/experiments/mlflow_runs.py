"""Experiments in MLflow: a parent run an experiment, with its report, and a child run a system."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personaagent.tracking import connection

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from personaagent.experiments.analysis import Analysis, Line
    from personaagent.experiments.results import Results

EXPERIMENT = "personaagent-evaluation"
"""MLflow's name for the group of these runs."""

KEY = "personaagent.experiment"
"""The tag that names an experiment, or one of its systems; its run is found again by it."""


def track_evaluation(
    answers: Results,
    only: Sequence[str] = (),
    *,
    experiment: str = EXPERIMENT,
    tracking_uri: str | None = None,
) -> list[str]:
    """Write experiments to MLflow; the same one is written to the same runs.

    Nothing of it holds a text of the data.

    Args:
        answers: a results database, or predictions.
        only: ids of experiments; by default all of them.
        experiment: MLflow's name for the group of runs.
        tracking_uri: a server or a database; default: MLFLOW_TRACKING_URI, else SQLite in the
            user's data folder.

    Returns:
        The ids of the parent runs; none, after a `TrackingWarning`, when MLflow cannot be used.

    Raises:
        DataError: there is no experiment.
    """
    from personaagent.experiments.report import analyses_of

    analyses = analyses_of(answers, only)
    uri = connection.address(tracking_uri)
    try:
        client = connection.connect(uri)
        group = connection.experiment_of(client, uri, experiment)
        return [_track(client, group, answers, one) for one in analyses]
    except Exception as error:  # MLflow, its databases and its servers raise anything
        lost = "this experiment is not tracked; it is complete itself"
        connection.warn(uri, error, lost, level=2)
        return []


def _track(client: MlflowClient, group: str, answers: Results, analysis: Analysis) -> str:
    from personaagent.experiments.analysis import summary
    from personaagent.experiments.formatting import title
    from personaagent.experiments.report import write_report

    id = analysis.experiment.id
    parent = connection.run_of(client, group, KEY, id, title(analysis), {})
    connection.log(client, parent, _params(analysis), {"systems": float(len(analysis.lines))})
    with tempfile.TemporaryDirectory(prefix="personaagent-") as folder:
        write_report(answers, Path(folder), only=[id])
        text = json.dumps(summary(analysis), ensure_ascii=False, indent=2)
        (Path(folder) / "summary.json").write_text(text + "\n", encoding="utf-8")
        client.log_artifacts(parent.info.run_id, folder)
    for line in analysis.lines:
        tags = {"mlflow.parentRunId": parent.info.run_id}
        key = f"{id}/{line.system}"
        child = connection.run_of(client, group, KEY, key, line.system, tags)
        params = {"system": line.system, "role": line.role}
        connection.log(client, child, params, dict(_metrics(line)))
        client.set_terminated(child.info.run_id)
    client.set_terminated(parent.info.run_id)
    return str(parent.info.run_id)


def _params(analysis: Analysis) -> dict[str, Any]:
    """The protocol without the ids of the samples."""
    said = analysis.experiment.protocol
    return {
        "task": analysis.task.name,
        "lm": said["lm"]["spec"],
        "lm.fingerprint": said["lm"]["fingerprint"],
        "lm.answers": said["lm"]["answers"],
        "data": said["data"]["name"],
        "data.sha256": said["data"]["digest"],
        "samples": len(said["samples"]),
        "users": said["users"],
        "embedder": said["embedder"],
        "version": said["version"],
        **{f"cohort.{name}": value for name, value in said["cohort"].items()},
        **{f"setup.{name}": value for name, value in said["variant"].items()},
    }


def _metrics(line: Line) -> Iterator[tuple[str, float]]:
    yield "answered", float(line.n)
    yield "failed", float(line.failed)
    if not line.n:
        return
    for name, score in line.scores.items():
        yield name, score.value
        yield f"{name}.low", score.low
        yield f"{name}.high", score.high
    yield "loss", line.loss
    for name, value in asdict(line.cost).items():
        yield f"cost.{name}", float(value)
    for one in line.comparisons:
        yield f"against.{one.other}", one.difference.value
        yield f"against.{one.other}.p", one.corrected
