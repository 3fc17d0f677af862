"""Deleting what MLflow holds of a user, files and all: the other end of `tracking`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from personaagent.tracking import connection

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run, TraceInfo

_PATIENCE = 30.0  # seconds that another process may be writing
_TRACES_AT_ONCE = 100


def forget(user: str, *, tracking_uri: str | None = None) -> int:
    """Delete a user's runs, traces, prompts and models, their files included; how many there were.

    A model that was logged for several users goes as a whole. In a local database nothing is left.
    A server marks the records of runs and models (numbers, and the user's name as a tag) as
    deleted until its administrator runs `mlflow gc`.

    Args:
        user: whose.
        tracking_uri: as in `track`.

    Raises:
        Exception: MLflow cannot be reached, or refuses.
    """
    uri = connection.address(tracking_uri)
    database = urlsplit(uri).path.removeprefix("/") if uri.startswith("sqlite:") else None
    if database is not None and not Path(database).is_file():
        return 0
    client = connection.connect(uri)
    groups = [one.experiment_id for one in _groups(client)]
    runs = [one for one in _runs(client, groups) if _concerns(user, one.data.tags)]
    models = _models(client, groups, {one.info.run_id for one in runs})
    prompts = [one.name for one in _pages(client.search_prompts) if _concerns(user, one.tags)]
    traces = {group: _traces(client, group, user) for group in groups}
    found = len(runs) + len(models) + len(prompts) + sum(map(len, traces.values()))
    _delete(client, runs, models)
    for name in prompts:
        client.delete_prompt(name)
    for group, some in traces.items():
        _delete_traces(client, group, some)
    if found and database is not None:
        _compact(database)
    return found


def _concerns(user: str, tags: dict[str, str]) -> bool:
    return tags.get(connection.USER) == user or user in json.loads(tags.get(connection.USERS, "[]"))


def _groups(client: MlflowClient) -> Iterator[Any]:
    from mlflow.entities import ViewType

    return _pages(lambda page_token: client.search_experiments(ViewType.ALL, page_token=page_token))


def _runs(client: MlflowClient, groups: list[str]) -> Iterator[Run]:
    """Every run, those that were marked as deleted included."""
    from mlflow.entities import ViewType

    return _pages(
        lambda page_token: client.search_runs(groups, "", ViewType.ALL, page_token=page_token)
    )


def _models(client: MlflowClient, groups: list[str], runs: set[str]) -> list[LoggedModel]:
    """The models that were logged in these runs."""
    found = _pages(lambda page_token: client.search_logged_models(groups, page_token=page_token))
    return [one for one in found if one.source_run_id in runs]


def _traces(client: MlflowClient, group: str, user: str) -> list[TraceInfo]:
    """The user's traces in an experiment."""
    found = _pages(
        lambda page_token: client.search_traces(
            locations=[group],
            include_spans=False,
            max_results=_TRACES_AT_ONCE,
            page_token=page_token,
        )
    )
    return [one.info for one in found if _concerns(user, one.info.tags)]


def _pages(search: Callable[..., Any]) -> Iterator[Any]:
    token: str | None = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _delete(client: MlflowClient, runs: list[Run], models: list[LoggedModel]) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store = client._tracking_client.store
    for model in models:
        get_artifact_repository(model.artifact_location).delete_artifacts()
        client.delete_logged_model(model.model_id)
        if hasattr(store, "_hard_delete_logged_model"):  # as `mlflow gc` does
            store._hard_delete_logged_model(model.model_id)
    for run in runs:
        get_artifact_repository(run.info.artifact_uri).delete_artifacts()
        if hasattr(store, "_hard_delete_run"):
            store._hard_delete_run(run.info.run_id)
        else:
            client.delete_run(run.info.run_id)


def _delete_traces(client: MlflowClient, group: str, traces: list[TraceInfo]) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    for one in traces:  # of itself MLflow deletes the record alone
        if place := one.tags.get("mlflow.artifactLocation"):
            files = get_artifact_repository(place)
            if files.list_artifacts():
                files.delete_artifacts()
    for start in range(0, len(traces), _TRACES_AT_ONCE):
        some = traces[start : start + _TRACES_AT_ONCE]
        client.delete_traces(group, trace_ids=[one.trace_id for one in some])


def _compact(database: str) -> None:
    """Overwrite what was deleted from a SQLite file."""
    with closing(sqlite3.connect(database, timeout=_PATIENCE, isolation_level=None)) as connected:
        connected.execute("VACUUM")
        connected.execute("PRAGMA wal_checkpoint(TRUNCATE)")
