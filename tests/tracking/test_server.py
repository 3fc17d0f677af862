"""A tracking server of its own, named by the usual variable: there, and then gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dspy
import pytest
from rulebook import stand_in
from worlds_of_mail import INBOX, book, habitual, remembering

from personaagent.data import Persona
from personaagent.programs import PersonaAgent
from personaagent.tracking import TrackingWarning, register, traced

ANN = Persona("ann", "inbox", profile="Ann has a dog.", actions=())


@pytest.fixture
def server(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The process of `mlflow server`; MLFLOW_TRACKING_URI names it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "files"
    options = ["--backend-store-uri", uri, "--artifacts-destination", str(folder)]
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "-p", str(port), "-w", "1", *options],
            env=os.environ | {"PATH": programs, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(0.5)
        yield process
    finally:
        stop(process)


def stop(process: Any) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


@pytest.mark.usefixtures("no_warning")
def test_a_server_keeps_prompts_and_traces_and_may_die_meanwhile(
    server: Any, client: Any, tmp_path: Path
):
    assert register(ANN) == "prompts:/persona.inbox.ann/1"
    assert client.get_prompt_version_by_alias("persona.inbox.ann", "champion").format() == (
        ANN.render()
    )
    with remembering(tmp_path, *habitual()) as memory, dspy.context(lm=stand_in(book())):
        agent = PersonaAgent(INBOX, memory, persona=ANN)
        with traced(agent, experiment="served"):
            agent(query="the first", user="ann")
        group = client.get_experiment_by_name("served").experiment_id
        assert len(client.search_traces(locations=[group])) == 1
        began = time.monotonic()
        with traced(agent, experiment="served"):
            stop(server)
            assert agent(query="the second", user="ann").answer in INBOX.labels
        assert time.monotonic() - began < 60  # and not the minutes for which MLflow would try
        with pytest.warns(TrackingWarning, match="answers are not traced"), traced(agent):
            assert agent(query="the third", user="ann").answer in INBOX.labels
    assert len(client.search_traces(locations=[group])) == 1
