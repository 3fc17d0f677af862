"""What docs/results says is what the answers under results/ give."""

from pathlib import Path

from personaagent.evaluation.predictions import Predictions
from personaagent.evaluation.report import write_report

ROOT = Path(__file__).parents[2]


def test_the_published_report_is_computed_from_the_published_answers(tmp_path):
    _, twin = write_report(Predictions(ROOT / "results"), tmp_path)
    assert twin.read_text() == (ROOT / "docs" / "results" / "report.md").read_text()


def test_every_figure_of_the_main_table_is_in_the_report():
    report = (ROOT / "docs" / "results" / "report.md").read_text()
    table = (ROOT / "docs" / "results.md").read_text().partition("## Main table")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    figures = [cell.strip() for row in rows for cell in row.split("|")[2:-1] if cell.strip()]
    assert len(figures) > 20
    for figure in figures:
        assert (f"0{figure}" if figure.startswith(".") else figure) in report, figure
