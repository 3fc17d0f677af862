"""The agent as an MLflow model, served for real: two users, two answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai_server import serving
from worlds_of_mail import INBOX, book

from personaagent.artifacts import Artifact
from personaagent.data import Directive, Persona, Rating
from personaagent.errors import ArtifactError, StoreError
from personaagent.tracking import log_agent, save_agent
from personaagent.tracking.model import load_agent

RULE = "If the message mentions dog, answer {}."


def persona(user: str, label: str) -> Artifact:
    directive = Directive(RULE.format(label))
    return Artifact.of(Persona(user, "inbox", directives=(directive,), actions=()))


PERSONAS = [persona("ann", "travel"), persona("bob/é", "family")]


def post(address: str, data: Any) -> Any:
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(data).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@contextmanager
def served(model: str, folder: Path, **environment: str) -> Iterator[str]:
    """`mlflow models serve`, as the documentation has it; its address when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["models", "serve", "-m", model, "--env-manager", "local", "-p", str(port)]
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command],
            env=os.environ | {"PATH": programs, "PYTHONPATH": paths} | environment,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, (folder / "serve.log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_mlflow_serves_two_users_differently(uri: str, tmp_path: Path):
    with serving(book()) as lm:
        model = log_agent(INBOX, PERSONAS, lm="tiny", api_base=lm, tracking_uri=uri)
        with served(model, tmp_path, MLFLOW_TRACKING_URI=uri) as address:
            questions = [
                {"user": user, "query": "dinner with the dog"} for user in ("ann", "bob/é", "eve")
            ]
            ann, bob, eve = post(address, {"inputs": questions})["predictions"]
            assert (ann["answer"], bob["answer"]) == ("travel", "family")
            assert ann["hash"] == PERSONAS[0].persona.hash
            assert sum(ann["distribution"].values()) == pytest.approx(1)
            assert (eve["answer"], eve["version"]) == ("family", None)  # the LM alone
            with pytest.raises(urllib.error.HTTPError) as refused:
                post(address, {"inputs": [{"user": "ann"}]})
            assert refused.value.code == 400
            assert "query" in refused.value.read().decode()


def test_a_saved_model_holds_json_and_no_pickle(tmp_path: Path):
    folder = save_agent(tmp_path / "model", INBOX, PERSONAS, lm="tiny", api_base="http://x/v1")
    kinds = {file.suffix for file in folder.rglob("*") if file.is_file()}
    assert kinds <= {"", ".json", ".py", ".yaml", ".yml", ".txt"}
    (settings,) = folder.rglob("agent.json")
    agent, personas, lm = load_agent(settings.parent)
    assert agent.task == INBOX
    assert personas == {one.persona.user: one.persona for one in PERSONAS}
    assert lm.fingerprint == "openai/tiny@http://x/v1"


@pytest.mark.parametrize(
    ("lm", "api_base", "extras", "needed"),
    [
        ("embedded", None, (), "personaagent[embedded]"),
        ("my.GGUF", None, (), "personaagent[embedded]"),
        ("openai/gpt-4o-mini", None, (), "personaagent"),
        ("embedded", "http://x/v1", (), "personaagent"),
        ("embedded", None, ("postgres",), "personaagent[embedded,postgres]"),
        ("openai/gpt-4o-mini", None, ("postgres",), "personaagent[postgres]"),
    ],
)
@pytest.mark.parametrize("version", ["1.2.3", "unknown"])
def test_pip_installs_what_the_models_own_lm_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lm, api_base, extras, needed, version
):
    monkeypatch.setattr("personaagent.artifacts.package_version", lambda: version)
    folder = save_agent(
        tmp_path / "model", INBOX, PERSONAS, lm=lm, api_base=api_base, extras=extras
    )
    pinned = "" if version == "unknown" else "==1.2.3"
    assert f"{needed}{pinned}" in (folder / "requirements.txt").read_text().splitlines()


def test_where_it_runs_another_lm_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = save_agent(tmp_path / "model", INBOX, PERSONAS)
    (settings,) = folder.rglob("agent.json")
    monkeypatch.setenv("PERSONAAGENT_LM", "big")
    monkeypatch.setenv("PERSONAAGENT_API_BASE", "http://y/v1")
    assert load_agent(settings.parent)[2].fingerprint == "openai/big@http://y/v1"


def test_a_memory_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = save_agent(tmp_path / "model", INBOX, PERSONAS)
    monkeypatch.setenv("PERSONAAGENT_DB", str(tmp_path / "typo" / "memory.db"))
    with pytest.raises(StoreError, match="there is no such database"):
        load_agent(next(folder.rglob("agent.json")).parent)
    assert not (tmp_path / "typo").exists()


def test_a_changed_persona_is_refused(tmp_path: Path):
    folder = save_agent(tmp_path / "model", INBOX, PERSONAS)
    (file,) = folder.rglob(f"{PERSONAS[0].persona.hash}.json")
    file.write_text(file.read_text().replace("travel", "work"))
    with pytest.raises(ArtifactError, match="the checksum is wrong"):
        load_agent(file.parent.parent)


@pytest.mark.parametrize(
    ("personas", "problem"),
    [
        ([], "one at least"),
        ([PERSONAS[0], persona("ann", "work")], "one persona for every user"),
    ],
)
def test_a_model_has_one_persona_a_user(tmp_path: Path, personas: Sequence[Artifact], problem: str):
    with pytest.raises(ArtifactError, match=problem):
        save_agent(tmp_path / "model", INBOX, personas)
    assert not (tmp_path / "model").exists()


def test_personas_of_another_task_and_taken_folders_are_refused(tmp_path: Path):
    stars = Rating("stars", "How many?")
    with pytest.raises(ArtifactError, match="is for task 'inbox', not 'stars'"):
        save_agent(tmp_path / "model", stars, PERSONAS)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").touch()
    with pytest.raises(ArtifactError, match="there is something already"):
        save_agent(tmp_path / "model", INBOX, PERSONAS)


def test_the_tasks_own_nouns_are_kept(tmp_path: Path):
    task = replace(INBOX, item="letter", answer="tray")
    folder = save_agent(tmp_path / "model", task, PERSONAS)
    (settings,) = folder.rglob("agent.json")
    assert load_agent(settings.parent)[0].task == task
