"""The benchmark of chats: what docs say is what the kept verdicts give, and a run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.chats import ARMS, Kept, table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", ["chats", "chats-embedded"])
def test_the_published_table_is_computed_from_the_kept_verdicts(folder):
    kept = ROOT / "results" / folder
    made = table(Kept(kept / "answers.jsonl"), Kept(kept / "verdicts.jsonl"))
    assert made in (ROOT / "docs" / "results-chats.md").read_text(encoding="utf-8")


def test_the_table_counts_what_every_arm_was_judged_on(tmp_path):
    answers, verdicts = Kept(tmp_path / "a.jsonl"), Kept(tmp_path / "v.jsonl")
    for number, arm in enumerate(ARMS):
        for id in ("q1", "q2"):
            answers.add({"arm": arm, "id": id, "user": id, "tokens": 100 * number})
            verdicts.add({"arm": arm, "id": id, "honoured": number > 1})
    verdicts.add({"arm": "none", "id": "q3", "honoured": True})  # no other arm was judged on it
    made = table(answers, verdicts)
    assert made.startswith("2 questions of 2 users")
    assert "| persona | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] | 300 |" in made
    assert "| none | 0.00 [0.00, 0.00] | 0.00 [0.00, 0.00] | 0 |" in made


def test_what_was_kept_is_there_again(tmp_path):
    kept = Kept(tmp_path / "a.jsonl")
    kept.add({"arm": "none", "id": "q", "answer": "ä"})
    again = Kept(tmp_path / "a.jsonl")
    assert again.rows == kept.rows
    assert json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8"))["answer"] == "ä"
