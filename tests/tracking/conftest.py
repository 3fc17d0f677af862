"""One MLflow database for all tests: its first use migrates it for seconds."""

from __future__ import annotations

import warnings
from typing import Any

import pytest


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('ml flow') / 'new' / 'mlflow.db'}"


@pytest.fixture(scope="session")
def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@pytest.fixture
def no_warning() -> Any:
    """A warning is an error: what is tracked must be tracked."""
    from personaagent.tracking import TrackingWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", TrackingWarning)
        yield
