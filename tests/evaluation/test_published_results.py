"""What docs/results says is what the answers under results/ give."""

import re
from pathlib import Path

from personaagent.evaluation.predictions import Predictions
from personaagent.evaluation.report import write_report

ROOT = Path(__file__).parents[2]


def test_the_published_report_is_computed_from_the_published_answers(tmp_path):
    _, twin = write_report(Predictions(ROOT / "results"), tmp_path)
    assert twin.read_text() == (ROOT / "docs" / "results" / "report.md").read_text()


def test_every_figure_of_the_tables_is_in_the_report():
    report = (ROOT / "docs" / "results" / "report.md").read_text()
    tables = (ROOT / "docs" / "results.md").read_text().partition("## Main table")[2]
    rows = [line for line in tables.splitlines() if line.startswith("| ")]
    cells = [cell.strip() for row in rows for cell in row.split("|")[2:-1]]
    figures = [cell for cell in cells if re.fullmatch(r"[\d.,]+", cell)]
    assert len(figures) > 100
    for figure in figures:
        assert (f"0{figure}" if figure.startswith(".") else figure) in report, figure
