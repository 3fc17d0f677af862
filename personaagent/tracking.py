"""One MLflow run for every alignment: its settings, its losses and everything it wrote.

By default MLflow keeps it in SQLite in the user's data folder; `mlflow ui --backend-store-uri
sqlite:///<that folder>/mlflow.db` shows it. Nothing is sent anywhere: MLflow's telemetry is off.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import math
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from platformdirs import user_data_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from personaagent.optimizers.log import AlignmentLog

RUN = "personaagent.run"
"""The tag that names an alignment; a run is found again by it."""

USER = "personaagent.user"
"""The tag that names whose run it is."""

_LONGEST_PARAMETER = 500
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_PATIENCE = 5.0  # seconds that a server may take to be there


class TrackingWarning(UserWarning):
    """An alignment was not tracked; it is complete without that."""


def track(
    log: AlignmentLog,
    *,
    artifact: Path | None = None,
    experiment: str = "personaagent",
    tracking_uri: str | None = None,
    run: str | None = None,
    texts: bool = True,
) -> str | None:
    """Write an alignment to MLflow; the same one is written to the same run.

    The user's name is a tag, so that the user's runs can be found. Parameters and metrics hold no
    texts. The files of the run hold the personas and ids of interactions; the gradients among them
    may also quote the user's queries and answers, unless `texts` is False.

    Args:
        log: what an alignment returned.
        artifact: the exported JSON; its Markdown beside it is taken along.
        experiment: MLflow's name for the group of runs.
        tracking_uri: a server or a database; default: MLFLOW_TRACKING_URI, else SQLite in the
            user's data folder.
        run: what names the alignment (`PersonaAlignment.key`); default: a digest of its start,
            settings and judging interactions.
        texts: keep the responses, the truths and the texts of the gradients.

    Returns:
        The id of the run, or None, after a `TrackingWarning`, when MLflow cannot be used.
    """
    uri = tracking_uri or default_uri()
    try:
        client = connect(uri)
        found = _run(client, uri, experiment, log, run or _key(log))
        _write(client, found, log, artifact, texts)
    except Exception as error:  # MLflow, its databases and its servers raise anything
        warnings.warn(
            f"MLflow at {_public(uri)} cannot be used, so this run is not tracked "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}). Check that the server "
            "runs or the folder can be written to, or set MLFLOW_TRACKING_URI; the alignment "
            "itself is complete",
            TrackingWarning,
            stacklevel=2,
        )
        return None
    return str(found.info.run_id)


def connect(uri: str) -> MlflowClient:
    """A client of a store that answers; MLflow itself would retry for minutes."""
    scheme = urlsplit(uri).scheme
    if scheme in ("http", "https"):
        try:
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_PATIENCE).close()
        except urllib.error.HTTPError as error:
            if error.code >= 500:  # with 401 or 404 it answers at least
                raise
    elif scheme.startswith(_DATABASES):
        _open(uri)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)  # it tells of migrations
    return MlflowClient(tracking_uri=uri)


def _open(uri: str) -> None:
    """See that the database can be read; a SQLite file's folder is made."""
    import sqlalchemy as sa

    url = sa.make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url)
    try:
        sa.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _run(client: MlflowClient, uri: str, experiment: str, log: AlignmentLog, key: str) -> Run:
    """The run of this key; a new one if there is none."""
    group = _experiment(client, uri, experiment)
    filter_string = f"tags.`{RUN}` = '{key}'"
    if known := client.search_runs([group], filter_string=filter_string, max_results=1):
        return known[0]
    took = float(log.usage.get("busy_seconds", 0.0))
    return client.create_run(
        group,
        start_time=round((time.time() - took) * 1000),
        run_name=f"{log.user} {log.task} v{log.last.version}",
        tags={RUN: key, USER: log.user, "personaagent.task": log.task},
    )


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The id of the experiment; a local one keeps its files beside the database."""
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name, artifact_location=_files_of(uri)))
    except MlflowException:
        if found := client.get_experiment_by_name(name):  # somebody made it in between
            return str(found.experiment_id)
        raise


def _files_of(uri: str) -> str | None:
    """Where the files of a local database's runs go; elsewhere the server decides."""
    if not urlsplit(uri).scheme.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    database = make_url(uri).database
    folder = Path(database).absolute().parent if database else _home()
    return (folder / "mlartifacts").as_uri()


def _write(
    client: MlflowClient, run: Run, log: AlignmentLog, artifact: Path | None, texts: bool
) -> None:
    from mlflow.entities import Metric, Param

    id, began = run.info.run_id, run.info.start_time
    known = run.data
    params = [Param(key, value) for key, value in _params(log) if key not in known.params]
    # Fixed times make a curve that is written again the same curve.
    metrics = [
        Metric(name, value, began + step, step)
        for step, values in enumerate(_curve(log))
        for name, value in values.items()
        if math.isfinite(value)
    ]
    now = round(time.time() * 1000)
    metrics += [
        Metric(name, value, now, 0)
        for name, value in _totals(log).items()
        if known.metrics.get(name) != value
    ]
    client.log_batch(id, metrics=metrics, params=params)
    client.set_tag(id, "personaagent.stopped", log.stopped)
    with tempfile.TemporaryDirectory(prefix="personaagent-") as folder:
        for name, text in _files(log, texts).items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        client.log_artifacts(id, folder)
    for file in (artifact, artifact.with_suffix(".md")) if artifact else ():
        if file.is_file():
            client.log_artifact(id, str(file), "export")
    client.set_terminated(id)


def _params(log: AlignmentLog) -> Iterator[tuple[str, str]]:
    yield "task", log.task
    yield "judging", str(len(log.judged))
    for key, value in _flat(log.settings):
        name = "".join(c if c.isalnum() or c in "_-. /" else "_" for c in key)
        yield name, str(value)[:_LONGEST_PARAMETER]


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


def default_uri() -> str:
    """MLFLOW_TRACKING_URI, else SQLite in the user's data folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_home()}/mlflow.db"


def _home() -> Path:
    return user_data_path("personaagent")


def _public(uri: str) -> str:
    """An address without user and password."""
    return re.sub(r"//[^/]*@", "//", uri)
