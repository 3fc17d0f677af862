"""The pages of results say what the kept answers give, and the first page what the pages say."""

import re
from pathlib import Path

import pytest

from personaagent.experiments.predictions import read_predictions
from personaagent.experiments.report import write_report

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = (DOCS / "results" / "four-tasks.md").read_text()
REPORT = (DOCS / "results" / "report.md").read_text()
FIRST = (DOCS / "results.md").read_text()
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
    _, twin = write_report(read_predictions(ROOT / "results"), tmp_path)
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


# The first page


def short(cell: str) -> str:
    """A cell as it is written by hand: no marks, no zero before a point, no plus."""
    return re.sub(r"\b0(?=\.)", "", re.sub(r"[\\*]", "", cell))


def in_report(number: int) -> dict[str, tuple[str, str]]:
    """By system what an experiment gave, and the tokens of a question."""
    section = REPORT.split(f"\n## {number}. ")[1].split("\n## ")[0]
    head = next(line for line in section.splitlines() if line.startswith("| System | n "))
    rows = [list(map(short, row)) for row in table(section, head)]
    return {row[0].removesuffix(" (floor)"): (row[3], row[-1]) for row in rows}


def on_films(number: int) -> dict[str, tuple[str, str]]:
    page = (DOCS / "results-long-histories.md").read_text()
    head = (
        "| | questions | mean absolute error [95 %] | minus rag, k=16 | "
        "minus ours before alignment | tokens | calls |"
    )
    return {row[0]: (short(row[2]), row[5]) for row in table(page, head, number)}


def on_chats(number: int) -> dict[str, tuple[str, str]]:
    page = (DOCS / "results-chats.md").read_text()
    rows = table(page, "| | honoured [95 %] | against rag | tokens a question |", number)
    return {row[0]: (short(row[1]), row[3]) for row in rows}


def on_texts(number: int) -> dict[str, tuple[str, str]]:
    page = (DOCS / "results-texts.md").read_text()
    head = (
        "| | questions | ROUGE-L [95 %] | minus rag, k=4 | minus ours before alignment | tokens | "
        "calls |"
    )
    return {row[0]: (short(row[2]), row[5]) for row in table(page, head, number)}


def on_labels(measure: str, number: int) -> dict[str, tuple[str, str]]:
    page = (DOCS / "results-labels.md").read_text()
    head = (
        f"| | questions | {measure} [95 %] | minus rag, k=4 | minus ours before alignment | tokens "
        "| calls |"
    )
    return {row[0]: (short(row[2]), row[5]) for row in table(page, head, number)}


CAPABLE = ("", "none", "rag, k=4", "ours")
SYSTEMS = ("", "non-personalized", "rag", "personaagent")
ROWS = {
    "chats: preferences": (on_chats, (0,), ("", "none", "rag, k=6", "persona")),
    "the same, in 700": (on_chats, (0,), ("", "none", "rag, k=6", "persona, 700 words")),
    "the same, two users": (on_chats, (2,), ("", "", "rag, k=6", "persona")),
    "the same, small": (on_chats, (1,), ("", "none", "rag, k=6", "persona, 700 words")),
    "long histories of": (on_films, (3,), ("user's mean", "", "rag, k=16", "ours")),
    "the same, five": (on_films, (1,), ("user's mean", "", "rag, k=16", "ours")),
    "whole histories": (in_report, (13,), ("knn", *SYSTEMS[1:])),
    "excerpts of papers": (in_report, (1,), ("knn", *SYSTEMS[1:])),
    "few tags": (in_report, (3,), ("zero-shot", *SYSTEMS[1:])),
    "excerpts of news": (in_report, (9,), ("knn", *SYSTEMS[1:])),
    "replies in the user's manner:": (on_texts, (0,), CAPABLE),
    "replies in the user's manner, four": (on_texts, (0,), (*CAPABLE[:3], "ours, k=4")),
    "replies learned": (on_texts, (5,), ("", "", "rag, k=4", "ours")),
    "headlines in": (on_texts, (1,), CAPABLE),
    "titles of papers": (on_texts, (3,), CAPABLE),
    "headlines, small": (on_texts, (4,), CAPABLE),
    "papers that": (on_labels, ("accuracy", 0), CAPABLE),
    "articles of": (on_labels, ("accuracy", 1), CAPABLE),
    "tags of": (on_labels, ("accuracy", 2), CAPABLE),
    "stars of": (
        on_labels,
        ("mean absolute error", 0),
        ("user's mode", "none", "rag, k=4", "ours"),
    ),
    "few reviews": (in_report, (14,), ("majority", *SYSTEMS[1:])),
}
"""How a row of the first page begins, the table it is from, and the systems of its columns."""


@pytest.mark.parametrize("begins", ROWS)
def test_the_first_page_says_what_the_pages_say_that_it_links_to(begins):
    (line,) = [one for one in FIRST.splitlines() if one.startswith(f"| {begins}")]
    row = cells(line)
    read, given, systems = ROWS[begins]
    known = read(*given)
    told = [cell for cell in row[2:6] if cell != "-"]
    assert told == [known[one][0] for one in systems if one]
    assert row[7].split(", ") == [known[one][1] for one in systems[2:]]


def test_every_row_of_the_first_page_with_figures_is_checked():
    rows = [one for one in FIRST.splitlines() if one.startswith("| ") and "](" in one]
    assert all(any(one.startswith(f"| {begins}") for begins in ROWS) for one in rows)
    assert len(rows) == len(ROWS)


def test_the_price_of_learning_is_the_one_that_the_pages_say():
    films = (DOCS / "results-long-histories.md").read_text()
    head = "| learned | users | calls a user | tokens a user | words before | words after |"
    texts = (DOCS / "results-texts.md").read_text()
    labels = (DOCS / "results-labels.md").read_text()
    for begins, page, number in (
        ("long histories of", films, 3),
        ("the same, five", films, 1),
        ("replies in the user's manner:", texts, 0),
        ("headlines in", texts, 3),
        ("titles of papers", texts, 5),
        ("headlines, small", texts, 6),
        ("replies learned", texts, 7),
        ("papers that", labels, 0),
        ("articles of", labels, 1),
        ("tags of", labels, 2),
        ("stars of", labels, 4),
    ):
        (line,) = [one for one in FIRST.splitlines() if one.startswith(f"| {begins}")]
        ours = {row[0]: row[2:4] for row in table(page, head, number)}["ours"]
        assert cells(line)[6] == f"{ours[0]} calls, {ours[1]} tokens"
    assert "six LM calls and 15,000 tokens a user" in (DOCS / "results-chats.md").read_text()
    assert "71 calls and 10,920 tokens, once a user" in REPORT


def test_the_readme_shows_rows_of_the_first_page():
    readme = (ROOT / "README.md").read_text()
    shown = table(
        readme, "| what you have | LM | without an LM | LM, no persona | retrieval | ours |"
    )
    first = {tuple(cells(line)[:6]) for line in FIRST.splitlines() if line.startswith("| ")}
    assert len(shown) >= 5
    assert {tuple(row) for row in shown} <= first
