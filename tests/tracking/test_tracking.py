"""MLflow: one run an alignment, and an alignment that never fails for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from personaagent.artifacts import Artifact, export
from personaagent.data import Directive, Persona
from personaagent.optimizers.log import AlignmentLog, Candidate, Gradient, Step
from personaagent.tracking import TrackingWarning, track

FIRST = Persona("ann", "inbox", profile="Ann likes tea.")
BETTER = FIRST.succeed(directives=(Directive("Tea is leisure.", support=("a", "b")),))
WORSE = FIRST.succeed(directives=(Directive("Tea is work.", oppose=("c",)),))


def step(iteration: int, accepted: int | None, loss: float) -> Step:
    return Step(
        iteration,
        ("a",),
        (Gradient("a", "work", "secret truth", "It asks about a secret tea."),),
        (
            Candidate(WORSE, 0.9, 0.2, 1, "worse"),
            Candidate(BETTER, 0.5, 0.8, 2, "better"),
        ),
        accepted,
        loss,
        1 - loss,
    )


LOG = AlignmentLog(
    user="ann",
    task="inbox",
    first=FIRST,
    last=BETTER,
    first_loss=0.9,
    first_score=0.25,
    steps=(step(1, 1, 0.5), step(2, None, 0.5)),
    judged=("c", "d"),
    stopped="2 steps without progress",
    settings={"batch": 4, "update": {"kind": "ItemisedEdits", "most": 3}, "note?": "x" * 9_000},
    usage={"calls": 7, "input_tokens": 10, "output_tokens": 2, "seconds": 3.0, "money": 0.25},
)


@pytest.fixture(scope="session")
def tracked(uri: str) -> str:
    """The id of the run of LOG."""
    run = track(LOG, tracking_uri=uri)
    assert run
    return run


def files(client: Any, run: str, folder: Path) -> Path:
    return Path(client.download_artifacts(run, "", str(folder)))


def test_settings_are_parameters_and_the_user_is_a_tag(client: Any, tracked: str):
    run = client.get_run(tracked)
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "task": "inbox",
        "judging": "2",
        "batch": "4",
        "update.kind": "ItemisedEdits",
        "update.most": "3",
        "note_": "x" * 500,
    }
    assert run.data.tags["personaagent.user"] == "ann"
    assert run.data.tags["personaagent.stopped"] == "2 steps without progress"


def test_no_git_commit_and_no_account_is_recorded(client: Any, tracked: str):
    tags = client.get_run(tracked).data.tags
    assert {key for key in tags if key.startswith("mlflow.")} == {"mlflow.runName"}
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_the_curve_begins_with_the_first_persona(client: Any, tracked: str):
    def curve(name: str) -> list[tuple[int, float]]:
        return [(one.step, one.value) for one in client.get_metric_history(tracked, name)]

    assert curve("loss") == [(0, 0.9), (1, 0.5), (2, 0.5)]
    assert curve("score") == [(0, 0.25), (1, 0.5), (2, 0.5)]
    assert curve("accepted") == [(0, 0), (1, 1), (2, 1)]


def test_what_it_cost_is_counted(client: Any, tracked: str):
    metrics = client.get_run(tracked).data.metrics
    assert {name: metrics[name] for name in ("calls", "tokens", "seconds", "money")} == {
        "calls": 7,
        "tokens": 12,
        "seconds": 3,
        "money": 0.25,
    }


def test_personas_gradients_and_candidates_are_files(client: Any, tracked: str, tmp_path: Path):
    folder = files(client, tracked, tmp_path)
    assert (folder / "first.md").read_text() == FIRST.render() + "\n"
    assert (folder / "last.md").read_text() == BETTER.render() + "\n"
    assert "+- Tea is leisure." in (folder / "diff.md").read_text().splitlines()
    assert json.loads((folder / "log.json").read_text()) == LOG.to_dict()
    gradients = json.loads((folder / "gradients.json").read_text())
    assert [one["iteration"] for one in gradients] == [1, 2]
    assert gradients[0]["text"] == "It asks about a secret tea."
    candidates = json.loads((folder / "candidates.json").read_text())
    assert [one["accepted"] for one in candidates] == [False, True, False, False]
    assert (candidates[0]["loss"], candidates[0]["reason"]) == (0.9, "worse")


def test_texts_can_be_left_out(uri: str, client: Any, tmp_path: Path):
    run = track(LOG, tracking_uri=uri, run="no texts", texts=False)
    folder = files(client, str(run), tmp_path)
    assert json.loads((folder / "gradients.json").read_text())[0] == {
        "iteration": 1,
        "interaction": "a",
    }
    assert not any("secret" in file.read_text() for file in folder.iterdir())


def test_the_exported_files_are_taken_along(uri: str, client: Any, tmp_path: Path):
    exported, _ = export(tmp_path / "ann.json", Artifact.of(BETTER))
    run = track(LOG, tracking_uri=uri, run="exported", artifact=exported)
    folder = files(client, str(run), tmp_path) / "export"
    assert sorted(file.name for file in folder.iterdir()) == ["ann.json", "ann.md"]


def test_a_resumed_alignment_goes_on_in_its_run(uri: str, client: Any):
    stopped = replace(LOG, steps=LOG.steps[:1], last=BETTER, usage={"calls": 3})
    run = track(stopped, tracking_uri=uri, run="resumed")
    assert track(LOG, tracking_uri=uri, run="resumed") == run
    assert track(LOG, tracking_uri=uri, run="resumed") == run
    assert [one.value for one in client.get_metric_history(run, "loss")] == [0.9, 0.5, 0.5]
    assert [one.value for one in client.get_metric_history(run, "calls")] == [3, 7]
    assert client.get_run(run).data.metrics["calls"] == 7


def test_one_that_is_made_anew_and_goes_otherwise_has_a_run_of_its_own(client: Any, uri: str):
    first = track(LOG, tracking_uri=uri, run="again")
    other = replace(LOG, steps=(step(1, 1, 0.4), step(2, None, 0.4)))
    second = track(other, tracking_uri=uri, run="again")
    assert first != second
    assert track(LOG, tracking_uri=uri, run="again") == first
    assert track(other, tracking_uri=uri, run="again") == second
    for run, expected in ((first, [0.9, 0.5, 0.5]), (second, [0.9, 0.4, 0.4])):
        assert [one.value for one in client.get_metric_history(run, "loss")] == expected


def test_another_alignment_is_another_run(uri: str, tracked: str):
    assert track(LOG, tracking_uri=uri) == tracked
    assert track(replace(LOG, settings={"batch": 8}), tracking_uri=uri) != tracked
    assert track(LOG, tracking_uri=uri, experiment="other") != tracked


def test_the_environment_names_the_store(uri: str, tracked: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert track(LOG) == tracked


def test_without_one_it_is_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(
        "personaagent.tracking.connection.user_data_path", lambda name: tmp_path / name
    )
    (tmp_path / "personaagent" / "mlflow.db").mkdir(parents=True)  # to be told where it is
    with pytest.warns(TrackingWarning, match=f"{tmp_path}/personaagent/mlflow.db"):
        assert track(LOG) is None


def refused(uri: str, why: str) -> None:
    began = time.monotonic()
    with pytest.warns(TrackingWarning, match=f"{why}(?s:.*)MLFLOW_TRACKING_URI") as caught:
        assert track(LOG, tracking_uri=uri) is None
    assert time.monotonic() - began < 10
    assert [warning.filename for warning in caught] == [__file__]
    assert "hidden" not in str(caught[0].message)


def test_a_server_that_is_down_is_a_warning():
    refused("http://ann:hidden@127.0.0.1:9", r"http://127\.0\.0\.1:9 cannot be used")


def test_a_server_that_fails_is_a_warning():
    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Failing)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        refused(f"http://127.0.0.1:{server.server_port}", "Service Unavailable")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_file_that_is_no_database_is_a_warning(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no database" * 100)
    refused(f"sqlite:///{tmp_path}/notes.txt", "not a database")


def test_a_store_that_mlflow_does_not_know_is_a_warning():
    refused("nonsense://x", "cannot be used")


def test_mlflow_is_imported_only_when_something_is_tracked():
    code = "import sys, personaagent.tracking; assert 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
