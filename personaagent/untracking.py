"""Deleting a user's MLflow runs, files and all: the other end of `tracking`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from personaagent import tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PATIENCE = 30.0  # seconds that another process may be writing


def forget(user: str, *, tracking_uri: str | None = None) -> int:
    """Delete every run of a user, its files included; the number of runs.

    In a local database nothing is left of them. A server marks their records (numbers, and the
    user's name as a tag) as deleted until its administrator runs `mlflow gc`.

    Args:
        user: whose runs.
        tracking_uri: as in `track`.

    Raises:
        Exception: MLflow cannot be reached, or refuses.
    """
    uri = tracking_uri or tracking.default_uri()
    database = urlsplit(uri).path.removeprefix("/") if uri.startswith("sqlite:") else None
    if database is not None and not Path(database).is_file():
        return 0
    client = tracking.connect(uri)
    mine = [run for run in _runs(client) if run.data.tags.get(tracking.USER) == user]
    if mine:
        _delete(client, mine)
        if database is not None:
            _compact(database)
    return len(mine)


def _runs(client: MlflowClient) -> Iterator[Run]:
    """Every run of every experiment, those that were marked as deleted included."""
    from mlflow.entities import ViewType

    for group in client.search_experiments(view_type=ViewType.ALL):
        token: str | None = ""
        while token is not None:
            page = client.search_runs([group.experiment_id], "", ViewType.ALL, page_token=token)
            yield from page
            token = page.token or None


def _delete(client: MlflowClient, runs: list[Run]) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store = client._tracking_client.store
    for run in runs:
        get_artifact_repository(run.info.artifact_uri).delete_artifacts()
        if hasattr(store, "_hard_delete_run"):  # as `mlflow gc` does
            store._hard_delete_run(run.info.run_id)
        else:
            client.delete_run(run.info.run_id)


def _compact(database: str) -> None:
    """Overwrite what was deleted from a SQLite file."""
    with closing(sqlite3.connect(database, timeout=_PATIENCE, isolation_level=None)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
