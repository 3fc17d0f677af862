"""The notebook, executed with a stand-in LM behind a local server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai_server import serving
from rulebook import RuleBook

from personaagent.artifacts import load
from personaagent.data import read_tasks

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "personaagent.ipynb"
SAMPLE = ROOT / "personaagent" / "data" / "sample"
READINGS = {"ferry": "travel", "tour": "travel", "invoice": "money", "meeting": "work"}


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat and nbclient")
    nbclient = pytest.importorskip("nbclient", reason="notebooks need nbclient")
    pytest.importorskip("ipykernel", reason="notebooks need a kernel: ipykernel")
    rules = RuleBook(read_tasks(SAMPLE / "tasks.json")["inbox"], READINGS)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with serving(rules) as address:
        monkeypatch.setenv("PERSONAAGENT_LM", "stand-in")
        monkeypatch.setenv("PERSONAAGENT_API_BASE", address)
        monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
        client = nbclient.NotebookClient(
            notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}
        )
        client.execute()
    return notebook


def test_the_notebook_goes_from_the_history_to_an_exported_persona(executed: Any, tmp_path: Path):
    outputs = [one for cell in executed.cells for one in cell.get("outputs", [])]
    plots = [one for one in outputs if "image/png" in one.get("data", {})]
    printed = "".join(one["text"] for one in outputs if one.output_type == "stream")
    assert len(plots) == 4
    assert "answers come from stand-in" in printed
    (file,) = (tmp_path / "personas").glob("*.json")
    persona = load(file).persona
    assert persona.user == "amira"
    assert printed.count(persona.render()) == 2  # as it was learned, and as it was exported


def test_no_outputs_are_committed_that_could_be_of_another_version():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell["source"] for cell in code if cell["outputs"] or cell["execution_count"]] == []
