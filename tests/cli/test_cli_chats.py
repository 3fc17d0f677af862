"""Conversations by the command line: imported, learned from, and answered under the persona."""

from __future__ import annotations

import json

import pytest
from cli_world import Engine

TALK = [
    {"role": "user", "text": "Where can I go in May?"},
    {"role": "assistant", "text": "Take a boat to Malta, or a train to Graz."},
    {"role": "user", "text": "The train: I get sick on boats."},
]
NOTE = {
    "kind": "aversion",
    "text": "avoids boats, gets sick",
    "topic": "travel",
    "reach": "strict",
    "support": [2],
    "oppose": [],
}


@pytest.fixture
def reading(monkeypatch):
    answers = {
        "Note down what they tell": json.dumps({"notes": [NOTE]}),
        "avoids boats": "By train, of course.",
    }
    monkeypatch.setattr(Engine, "answers", answers)


@pytest.fixture
def chats(run, tmp_path, reading):
    (tmp_path / "chats.json").write_text(json.dumps(TALK))
    return run("import", "chats.json", "--from", "roles", "--user", "amira").stdout


def test_a_chat_is_imported_learned_from_and_used(run, chats):
    assert "2 new interactions of 1 user" in chats
    said = run("compile", "--user", "amira", "--no-track", "--lm", "stand-in").stdout
    assert "learned 1 thing from 1 conversation: 1 about travel" in said
    assert "1 LM call" in said
    assert "published version 0" in said
    assert "loss" not in said
    shown = run("show", "--user", "amira").stdout
    assert "avoids boats, gets sick" in " ".join(shown.split())
    answer = run("ask", "How do I get to Malta?", "--user", "amira", "--lm", "stand-in").stdout
    assert answer.strip() == "By train, of course."
    again = run("compile", "--user", "amira", "--no-track", "--lm", "stand-in").stdout
    assert "nothing new to read" in again
    assert "0 LM calls" in again


def test_what_was_learned_is_data_too(told, run, chats):
    said = told("compile", "--user", "amira", "--no-track", "--lm", "stand-in")
    assert said["learned"]["new"] == {"travel": 1}
    assert said["reason"].startswith("learned 1 thing")
    everyone = told("compile", "--all", "--no-track", "--lm", "stand-in")
    assert [one["state"] for one in everyone["users"]] == ["finished before"]
    forecast = told("compile", "--all", "--dry-run", "--restart", "--lm", "stand-in")["estimate"]
    assert forecast["calls"] == 0  # nothing that was not read


def test_the_forecast_counts_what_is_read(told, run, tmp_path, reading):
    long = [{"role": "user", "text": "word " * 300} for _ in range(40)]
    (tmp_path / "long.json").write_text(json.dumps(long))
    run("import", "long.json", "--from", "roles", "--user", "amira")
    forecast = told("compile", "--all", "--dry-run", "--lm", "stand-in")["estimate"]
    assert forecast["calls"] == 5  # three chunks of at most 24,000 letters, and to bring together
    assert 15_000 < forecast["tokens"] < 40_000


def test_without_a_user_the_file_must_name_them(run, tmp_path, reading):
    lines = [json.dumps({"user": user, "messages": TALK}) for user in ("amira", "bela")]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    assert "of 2 users" in run("import", "many.jsonl", "--from", "roles").stdout
    said = run("compile", "--all", "--no-track", "--lm", "stand-in").stdout
    assert "amira" in said
    assert "bela" in said
    assert "failed" not in said
    assert said.count("learned 1 thing from 1 conversation") == 2
