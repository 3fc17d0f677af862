"""A table is defined once, and is the same on a terminal, in Markdown and in HTML."""

import io

from rich.console import Console

from personaagent.table import Table

SCORES = Table(
    columns=["System", "n", "failed", "score"],
    rows=[["rag", "12", "0", "0.5"], ["a|b", "1,200", "0", "0.75"], ["", "1", "1", "-"]],
    right=["n", "failed", "score"],
    note="Of *all* users.",
    strong=[1],
    faint=[2],
    terminal={"System": "system", "n": "n", "score": "score"},
)


def shown(table: Table, width: int = 60, **kinds: bool) -> str:
    screen = Console(file=io.StringIO(), width=width, **kinds)
    screen.print(table.rich())
    return screen.file.getvalue()


def test_markdown_has_every_column_numbers_to_the_right_and_the_note():
    assert SCORES.markdown() == (
        "| System | n | failed | score |\n"
        "| --- | --: | --: | --: |\n"
        "| rag | 12 | 0 | 0.5 |\n"
        "| **a\\|b** | **1,200** | **0** | **0.75** |\n"
        "|  | 1 | 1 | - |\n"
        "\n"
        "Of \\*all\\* users."
    )


def test_html_has_the_same_cells():
    page = SCORES.html()
    assert "<th>System</th><th class=n>n</th>" in page
    assert '<tr class="strong"><td>a|b</td><td class=n>1,200</td>' in page
    assert '<tr class="faint"><td></td>' in page
    assert page.endswith("<p>Of *all* users.</p>")


def test_a_terminal_shows_what_it_has_room_for():
    head, _, first, *_ = [line for line in shown(SCORES).splitlines() if line.strip()]
    assert head.split() == ["system", "n", "score"]
    assert first.split() == ["rag", "12", "0.5"]
    assert "Of *all* users." in shown(SCORES)


def test_numbers_stay_whole_and_words_are_folded_where_the_terminal_is_narrow():
    table = Table(columns=["who", "tokens"], rows=[["x" * 40, "1,234,567"]], right=["tokens"])
    text = shown(table, width=24)
    assert "1,234,567" in text
    assert text.count("x") == 40


def test_the_last_column_is_cut_where_the_table_says_so():
    table = Table(columns=["id", "query"], rows=[["1", "y" * 90]], cut=True)
    (line,) = [line for line in shown(table, width=30).splitlines() if "yy" in line]
    assert line.rstrip().endswith("…")


def test_cells_are_data_in_every_form():
    wild = "\x1b[31m[bold]<b>&\n# x"
    table = Table(columns=["a"], rows=[[wild]])
    assert "\x1b" not in shown(table)
    assert "[bold]" in shown(table)
    assert "<b>" not in table.html()
    assert "\n#" not in table.markdown()
