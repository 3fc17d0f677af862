"""examples/gepa_acceptance.py and examples/mlflow_optimizer.py: only what wins is taken."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def gepa():
    pytest.importorskip("gepa", reason="the example needs GEPA")
    return runpy.run_path(str(EXAMPLES / "gepa_acceptance.py"))


def score(candidate, example):
    return float(candidate["persona"] in example)


def test_gepa_takes_what_wins_on_judges_of_our_own(gepa, capsys):
    gepa["main"]()
    assert capsys.readouterr().out.splitlines()[-1] == "Dogs are travel."


def test_gepa_does_not_take_what_is_better_only_where_it_was_written(gepa):
    examples = [("good",), ("start",)] * 6  # what is written fits every second one, the first half
    found = gepa["optimize"]("start", examples, score, lambda _: "```\ngood\n```", 60)
    assert found == "start"


@pytest.mark.parametrize(
    ("written", "registered"),
    [("Dogs are travel. {{message}}", 1), ("Dogs are work. {{message}}", 0)],
)
def test_mlflow_registers_only_what_won(tmp_path, monkeypatch, written, registered):
    mlflow = pytest.importorskip("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_GENAI_EVAL_MAX_WORKERS", "1")
    try:
        module = runpy.run_path(str(EXAMPLES / "mlflow_optimizer.py"))
        found = module["main"](written)
        assert [one.template for one in found] == [written] * registered
        versions = mlflow.MlflowClient().search_prompt_versions("persona")
        assert len(versions) == 1 + registered
    finally:
        mlflow.set_tracking_uri(before)
