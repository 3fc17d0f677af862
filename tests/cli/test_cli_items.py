"""Items in `show`, `blame`, `history`, `diff`, `rollback`, `export`, `export-all` and `sync`."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from documents import DOCS, blocks, commands

from personaagent.data import Interaction, Item, Persona
from personaagent.memory import Store

JUNE = datetime(2024, 6, 1, tzinfo=UTC)
SEATS = Item(
    "preference", "prefers window seats", "air travel", "strict", ("amira-1", "amira-3"), last=JUNE
)
COFFEE = Item("habit", "drinks coffee", "drinks", "", ("amira-2",), ("amira-4", "amira-5"))
NUTS = Item("need", "avoids nuts", "food", support=("amira-6",), sensitive="health")
MORE = replace(SEATS, support=(*SEATS.support, "amira-7"))


@pytest.fixture
def database(imported):
    """Two versions: in the second one, seats are confirmed, coffee is gone, and nuts are new."""
    file = imported.with_name("memory.db")
    first = Persona("amira", "inbox", "P.", actions=(), items=(SEATS, COFFEE))
    second = first.succeed(items=(MORE, NUTS), words=9, role="assistant")
    with Store(file) as store:
        memory = store.of("amira")
        memory.publish(first, expected=None, reason="from chats")
        memory.publish(second, expected=first.hash, reason="one chat more")
    return file


def test_show_tells_every_item_also_those_beyond_the_budget(run, told, database):
    said = told("show", "--user", "amira")
    assert [Item.from_dict(one) for one in said["items"]] == [MORE, NUTS]
    assert (said["words"], said["role"]) == (9, "assistant")
    shown = run("show", "--user", "amira").stdout
    assert "air travel" in shown
    assert "prefers window seats (preference; strict)  3 for, last held 2024-06-01" in shown
    assert "avoids nuts (need; sensitive: health)  1 for" in shown
    assert "the LM is the assistant · 9 words for items" in shown
    before = run("show", "--user", "amira", "--version", 0).stdout
    assert "drinks coffee (habit)  1 for, 2 against" in before


def test_a_persona_without_items_shows_an_empty_list(told, imported):
    with Store(imported.with_name("memory.db")) as store:
        store.of("amira").publish(Persona("amira", "inbox"), expected=None, reason="")
    assert told("show", "--user", "amira")["items"] == []


def test_show_tells_the_evidence_of_each_item(run, told, database):
    first, _ = told("show", "--user", "amira", "--evidence", "--version", 0)["items"]
    assert [one["id"] for one in first["support"]] == ["amira-1", "amira-3"]
    assert all(one["query"] for one in first["support"])
    shown = run("show", "--user", "amira", "--evidence", "--version", 0).stdout
    assert "+ amira-2 " in shown
    assert "- amira-4 " in shown


def test_blame_leads_from_an_item_to_its_first_version_and_interactions(run, told, database):
    seats, nuts = told("blame", "--user", "amira")["items"]
    assert (seats["text"], seats["since"]["version"]) == ("prefers window seats", 0)
    assert seats["since"]["reason"] == "from chats"
    assert (nuts["text"], nuts["since"]["version"]) == ("avoids nuts", 1)
    assert [one["id"] for one in seats["support"]] == ["amira-1", "amira-3", "amira-7"]
    shown = run("blame", "--user", "amira").stdout
    assert "since version 0" in shown
    assert "+ amira-7 " in shown


def test_history_counts_items(run, told, database):
    assert [one["items"] for one in told("history", "--user", "amira")["versions"]] == [2, 2]
    assert "items" in run("history", "--user", "amira").stdout


def test_diff_tells_which_items_came_went_and_were_confirmed(run, told, database):
    edits = {one["text"]: one for one in told("diff", "--user", "amira")["items"]}
    assert {text: one["edit"] for text, one in edits.items()} == {
        "prefers window seats": "revise",
        "drinks coffee": "drop",
        "avoids nuts": "add",
    }
    assert edits["prefers window seats"]["from"]["support"] == 2
    assert edits["prefers window seats"]["to"]["support"] == 3
    shown = run("diff", "--user", "amira").stdout
    assert "- - drinks coffee" in shown
    assert "+ - avoids nuts" in shown
    assert "~ prefers window seats support 2 to 3" in shown


def test_a_rollback_brings_items_back_that_nothing_erased(told, database):
    told("rollback", "--user", "amira", "--to", 0)
    said = told("show", "--user", "amira")
    assert [Item.from_dict(one) for one in said["items"]] == [SEATS, COFFEE]
    assert said["version"] == 2
    assert "words" not in said


def test_no_rollback_brings_back_what_an_erased_interaction_said(run, told, database):
    run("forget", "--user", "amira", "--id", "amira-2", "--yes")
    assert "was erased" in run("rollback", "--user", "amira", "--to", 0, ok=False).stderr
    assert "drinks coffee" not in run("show", "--user", "amira").stdout
    assert b"drinks coffee" not in database.read_bytes()


def test_items_go_out_and_come_in_by_every_file(run, told, database, tmp_path):
    run("export", "--user", "amira", "--out", tmp_path / "amira.json")
    markdown = (tmp_path / "amira.md").read_text()
    assert "(and 2 more, less important)" not in markdown  # nothing fits into nine words
    said = told("show", "--user", "amira")
    run("rollback", "--user", "amira", "--to", 0)
    run("restore", tmp_path / "amira.json", "--user", "amira")
    again = told("show", "--user", "amira")
    assert (again["items"], again["words"]) == (said["items"], said["words"])
    run("export-all", "--user", "amira", "--out", tmp_path / "amira.jsonl")
    other = tmp_path / "other.db"
    run("sync", tmp_path / "amira.jsonl", "--db", other)
    assert told("show", "--user", "amira", "--db", other)["items"] == said["items"]
    assert told("sync", tmp_path / "amira.jsonl", "--db", other)["users"] == []


def test_two_devices_join_their_items(run, told, database, tmp_path):
    other = tmp_path / "other.db"
    run("sync", database, "--db", other)
    for file, new in ((database, COFFEE), (other, replace(SEATS, oppose=("amira-9",)))):
        with Store(file) as store:
            memory = store.of("amira")
            champion = memory.persona("inbox")
            items = (*champion.items[1:], new)
            memory.publish(champion.succeed(items=items), expected=champion.hash, reason="")
    run("sync", other)
    run("sync", database, "--db", other)
    here, there = (told("show", "--user", "amira", "--db", one) for one in (database, other))
    assert here == there
    items = {one["text"]: one for one in here["items"]}
    assert items.keys() == {"drinks coffee", "avoids nuts", "prefers window seats"}
    assert items["prefers window seats"]["oppose"] == ["amira-9"]
    assert json.dumps(here["items"]) == json.dumps(there["items"])


def test_compile_retires_items_whose_interactions_have_expired_and_says_so(run, told, database):
    then = datetime(2024, 6, 2, tzinfo=UTC)
    with Store(database) as store:
        store.add([Interaction("old", "amira", "inbox", "a car", "money", JUNE, expires=then)])
        memory = store.of("amira")
        champion = memory.persona("inbox")
        gone = Item("need", "needs a parking lot", support=("old",))
        items = (*champion.items, gone)
        memory.publish(champion.succeed(items=items), expected=champion.hash, reason="")
    said = run("compile", "--user", "amira", "--replay", "2", "--iterations", "1", "--no-track")
    assert "items retired, as all that spoke for them has expired: 1" in said.output
    left = [Item.from_dict(one) for one in told("show", "--user", "amira")["items"]]
    assert left == [MORE, NUTS]
    again = run("compile", "--user", "amira", "--replay", "2", "--iterations", "1", "--no-track")
    assert "retired" not in again.output


def test_the_commands_and_the_program_of_the_page_run(run, database, capsys):
    page = DOCS / "semantic-memory.md"
    typed = commands(page)
    assert len(typed) == 3
    for command in typed:
        run(*command.split())
    (program,) = blocks(page, "python")
    exec(program, {})
    assert "- prefers window seats (strict)\n" in capsys.readouterr().out
