"""A document of a few kinds of blocks, written as Markdown and as one self-contained HTML page.

Every text is data: nothing in it is read as markup in either form.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list of short statements."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """`left` is how many of the columns hold words; the others hold numbers. `strong` and `faint`
    are numbers of rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    strong: frozenset[int] = frozenset()
    faint: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Figure:
    """`name` is that of its file beside the Markdown."""

    name: str
    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Quote:
    """Named texts, each verbatim."""

    title: str
    parts: Sequence[tuple[str, str]]


Block = Heading | Paragraph | Items | Table | Figure | Quote


def to_markdown(title: str, blocks: Sequence[Block], figures: Path | None = None) -> str:
    """The document as Markdown; its figures go to files in the folder `figures`."""
    parts = [f"# {_md(title)}", *(_markdown(block, figures) for block in blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The document as a page that needs nothing else: style and figures are in it."""
    body = "\n".join(_html(block) for block in blocks)
    name = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>'
        '\n<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n{body}\n</main>"
        "\n</body>\n</html>\n"
    )


def _markdown(block: Block, figures: Path | None) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_md(text)}"
        case Paragraph(text):
            return _md(text)
        case Items(texts):
            return "\n".join(f"- {_md(text)}" for text in texts)
        case Table():
            rule = ["---"] * block.left + ["--:"] * (len(block.columns) - block.left)
            rows = [
                [f"**{_md(cell)}**" if at in block.strong and cell else _md(cell) for cell in row]
                for at, row in enumerate(block.rows)
            ]
            lines = [[_md(one) for one in block.columns], rule, *rows]
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
        case Figure(name, svg, caption):
            if figures is None:
                return ""
            (figures / f"{name}.svg").write_text(svg, encoding="utf-8")
            return f"![{_md(caption)}]({name}.svg)"
        case Quote(title, parts):
            return "\n\n".join(
                [f"**{_md(title)}**", *(f"{_md(name)}:\n\n{_fenced(text)}" for name, text in parts)]
            )


def _md(text: str) -> str:
    """The text on one line, with what Markdown would read escaped."""
    return re.sub(r"([\\`*_<>|\[\]#])", r"\\\1", " ".join(text.split()))


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Items(texts):
            items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
            return f"<ul>{items}</ul>"
        case Table():
            return _table(block)
        case Figure(_, svg, caption):
            shown = html.escape(caption)
            return f"<figure>{svg}<figcaption>{shown}</figcaption></figure>"
        case Quote(title, parts):
            rows = "".join(
                f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in parts
            )
            return f"<section class=trace><h4>{html.escape(title)}</h4><dl>{rows}</dl></section>"


def _table(block: Table) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{'' if at < block.left else ' class=n'}>{html.escape(cell)}</{tag}>"
            for at, cell in enumerate(row)
        )

    rows = []
    for at, row in enumerate(block.rows):
        kinds = [
            name for name, of in (("strong", block.strong), ("faint", block.faint)) if at in of
        ]
        rows.append(f'<tr class="{" ".join(kinds)}">{cells(row, "td")}</tr>')
    head = cells(block.columns, "th")
    return (
        f"<div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


_CSS = """
:root { color-scheme: light; }
body { margin: 0; background: #fff; color: #222; font: 15px/1.5 system-ui, -apple-system,
  "Segoe UI", Roboto, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: 1rem; border-top: 1px solid #ddd; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p, ul { max-width: 52rem; margin: .5rem 0; }
ul { padding-left: 1.2rem; }
body { overflow-wrap: anywhere; }
.wide { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums;
  margin: .6rem 0; }
th, td { padding: .28rem .7rem; text-align: left; white-space: nowrap;
  border-bottom: 1px solid #eee; }
th { font-weight: 600; color: #555; border-bottom: 1px solid #999; vertical-align: bottom; }
th, td:first-child { white-space: normal; }
td:first-child { min-width: 13rem; }
.n { text-align: right; }
tr.strong td { font-weight: 650; }
tr.faint td { color: #777; font-style: italic; }
figure { margin: 1rem 0; max-width: 44rem; }
figure svg { display: block; width: 100%; max-width: 100%; height: auto; }
figcaption { color: #666; font-size: .87rem; }
.trace { border: 1px solid #ddd; border-radius: 6px; padding: .4rem 1rem .8rem; margin: .8rem 0;
  max-width: 60rem; }
.trace h4 { margin: .4rem 0; }
.trace dl { display: grid; grid-template-columns: 7rem 1fr; gap: .3rem 1rem; margin: 0;
  font-size: .9rem; }
.trace dt { color: #666; }
.trace dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 45rem) {
  main { padding: 1rem .8rem 3rem; }
  table { font-size: .8rem; }
  th, td { padding: .25rem .4rem; }
  th:first-child, td:first-child { position: sticky; left: 0; min-width: 0; max-width: 8rem;
    background: #fff; overflow-wrap: anywhere; }
  .trace dl { grid-template-columns: 1fr; }
}
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  main { max-width: none; padding: 0; }
  table { font-size: 7.5pt; }
  .wide { overflow: visible; }
  th:first-child, td:first-child { position: static; }
  figure, tr, .trace { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
