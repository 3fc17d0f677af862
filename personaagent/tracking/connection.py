"""The MLflow store that is meant: its address, a client of it where it answers, its experiments,
and the runs that are found again by a tag."""

from __future__ import annotations

import logging
import os
import re
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from platformdirs import user_data_path

from personaagent.files import private_file, private_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

EXPERIMENT = "personaagent"
"""MLflow's name for the group of our runs and traces."""

USER, USERS = "personaagent.user", "personaagent.users"
"""The tags that name whose data something holds; `USERS` a JSON list, of a model for several."""

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_LONGEST_PARAMETER = 500
_PATIENCE = 5.0  # seconds that a server may take to be there


class TrackingWarning(UserWarning):
    """Something was not tracked; the work itself is complete without that."""


def address(tracking_uri: str | None) -> str:
    """What is given; else MLFLOW_TRACKING_URI; else SQLite in the user's data folder."""
    named = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    return named or f"sqlite:///{_home()}/mlflow.db"


def connect(uri: str) -> MlflowClient:
    """A client of a store that answers; MLflow itself would retry for minutes.

    Raises:
        Exception: whatever MLflow, its databases and its servers raise.
    """
    scheme = urlsplit(uri).scheme
    if scheme in ("http", "https"):
        try:
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_PATIENCE).close()
        except urllib.error.HTTPError as error:
            if error.code >= 500:  # with 401 or 404 it answers at least
                raise
    elif scheme.startswith(_DATABASES):
        _open(uri)
    quieten()
    # A server that dies meanwhile: its calls fail within seconds and not after minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ASYNC_TRACE_LOGGING_RETRY_TIMEOUT", "10")
    from mlflow import MlflowClient

    # They tell of migrations, and of the queue of traces at the end of the program.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)
    logging.getLogger("mlflow.tracing.export.async_export_queue").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def quieten() -> None:
    """Before MLflow is imported: nothing of it is sent anywhere or put on the terminal."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def experiment_of(client: MlflowClient, uri: str, name: str) -> str:
    """The id of the experiment; a local one keeps its files beside the database."""
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    try:
        files = _files_of(uri)
        if files is not None:
            private_folder(files)
        return str(client.create_experiment(name, files and files.as_uri()))
    except MlflowException:
        if found := client.get_experiment_by_name(name):  # somebody made it in between
            return str(found.experiment_id)
        raise


@contextmanager
def current(uri: str) -> Iterator[None]:
    """A store as MLflow's own current one, which its traces and models go to; then as before."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def warn(uri: str, error: Exception, lost: str, *, level: int) -> None:
    """A `TrackingWarning` that says what is not tracked, and why.

    Args:
        lost: what, such as "this run is not tracked".
        level: of the frame that is warned, 1 the caller of this function.
    """
    reason = str(error).partition("\n")[0]
    warnings.warn(
        f"MLflow at {_public(uri)} cannot be used, so {lost} ({type(error).__name__}: {reason}). "
        "Check that the server runs or the folder can be written to, or set MLFLOW_TRACKING_URI",
        TrackingWarning,
        stacklevel=level + 1,
    )


def _open(uri: str) -> None:
    """See that the database can be read; a SQLite file's folder is made."""
    import sqlalchemy as sa

    url = sa.make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database:
        private_folder(Path(url.database).parent)
        if url.database != ":memory:" and not Path(url.database).exists():
            private_file(Path(url.database))
    engine = sa.create_engine(url)
    try:
        sa.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _files_of(uri: str) -> Path | None:
    """Where the files of a local database's runs go; elsewhere the server decides."""
    if not urlsplit(uri).scheme.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    database = make_url(uri).database
    folder = Path(database).absolute().parent if database else _home()
    return folder / "mlartifacts"


def _home() -> Path:
    return user_data_path("personaagent")


def _public(uri: str) -> str:
    """An address without user and password."""
    return re.sub(r"//[^/]*@", "//", uri)


def run_of(
    client: MlflowClient, group: str, tag: str, key: str, name: str, tags: Mapping[str, str]
) -> Run:
    """The run of a group that a tag names so; a new one if there is none."""
    found = client.search_runs([group], f"tags.`{tag}` = '{key}'", max_results=1)
    return found[0] if found else client.create_run(group, run_name=name, tags={tag: key, **tags})


def log(
    client: MlflowClient,
    run: Run,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    curve: Sequence[Metric] = (),
) -> None:
    """Write what the run does not say yet, and a curve, whose times must be fixed for it to stay
    the same curve when it is written again."""
    from mlflow.entities import Metric, Param

    now = round(time.time() * 1000)
    client.log_batch(
        run.info.run_id,
        params=[
            Param(name, str(value)[:_LONGEST_PARAMETER])
            for name, value in params.items()
            if name not in run.data.params
        ],
        metrics=[
            *curve,
            *(
                Metric(name, value, now, 0)
                for name, value in metrics.items()
                if run.data.metrics.get(name) != value
            ),
        ],
    )
