"""Small files in LaMP's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from personaagent.data import LAMP_TASKS

NEWS = LAMP_TASKS["lamp-2n"]


def lamp_record(
    id: str, user: str, *, date: str | None = None, past: str | None = None
) -> dict[str, Any]:
    """A question of LaMP-2N with one article in its profile."""
    article: dict[str, Any] = {"id": f"{id}-0", "title": "T", "text": f"news {id}"}
    article |= {"category": "sports"} | ({"date": past} if past else {})
    record = {"id": id, "user_id": user, "input": NEWS.prompt(f"article {id}")}
    return record | ({"date": date} if date else {}) | {"profile": [article]}


def lamp_write(folder: Path, records: list[dict[str, Any]]) -> tuple[Path, Path]:
    """A questions and an outputs file; every answer is politics."""
    questions, outputs = folder / "questions.json", folder / "outputs.json"
    questions.write_text(json.dumps(records))
    golds = [{"id": one["id"], "output": "politics"} for one in records]
    outputs.write_text(json.dumps({"task": "LaMP_2N", "golds": golds}))
    return questions, outputs
