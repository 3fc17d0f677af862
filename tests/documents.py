"""README and docs/ as the tests read them: their pages, blocks, commands and programs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str = "") -> list[str]:
    """The fenced blocks of a language, in order."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text(page), re.M | re.S)
    return [inside for named, inside in fenced if named == language]


def block(page: Path, start: str) -> str:
    """The one block of a page without a language that begins so."""
    (found,) = [one for one in blocks(page) if one.startswith(start)]
    return found


def commands(page: Path) -> list[str]:
    """What is typed behind `personaagent`: in blocks and in first columns of tables, in order."""
    joined = re.sub(r"\\\n *", "", text(page))
    lines = re.finditer(r"^(?:\| `personaagent (.+?)`|personaagent (.+)$)", joined, re.M)
    return [one[1] or one[2] for one in lines]
