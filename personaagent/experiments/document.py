"""A document of a few kinds of blocks, written as Markdown and as one self-contained HTML page.

Every text is data: nothing in it is read as markup in either form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from personaagent.table import Table, escaped

if TYPE_CHECKING:
    from jinja2 import Template


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
    parts = [f"# {escaped(title)}", *(_markdown(block, figures) for block in blocks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The document as a page that needs nothing else: style and figures are in it."""
    parts = [(type(block).__name__, block) for block in blocks]
    return _template().render(title=title, blocks=parts)


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("personaagent.experiments", "")
    made = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return made.get_template("document.html")


def _markdown(block: Block, figures: Path | None) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {escaped(text)}"
        case Paragraph(text):
            return escaped(text)
        case Items(texts):
            return "\n".join(f"- {escaped(text)}" for text in texts)
        case Table():
            return block.markdown()
        case Figure(name, svg, caption):
            if figures is None:
                return ""
            (figures / f"{name}.svg").write_text(svg, encoding="utf-8")
            return f"![{escaped(caption)}]({name}.svg)"
        case Quote(title, parts):
            return "\n\n".join(
                [
                    f"**{escaped(title)}**",
                    *(f"{escaped(name)}:\n\n{_fenced(text)}" for name, text in parts),
                ]
            )


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
