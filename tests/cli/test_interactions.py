"""`interactions`: ids to copy into other commands; and what `ask` and `observe` refuse."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cli_world import rows, write
from typer.testing import CliRunner

from personaagent.cli.app import app
from personaagent.data import Interaction
from personaagent.memory import Store


@pytest.fixture
def database(tmp_path):
    return tmp_path / "memory.db"


def ids(told):
    return [one["id"] for one in told["interactions"]]


def test_the_latest_come_first_and_pages_go_on_where_the_last_one_ended(run, told, tasks, tmp_path):
    run("import", write(tmp_path / "long.jsonl", rows(count=25)), "--tasks", tasks)
    first = told("interactions", "--user", "amira")
    second = told("interactions", "--user", "amira", "--page", "2")
    assert (first["found"], first["page"], first["pages"]) == (25, 1, 2)
    assert ids(first) + ids(second) == [f"amira-{n}" for n in reversed(range(25))]
    shown = run("interactions", "--user", "amira").stdout
    assert "amira-24" in shown
    assert "page 1 of 2, 25 interactions; --page 2 has more" in shown
    assert "has more" not in run("interactions", "--user", "amira", "--page", "2").stdout


@pytest.mark.parametrize("text", ["part 7", "PART 7", "amira-7"])
def test_a_search_looks_in_texts_and_ids_in_any_case(told, imported, text):
    found = told("interactions", "--user", "amira", "--search", text)
    assert found["interactions"] == [
        {
            "id": "amira-7",
            "task": "inbox",
            "time": "2026-03-08T12:00:00+00:00",
            "source": "user",
            "query": "the car needs part 7",
            "response": "money",
            "expires": None,
        }
    ]
    assert told("interactions", "--user", "bela", "--search", text)["found"] == 0


def test_a_source_and_a_task_choose_too_and_expired_ones_are_listed(told, imported, database):
    gone = datetime(2026, 1, 1, tzinfo=UTC)
    with Store(database) as store:
        store.add([Interaction("n-1", "amira", "inbox", "old", "money", gone, 1.0, "crm", gone)])
    assert ids(told("interactions", "--user", "amira", "--source", "crm")) == ["n-1"]
    assert told("interactions", "--user", "amira", "--task", "inbox")["found"] == 19
    assert told("interactions", "--user", "amira", "--task", "stars")["found"] == 0


def test_a_long_id_is_whole_and_an_odd_text_is_one_line(run, imported, database):
    long = "mail-" + "0123456789" * 12
    with Store(database, screening=None) as store:
        store.add([Interaction(long, "amira", "inbox", "a\nb \x1b[31m", "money")])
    shown = run("interactions", "--user", "amira", "--search", long).stdout
    column = "".join(line.split()[0] for line in shown.splitlines() if line.strip())
    assert long in column
    assert "\x1b" not in shown


def test_nobody_and_no_such_page_are_said(run, imported):
    assert "no interactions of zoe" in run("interactions", "--user", "zoe").stdout
    assert (
        "no such interactions" in run("interactions", "--user", "amira", "--search", "xyz").stdout
    )
    result = CliRunner().invoke(app, ["interactions", "--user", "amira", "--page", "3"])
    assert result.exit_code == 2
    assert "1 page" in result.output


def test_what_cannot_be_forgotten_points_to_where_its_id_is_found(run, imported):
    said = run("forget", "--user", "amira", "--id", "nosuch", "--yes", ok=False).stderr
    assert "'personaagent interactions --user amira' lists the ids" in said
    assert "amira-3" in run("interactions", "--user", "amira").stdout


def test_the_evidence_of_a_directive_is_shown_with_its_ids(run, told, imported):
    run("compile", "--user", "amira", "--replay", "6", "--no-track")
    (directive,) = told("show", "--user", "amira", "--evidence")["directives"]
    shown = run("show", "--user", "amira", "--evidence").stdout
    assert directive["support"]
    for one in directive["support"]:
        assert f"+ {one['id']} " in shown


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_nothing_is_neither_answered_nor_remembered(run, imported, database, text):
    assert "the query is empty" in run("ask", text, "--user", "amira", ok=False).stderr
    said = run("observe", text, "money", "--user", "amira", ok=False).stderr
    assert "what was asked is empty" in said
    said = run("observe", "a car", text, "--user", "amira", ok=False).stderr
    assert "the response is empty" in said
    with Store(database) as store:
        assert store.of("amira").count() == 18


@pytest.mark.parametrize("empty", ["", "  "])
@pytest.mark.parametrize(
    "command",
    [
        ("ask", "a car"),
        ("observe", "a car", "money"),
        ("compile",),
        ("show",),
        ("blame",),
        ("history",),
        ("diff",),
        ("rollback", "--to", "0"),
        ("interactions",),
        ("quarantine",),
    ],
)
def test_an_empty_user_or_task_is_refused_by_every_command(run, imported, command, empty):
    assert "the user is empty" in run(*command, "--user", empty, ok=False).stderr
    if command != ("quarantine",):
        said = run(*command, "--user", "amira", "--task", empty, ok=False).stderr
        assert "there is no task" in said
        said = run(*command, "--user", empty, "--task", "inbox", ok=False).stderr
        assert "the user" in said or "field 'user'" in said


def test_an_answer_that_is_no_label_of_a_task_made_known_later_is_named(
    run, tasks, tmp_path, database
):
    with Store(database) as store:
        store.add([Interaction("m-1", "amira", "inbox", "the car", "WRONG")])
    run("import", write(tmp_path / "history.jsonl", rows()), "--tasks", tasks)
    said = run("compile", "--user", "amira", ok=False).stderr
    assert "interaction 'm-1' of user 'amira'" in said
    assert "'WRONG' is not one of its answers: money, travel, family" in said
    assert "Traceback" not in said
