"""A table, defined once and shown anywhere: on a terminal, in Markdown and in HTML.

Cells are data: no form reads markup in them, and no control character reaches a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template
    from rich.table import Table as RichTable

_HTML = """\
<div class=wide><table><thead><tr>
{%- for name in columns %}<th{% if name in right %} class=n{% endif %}>{{ name }}</th>{% endfor -%}
</tr></thead><tbody>
{%- for kind, row in rows %}<tr class="{{ kind }}">
{%- for name, cell in row %}<td{% if name in right %} class=n{% endif %}>{{ cell }}</td>
{%- endfor -%}
</tr>{% endfor -%}
</tbody></table></div>
{%- if note %}
<p>{{ note }}</p>{% endif %}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Texts in rows and columns.

    Args:
        columns: their names; those of numbers and those of words differ.
        rows: the cells, as they are shown.
        right: names of the columns that hold numbers, which stand to the right.
        title: stands above the table on a terminal; a document has headings.
        note: a sentence below it.
        strong: numbers of rows that stand out.
        faint: numbers of rows that matter less.
        terminal: the columns that a terminal shows, each with its name there; by default all.
        cut: the last column takes one line on a terminal, and is cut at its edge.

    >>> print(Table(columns=["system", "n"], rows=[["rag", "12"]], right=["n"]).markdown())
    | system | n |
    | --- | --: |
    | rag | 12 |
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Collection[str] = ()
    title: str = ""
    note: str = ""
    strong: Collection[int] = ()
    faint: Collection[int] = ()
    terminal: Mapping[str, str] | None = None
    cut: bool = False

    def rich(self) -> RichTable:
        """For a terminal, or as plain text for a pipe."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        shown = RichTable(
            box=box.SIMPLE_HEAD,
            title=Text(plain(self.title)) if self.title else None,
            title_justify="left",
            caption=Text(plain(self.note)) if self.note else None,
            caption_justify="left",
            pad_edge=False,
        )
        names = self.terminal or {name: name for name in self.columns}
        places = [at for at, name in enumerate(self.columns) if name in names]
        for at in places:
            name, number = self.columns[at], self.columns[at] in self.right
            texts = [names[name], *(row[at] for row in self.rows)]
            longest = max((len(word) for text in texts for word in text.split()), default=0)
            shown.add_column(
                Text(plain(names[name])),
                justify="right" if number else "left",
                overflow="fold",
                min_width=longest if number else None,
            )
        if self.cut:
            shown.columns[-1].no_wrap, shown.columns[-1].overflow = True, "ellipsis"
        for at, row in enumerate(self.rows):
            style = "bold" if at in self.strong else "dim" if at in self.faint else ""
            shown.add_row(*(Text(plain(row[place])) for place in places), style=style)
        return shown

    def markdown(self) -> str:
        """As Markdown reads it."""
        head = [escaped(name) for name in self.columns]
        rule = ["--:" if name in self.right else "---" for name in self.columns]
        rows = [list(map(escaped, row)) for row in self.rows]
        for at in self.strong:
            rows[at] = [cell and f"**{cell}**" for cell in rows[at]]
        lines = "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *rows])
        return f"{lines}\n\n{escaped(self.note)}" if self.note else lines

    def html(self) -> str:
        """As a part of a page, whose style knows `wide`, `n`, `strong` and `faint`."""
        rows = []
        for at, row in enumerate(self.rows):
            kinds = [name for name in ("strong", "faint") if at in getattr(self, name)]
            rows.append((" ".join(kinds), list(zip(self.columns, row, strict=True))))
        return _template().render(columns=self.columns, right=self.right, rows=rows, note=self.note)


@cache
def _template() -> Template:
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(_HTML)


def plain(text: str) -> str:
    """The text without control characters, line by line."""
    return "\n".join(
        "".join(letter if letter.isprintable() else " " for letter in line)
        for line in text.splitlines()
    )


def short(text: str, width: int = 70) -> str:
    """The text on one line, cut at `width`."""
    line = " ".join(plain(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def escaped(text: str) -> str:
    """The text on one line, with what Markdown would read escaped."""
    return re.sub(r"([\\`*_<>|\[\]#])", r"\\\1", " ".join(text.split()))
