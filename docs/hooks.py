"""The README is the site's first page: one text, whose links are made to fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """README.md for index.md; what is not in docs/ becomes a path in the repository."""
    if page.file.src_uri != "index.md":
        return markdown
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return re.sub(r"\[[^]]+\]\(((?:examples|personaagent|[A-Z]+)\b[^)]*)\)", r"`\1`", text)
