"""`personaagent evaluate` from files to a report, with a stand-in LM."""

from __future__ import annotations

import json

import pytest
from lamp_world import NEWS, lamp_record, lamp_write


def test_files_become_a_table_and_a_report(evaluate, own, tmp_path):
    said = evaluate(*own, "--lm", "sim/inbox", "--report", tmp_path / "out").stdout
    assert "personaagent: 12 of 12, Accuracy" in said
    assert "inbox · queries.jsonl · sim/inbox" in said
    assert "PersonaAgent is as good as the best baseline (non-personalized)" in said
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "out" / "report.md").is_file()


def test_json_is_one_document_and_recomputing_gives_the_same(evaluate, own):
    first = json.loads(evaluate(*own, "--lm", "sim/inbox", "--json").stdout)
    again = json.loads(evaluate("--recompute", "--results", "results.db", "--json").stdout)
    assert first == again
    (experiment,) = first["experiments"]
    assert {one["system"]: one["answered"] for one in experiment["systems"]} == {
        "non-personalized": 12,
        "rag": 12,
        "personaagent": 12,
    }


def test_two_lms_are_in_one_report(evaluate, own, tmp_path):
    evaluate(*own, "--lm", "sim/inbox", "--systems", "rag")
    evaluate(*own, "--lm", "sim/inbox", "--systems", "rag", "--sampled")
    evaluate("--recompute", "--results", "results.db", "--report", "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## 1. inbox\n" in text
    assert "## 2. inbox · sampled answers\n" in text
    assert "## All experiments" in text


def test_redo_asks_again(evaluate, own):
    evaluate(*own, "--lm", "sim/inbox", "--systems", "rag,knn")
    said = evaluate(*own, "--lm", "sim/inbox", "--systems", "rag,knn", "--redo", "rag").stdout
    assert "forgot 12 answers" in said
    assert "rag: 12 of 12" in said
    assert "knn: 12 of 12" not in said


def test_what_was_before_the_first_question_is_asked_as_well(evaluate, own):
    evaluate(*own, "--lm", "sim/inbox", "--systems", "knn")
    options = ("--systems", "knn", "--earlier", "2", "--json")
    said = json.loads(evaluate(*own, "--lm", "sim/inbox", *options).stdout)
    asked = next(one for one in said["experiments"] if "before" in one["protocol"]["data"]["name"])
    assert asked["protocol"]["data"]["samples"] == 12 + 3 * 2
    assert [one["answered"] for one in asked["systems"]] == [18]


def test_lamp_files_of_a_half(evaluate, tmp_path):
    records = [lamp_record(str(n), f"user {n}") for n in range(20)]
    questions, outputs = lamp_write(tmp_path, records)
    given = ("--task", "lamp-2n", "--questions", questions, "--outputs", outputs, "--json")
    chosen = ("--systems", "majority,non-personalized", "--lm", "sim/news")
    counts = {}
    for half in ("dev", "report"):
        said = json.loads(evaluate(*given, *chosen, "--half", half).stdout)
        counts[half] = said["experiments"][0]["systems"][0]["asked"]
    assert sum(counts.values()) == 20
    assert min(counts.values()) > 3


def test_a_budget_that_is_used_up_keeps_what_was_answered(evaluate, own):
    result = evaluate(*own, "--lm", "sim/inbox", "--max-calls", 8, code=1)
    assert "what was answered is kept" in result.stderr
    said = json.loads(evaluate(*own, "--lm", "sim/inbox", "--json").stdout)
    assert all(one["answered"] == 12 for one in said["experiments"][0]["systems"])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "name the task"),
        (("--task", "lamp-2n"), "give --questions and --outputs"),
        (("--task", "lamp-9", "--questions", "q", "--outputs", "o"), "'lamp-9' is no task of LaMP"),
        (("--task", "x", "--history", "h", "--queries", "q"), "there is no task 'x'"),
        (("--recompute", "--results", "none.db"), "no such results database"),
    ],
)
def test_what_is_missing_is_said(evaluate, arguments, problem):
    assert problem in evaluate(*arguments, code=1).stderr


def test_an_unknown_system_is_an_error_that_names_the_known(evaluate, own):
    said = evaluate(*own, "--lm", "sim/inbox", "--systems", "ragg", code=1).stderr
    assert "there is no system 'ragg': did you mean 'rag'?" in said


def test_oppus_users_are_evaluated(evaluate, tmp_path):
    article = {"id": "1", "title": "T", "text": "news", "category": "sports"}
    asked = {"id": "a", "input": NEWS.prompt("article"), "gold": "sports"}
    users = [{"user_id": "7", "profile": [article], "query": [asked]}]
    path = tmp_path / "user_top_100_history.json"
    path.write_text(json.dumps(users))
    given = ("--task", "lamp-2n", "--oppu", path, "--systems", "majority,rag", "--json")
    (experiment,) = json.loads(evaluate(*given, "--lm", "sim/news").stdout)["experiments"]
    assert experiment["protocol"]["data"]["name"] == "user_top_100_history.json"
    assert [one["answered"] for one in experiment["systems"]] == [1, 1]
