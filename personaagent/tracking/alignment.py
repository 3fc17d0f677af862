"""One MLflow run for every alignment: its settings, its losses and everything it wrote."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personaagent.tracking import connection, prompts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from personaagent.optimizers.log import AlignmentLog

RUN = "personaagent.run"
"""The tag that names an alignment; a run is found again by it."""


def track(
    log: AlignmentLog,
    *,
    artifact: Path | None = None,
    experiment: str = connection.EXPERIMENT,
    tracking_uri: str | None = None,
    run: str | None = None,
    texts: bool = True,
) -> str | None:
    """Write an alignment to MLflow; the same one is written to the same run, and one that was made
    anew and went otherwise to a run of its own.

    Its last persona becomes the `champion` among the user's prompts, and the best candidate that
    was replayed and turned down the `challenger`.

    The user's name is a tag, so that the user's runs can be found. Parameters and metrics hold no
    texts. The files of the run hold the personas and ids of interactions; the gradients among them
    may also quote the user's queries and answers, unless `texts` is False.

    Args:
        log: what an alignment returned.
        artifact: the exported JSON; its Markdown beside it is taken along.
        experiment: MLflow's name for the group of runs.
        tracking_uri: a server or a database; default: MLFLOW_TRACKING_URI, else SQLite in the
            user's data folder.
        run: what names the alignment, such as `PersonaAlignment.key` with the database's
            `identity`; default: a digest of its start, settings and judging interactions.
        texts: keep the responses, the truths and the texts of the gradients.

    Returns:
        The id of the run, or None, after a `TrackingWarning`, when MLflow cannot be used.
    """
    uri = connection.address(tracking_uri)
    try:
        client = connection.connect(uri)
        found = _run(client, uri, experiment, log, run or _key(log))
        _write(client, found, log, artifact, texts)
    except Exception as error:  # MLflow, its databases and its servers raise anything
        connection.warn(uri, error, "this run is not tracked; it is complete itself", level=2)
        return None
    try:
        prompts.publish(client, log.last, prompts.challenger_of(log), run=found.info.run_id)
    except Exception as error:  # a server may have no registry, or a name or text be too long
        connection.warn(uri, error, "the personas are not registered as prompts", level=2)
    return str(found.info.run_id)


def _run(client: MlflowClient, uri: str, experiment: str, log: AlignmentLog, key: str) -> Run:
    """The run of this key that went as this one did; a new one if there is none."""
    group = connection.experiment_of(client, uri, experiment)
    filter_string = f"tags.`{RUN}` = '{key}'"
    for known in client.search_runs([group], filter_string=filter_string):
        if _agrees(client, known, log):
            return known
    took = float(log.usage.get("busy_seconds", 0.0))
    return client.create_run(
        group,
        start_time=round((time.time() - took) * 1000),
        run_name=f"{log.user} {log.task} v{log.last.version}",
        tags={RUN: key, connection.USER: log.user, "personaagent.task": log.task},
    )


def _agrees(client: MlflowClient, run: Run, log: AlignmentLog) -> bool:
    """Whether a run has no other loss at a step than the alignment: two would be no curve."""
    losses = [values["loss"] for values in _curve(log)]
    return all(
        one.step >= len(losses) or math.isclose(one.value, losses[one.step])
        for one in client.get_metric_history(run.info.run_id, "loss")
    )


def _write(
    client: MlflowClient, run: Run, log: AlignmentLog, artifact: Path | None, texts: bool
) -> None:
    from mlflow.entities import Metric

    id, began = run.info.run_id, run.info.start_time
    # Fixed times make a curve that is written again the same curve.
    curve = [
        Metric(name, value, began + step, step)
        for step, values in enumerate(_curve(log))
        for name, value in values.items()
        if math.isfinite(value)
    ]
    connection.log(client, run, dict(_params(log)), _totals(log), curve)
    client.set_tag(id, "personaagent.stopped", log.stopped)
    with tempfile.TemporaryDirectory(prefix="personaagent-") as folder:
        for name, text in _files(log, texts).items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        client.log_artifacts(id, folder)
    for file in (artifact, artifact.with_suffix(".md")) if artifact else ():
        if file.is_file():
            client.log_artifact(id, str(file), "export")
    client.set_terminated(id)


def _params(log: AlignmentLog) -> Iterator[tuple[str, Any]]:
    yield "task", log.task
    yield "judging", len(log.judged)
    for key, value in _flat(log.settings):
        name = "".join(c if c.isalnum() or c in "_-. /" else "_" for c in key)
        yield name, value


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _curve(log: AlignmentLog) -> list[dict[str, float]]:
    """Loss, score and the number of accepted candidates; step 0 is the first persona."""
    points = [{"loss": log.first_loss, "score": log.first_score, "accepted": 0.0}]
    for step in log.steps:
        accepted = points[-1]["accepted"] + (step.accepted is not None)
        points.append({"loss": step.loss, "score": step.score, "accepted": accepted})
    return points


def _totals(log: AlignmentLog) -> dict[str, float]:
    """What it cost, with input and output tokens together as well."""
    totals = {name: float(value) for name, value in log.usage.items()}
    tokens = totals.get("input_tokens", 0.0) + totals.get("output_tokens", 0.0)
    return {"tokens": tokens, **totals}


def _files(log: AlignmentLog, texts: bool) -> dict[str, str]:
    data = log.to_dict()
    gradients: list[dict[str, Any]] = []
    candidates: list[dict[str, Any]] = []
    for step in data["steps"]:
        if not texts:
            step["gradients"] = [{"interaction": one["interaction"]} for one in step["gradients"]]
        number = {"iteration": step["iteration"]}
        gradients += [number | one for one in step["gradients"]]
        candidates += [
            number | one | {"accepted": at == step["accepted"]}
            for at, one in enumerate(step["candidates"])
        ]
    first, last = log.first.render() + "\n", log.last.render() + "\n"
    diff = difflib.unified_diff(
        first.splitlines(), last.splitlines(), "first.md", "last.md", lineterm=""
    )
    return {
        "log.json": _json(data),
        "gradients.json": _json(gradients),
        "candidates.json": _json(candidates),
        "first.md": first,
        "last.md": last,
        "diff.md": "\n".join(["```diff", *diff, "```", ""]),
    }


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def _key(log: AlignmentLog) -> str:
    content = [log.user, log.task, log.first.hash, log.settings, log.judged]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
