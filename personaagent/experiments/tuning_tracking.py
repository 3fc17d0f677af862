"""A search in MLflow: one run with the report and the winner, and a child run for every trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personaagent.experiments.tuning import Checked, Findings
from personaagent.optimizers.tuner import Tried
from personaagent.tracking import RUN, connection


def track_tuning(
    findings: Findings,
    checked: Checked | None,
    *,
    name: str,
    about: Mapping[str, str],
    files: Sequence[Path],
    experiment: str = "personaagent-tuning",
    tracking_uri: str | None = None,
) -> str | None:
    """Write a search to MLflow; the same one is written to the same runs.

    Args:
        name: the study's.
        about: what was tuned on, by name: the tags of the run.
        files: its artifacts.

    Returns:
        The id of the run, or None, after a `TrackingWarning`, when MLflow cannot be used.
    """
    uri = connection.address(tracking_uri)
    try:
        client = connection.connect(uri)
        group = connection.experiment_of(client, uri, experiment)
        parent = str(connection.run_of(client, group, RUN, name, name, {}).info.run_id)
        for key, value in about.items():
            client.set_tag(parent, f"personaagent.{key}", value)  # parameters cannot grow
        for metric, reached in _totals(findings, checked).items():
            client.log_metric(parent, metric, reached)
        for file in files:
            client.log_artifact(parent, str(file))
        for one in findings.tried:
            _child(client, group, parent, name, findings, one)
        client.set_terminated(parent)
    except Exception as error:  # MLflow, its databases and its servers raise anything
        connection.warn(uri, error, "this search is not tracked; it is complete itself", level=2)
        return None
    return parent


def _child(client: Any, group: str, parent: str, name: str, findings: Findings, one: Tried) -> None:
    key = f"{name} trial {one.number}"
    tags = {"mlflow.parentRunId": parent}
    run = connection.run_of(client, group, RUN, key, key, tags).info.run_id
    for choice in findings.names:
        client.log_param(run, choice, getattr(one.setting, choice))
    client.log_metric(run, "loss", one.loss)
    client.log_metric(run, findings.cost, one.cost)
    client.set_tag(run, "personaagent.front", str(one in findings.front))
    client.set_tag(run, "personaagent.dropped", str(one.dropped))
    client.set_terminated(run)


def _totals(findings: Findings, checked: Checked | None) -> dict[str, float]:
    winner = findings.winner
    totals = {"loss": winner.loss, findings.cost: winner.cost}
    if gap := findings.against_default(winner):
        totals |= {"loss_against_default": gap.value, "loss_against_default_high": gap.high}
    if checked is not None:
        totals |= {"checked_loss": checked.loss.value, "checked_loss_high": checked.loss.high}
    return totals
