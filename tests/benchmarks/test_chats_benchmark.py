"""The benchmark of chats: what docs say is what the kept verdicts give, and a run goes on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from readers import reader
from rulebook import stand_in
from standins import HashEmbedder

from benchmarks.chats import ARMS, Kept, growth, learn, table
from personaagent import EpisodicMemory, Store

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", ["chats", "chats-embedded", "chats-fifty"])
def test_the_published_table_is_computed_from_the_kept_verdicts(folder):
    kept = ROOT / "results" / folder
    made = table(Kept(kept / "answers.jsonl"), Kept(kept / "verdicts.jsonl"))
    assert made in (ROOT / "docs" / "results-chats.md").read_text(encoding="utf-8")


def test_what_fifty_updates_did_is_computed_from_what_was_kept():
    updates = Kept(ROOT / "results" / "chats-fifty" / "updates.jsonl")
    page = (ROOT / "docs" / "results-chats.md").read_text(encoding="utf-8")
    assert growth(updates) in page
    for user, calls in (("u00", 93), ("u01", 90)):
        mine = [updates.rows[user, part] for part in range(50)]
        assert sum(one["calls"] for one in mine) == calls
        assert max(one["calls"] for one in mine) == 2
        assert sum(one["retired"] for one in mine) == 0
        items = [one["items"] for one in mine]
        assert items == sorted(items)


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


def test_chats_in_parts_are_read_on_top_of_each_other_and_what_each_did_is_kept(tmp_path):
    messages = [
        {"role": role, "text": f"I like {thing}." if role == "user" else "Well."}
        for thing in ("tea", "boats", "cats", "jazz")
        for role in ("user", "assistant")
    ]
    chats = tmp_path / "chats.jsonl.gz"
    with gzip.open(chats, "wt", encoding="utf-8") as stream:
        stream.write(json.dumps({"user": "ann", "messages": messages}))
    book, updates = reader(), Kept(tmp_path / "updates.jsonl")
    with Store(tmp_path / "memory.db") as store:
        memory = EpisodicMemory(store, HashEmbedder())
        learn(memory, chats, ["ann"], 4, stand_in(book, likelihoods=False), updates)
        learn(memory, chats, ["ann"], 4, stand_in(book, likelihoods=False), updates)
    rows = [updates.rows["ann", part] for part in range(4)]
    assert [one["items"] for one in rows] == [1, 2, 3, 4]
    assert [one["new"] for one in rows] == [1, 1, 1, 1]
    assert all(one["retired"] == one["revised"] == one["unread"] == 0 for one in rows)
    lines = growth(Kept(tmp_path / "updates.jsonl")).splitlines()
    assert len(lines) == 2 + 4
    assert lines[-1].startswith("| ann | 4 | 1 | 4 |")


def test_many_updates_are_told_by_tenths(tmp_path):
    updates = Kept(tmp_path / "u.jsonl")
    plain = dict.fromkeys(["messages", "new", "confirmed", "revised", "retired", "unread"], 1)
    for part in range(50):
        counted = {"items": part, "words": 1000 + part, "calls": 2, "tokens": 300}
        updates.add({"arm": "ann", "id": part, **plain, **counted})
    first, *_, last = growth(updates).splitlines()[2:]
    assert first == "| ann | 1 to 5 | 5 | 4 | 1,004 | 5 | 5 | 5 | 5 | 2.0 | 300 |"
    assert last.startswith("| ann | 46 to 50 | 5 | 49 | 1,049 |")
