"""The commands with any LM: real clients against local servers that behave as real ones do."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import servers
from cli_world import write
from servers import CASES, serving

from personaagent.lm.connection import connect

QUERIES = [
    {"id": f"q{n}", "user": "amira", "task": "inbox", "query": f"the car needs part {90 + n}"}
    | {"response": "money", "time": f"2026-05-0{n + 1}T12:00:00Z"}
    for n in range(2)
]


@pytest.fixture(autouse=True)
def anywhere(imported, monkeypatch, tmp_path):
    """Real LMs by their names, of which nothing is known yet."""
    monkeypatch.setattr("personaagent.lm.connect", connect)
    monkeypatch.setenv("PERSONAAGENT_LMS", str(tmp_path / "lms"))
    for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(key, "key-of-a-test")


@pytest.mark.parametrize("case", CASES)
def test_ask_compile_and_evaluate_come_to_the_right_end_with_any_server(
    case, run, told, tasks, tmp_path
):
    queries = write(tmp_path / "queries.jsonl", QUERIES)
    with serving(CASES[case]) as server:
        lm = ("--lm", "tiny", "--api-base", server.address)

        said = told("ask", "the car needs part 99", "--user", "amira", *lm)
        assert said["answer"] == "money"

        server.seen = 0
        learning = ("--iterations", 1, "--batch", 2, "--replay", 4, "--no-track")
        learned = told("compile", "--user", "amira", *learning, *lm)
        assert learned["log"]["usage"]["failed"] == 0
        assert told("show", "--user", "amira")["version"] == 0

        server.seen = 0
        data = ("--history", tmp_path / "history.jsonl", "--queries", queries, "--tasks", tasks)
        systems = ("--systems", "non-personalized,personaagent", "--iterations", 0, "--replay", 0)
        run("evaluate", *data, "--task", "inbox", *systems, *lm, "--results", "results.db")
        report = told("evaluate", "--recompute", "--results", "results.db")
    (experiment,) = report["experiments"]
    for system in experiment["systems"]:
        assert (system["answered"], system["failed"]) == (2, 0)
        assert next(iter(system["scores"].values()))["value"] == 1.0


@pytest.mark.parametrize(
    ("model", "behaviour", "path"),
    [
        ("openai/gpt-5-mini", servers.reasoning, "/v1/chat/completions"),
        ("openai/o3-mini", servers.reasoning, "/v1/chat/completions"),
        ("anthropic/claude-sonnet-4-6", servers.anthropic, "/v1/messages"),
        ("gemini/gemini-2.5-flash", servers.gemini, "/v1/models/gemini-2.5-flash:generateContent"),
    ],
)
def test_a_model_is_reached_by_its_name_in_its_providers_protocol(model, behaviour, path, told):
    with serving(behaviour) as server:
        lm = ("--lm", model, "--api-base", server.address)
        said = told("ask", "the car needs part 99", "--user", "amira", *lm)
        assert said["answer"] == "money"
        assert (server.paths, server.refused) == ([path] * len(server.paths), 0)


def test_lm_finds_out_what_a_model_can_do_and_remembers_it(told, run):
    with serving(servers.reasoning) as server:
        found = told("lm", "tiny", "--api-base", server.address)["capabilities"]
        assert found["limit"] == {"value": "max_completion_tokens", "source": "learned"}
        assert found["alternatives"] == {"value": 0, "source": "learned"}
        assert found["room"]["value"] == 16384
        table = run("lm", "tiny", "--api-base", server.address, "--no-likelihoods").stdout
        assert "name of the token limit" in table
        assert "max_completion_tokens" in table
        assert "an option" in table


def test_a_second_lm_answers_while_the_first_is_down(told, run):
    with serving(servers.out_of_quota) as first, serving(servers.plain) as second:
        other = ("--fallback-lm", "other", "--fallback-api-base", second.address)
        lm = ("--lm", "tiny", "--api-base", first.address, *other)
        said = told("ask", "the car needs part 99", "--user", "amira", *lm)
        assert (said["answer"], said["usage"]["fallbacks"]) == ("money", len(second.bodies))
        shown = run("ask", "the car needs part 99", "--user", "amira", "--trace", *lm)
        assert "answered by the fallback LM" in shown.stdout


def test_the_lm_of_gradients_has_an_address_and_capabilities_of_its_own(told):
    with serving(servers.plain) as first, serving(servers.reasoning) as second:
        lm = ("--lm", "tiny", "--api-base", first.address)
        gradients = ("--gradient-lm", "large", "--gradient-api-base", second.address)
        learning = ("--iterations", 1, "--batch", 2, "--replay", 4, "--no-track")
        learned = told("compile", "--user", "amira", *learning, *lm, *gradients)
        assert learned["log"]["usage"]["failed"] == 0
    assert {body["model"] for body in first.bodies} == {"tiny"}
    assert {body["model"] for body in second.bodies} == {"large"}


def test_what_does_not_fit_is_shown_without_the_oldest_memories_first(told, run):
    with serving(servers.small_context(600)) as server:
        lm = ("--lm", "tiny", "--api-base", server.address)
        said = told("ask", "the car needs part 99", "--user", "amira", *lm)
        assert said["answer"] == "money"


def test_what_never_fits_is_an_error_that_says_what_to_shorten(run):
    with serving(servers.small_context(20)) as server:
        lm = ("--lm", "tiny", "--api-base", server.address)
        said = run("ask", "the car needs part 99", "--user", "amira", *lm, ok=False)
        assert "shorten" in said.stderr


def test_the_document_tells_of_every_case_and_of_no_other():
    text = (Path(__file__).parents[2] / "docs" / "lms.md").read_text()
    table = text.split("| the server | what happens |\n|---|---|\n")[1].split("\n\n")[0]
    assert [line.split("|")[1].strip() for line in table.splitlines()] == list(CASES)


def test_the_commands_of_the_document_run(run):
    text = (Path(__file__).parents[2] / "docs" / "lms.md").read_text()
    (command,) = re.findall(r"^personaagent (.+)$", text, re.M)
    with serving(servers.plain) as server:
        told = command.replace("http://localhost:8000/v1", server.address)
        assert "log-probabilities" in run(*shlex.split(told)).stdout
