"""What docs/results says is what the answers under results/ give."""

import re
from pathlib import Path

import pytest

from personaagent.experiments.predictions import Predictions
from personaagent.experiments.report import write_report

ROOT = Path(__file__).parents[2]
RESULTS = (ROOT / "docs" / "results.md").read_text()
REPORT = (ROOT / "docs" / "results" / "report.md").read_text()
NAMES = {
    "ICL": "icl",
    "ICL, latest 4": "icl",
    "RAG": "rag",
    "RAG, k=4": "rag",
    "PAG": "pag",
    "MemoryBank": "membank",
    "ReAct": "react",
    "PersonaAgent": "personaagent",
    "nothing": "personaagent",
    "the user's memory": "personaagent-without-memory",
    "habit": "personaagent-without-habit",
    "the lean": "personaagent-without-lean",
    "what labels mean to the cohort": "personaagent-without-meanings",
    "without alignment": "personaagent-without-alignment",
}
TABLES = {
    "| | LaMP-1 | LaMP-2M-style | LaMP-2N | LaMP-3-style (MAE) |": [[1, 3, 9, 14], [2, 7, 11, 15]],
    "| taken away | LaMP-2M-style, n = 128 | LaMP-2N, n = 278 |": [[3, 9]],
    "| | accuracy | loss, nats | seconds | LM calls |": [[13]],
    "| | LaMP-2M-style, n = 32, sampled | read | LaMP-2N, n = 40, sampled | read |": [
        [6, 4, 8, 11]
    ],
}
"""The head of a table, and of each table with it the experiments that its columns are from."""


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(text: str, head: str, number: int = 0) -> list[list[str]]:
    """The rows of a table."""
    after = text.split(f"{head}\n")[number + 1].splitlines()[1:]
    rows = []
    for line in after:
        if not line.startswith("|"):
            break
        rows.append(cells(line))
    return rows


def published(name: str, experiment: int) -> str:
    """A system's score in an experiment, as the report has it."""
    (head,) = [line for line in REPORT.splitlines() if line.startswith("| System | 1. ")]
    column = next(n for n, cell in enumerate(cells(head)) if cell.startswith(f"{experiment}. "))
    (row,) = [row for row in table(REPORT, head) if row[0] == name]
    return row[column]


def test_the_published_report_is_computed_from_the_published_answers(tmp_path):
    _, twin = write_report(Predictions(ROOT / "results"), tmp_path)
    assert twin.read_text() == REPORT


@pytest.mark.parametrize(
    ("head", "number"), [(head, n) for head, of in TABLES.items() for n in range(len(of))]
)
def test_every_score_is_the_one_in_its_own_cell_of_the_report(head, number):
    checked = 0
    for name, *scores in table(RESULTS, head, number):
        system = NAMES.get(name, name.removesuffix(" (floor)"))
        for score, experiment in zip(scores, TABLES[head][number], strict=False):
            if score != "-":
                figure = score.split()[0]
                assert published(system, experiment) == f"0{figure}".replace("01.", "1."), name
                checked += 1
    assert checked >= 8


def test_the_costs_are_those_of_the_experiment_of_one_sample_at_a_time():
    section = REPORT.split("\n## 12. ")[1].split("\n## 13. ")[0].split("### Efficiency")[1]
    head = next(line for line in section.splitlines() if line.startswith("| System"))
    costs = {row[0]: row for row in table(section, head)}
    for name, seconds, calls, tokens in table(RESULTS, "| | seconds | LM calls | tokens |"):
        row = costs[NAMES.get(name, name)]
        told = row[2].split()[0], row[5], int(row[6].replace(",", "")) + int(row[8])
        assert told == (f"{float(seconds):.3f}", calls, int(tokens.replace(",", ""))), name


def test_every_other_figure_is_in_the_report():
    tables = RESULTS.partition("## Main table")[2]
    rows = [line for line in tables.splitlines() if line.startswith("| ")]
    figures = [cell for row in rows for cell in cells(row)[1:] if re.fullmatch(r"[\d.,]+", cell)]
    assert len(figures) > 100
    report = {cell.split()[0] for line in REPORT.splitlines() for cell in cells(line) if cell}
    for figure in figures:
        assert (f"0{figure}" if figure.startswith(".") else figure) in report, figure
